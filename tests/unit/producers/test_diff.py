"""The sum of all deltas is the movement of the counter, whatever happens to server, agent and spool in between."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pganalytics.producers.baselines import Kept, advance, restore
from pganalytics.producers.diff import Difference, _compare_any, _compare_plain, compare, first_baseline
from pganalytics.producers.reading import Context, Reading, ReadingError, layout_of, read_context, read_rows
from pganalytics.schemas.metric import builtin_schemas

STATEMENTS = layout_of(builtin_schemas()["statements"])
DATABASE = layout_of(builtin_schemas()["database"])
NAMES = ["queryid", "dbid", "userid", "toplevel", "stats_since", "calls", "total_exec_time", "sumsq_exec_time"]
CALLS, TIME = (STATEMENTS.counters.index(name) for name in ("calls", "total_exec_time"))


def context_of(at: int, *, system: str = "1", start: int = 1, lineage: int | None = 1, crash: int | None = None) -> Context:
    return Context(at, at, system, start, lineage, crash, {})


def reading_of(context: Context, rows: dict[int, tuple[Any, Any]], *, since: dict[int, int] | None = None) -> Reading:
    """Rows by queryid: (calls, total_exec_time)."""
    cells = [(key, 5, 10, True, (since or {}).get(key), calls, time, float(calls or 0)) for key, (calls, time) in rows.items()]
    return read_rows(STATEMENTS, context, NAMES, cells)


def moved(difference: Difference | None, reading: Reading) -> dict[int, tuple[int, int]]:
    """Deltas by queryid, of the rows that moved."""
    assert difference is not None
    return {
        reading.keys[row][0]: (int(difference.longs[row, CALLS]), int(difference.longs[row, TIME]))
        for row in difference.changed.tolist()
    }


def between(before: Reading, after: Reading) -> dict[int, tuple[int, int]]:
    return moved(compare(first_baseline(before), after)[0], after)


def test_the_first_reading_is_a_baseline_and_nothing_else() -> None:
    assert compare(None, reading_of(context_of(10), {1: (5, 50)}))[0] is None


def test_only_what_moved_is_changed() -> None:
    before = reading_of(context_of(10), {1: (5, 50), 2: (7, 70)})
    after = reading_of(context_of(20), {1: (5, 50), 2: (9, 95)})
    assert between(before, after) == {2: (2, 25)}


def test_an_entry_that_was_not_there_counts_whole() -> None:
    assert between(reading_of(context_of(10), {}), reading_of(context_of(20), {3: (4, 44)})) == {3: (4, 44)}


def test_one_counter_that_went_back_makes_the_whole_row_anew() -> None:
    """calls grew past the old value, the time did not: both began at zero."""
    before, after = reading_of(context_of(10), {1: (5, 500)}), reading_of(context_of(20), {1: (6, 60)})
    assert between(before, after) == {1: (6, 60)}


def test_a_row_that_began_after_the_baseline_counts_whole() -> None:
    before = reading_of(context_of(10), {1: (5, 50)}, since={1: 3})
    after = reading_of(context_of(20), {1: (6, 60)}, since={1: 15})
    assert between(before, after) == {1: (6, 60)}


def test_a_reset_makes_all_rows_anew_and_is_named() -> None:
    before = reading_of(context_of(10), {1: (5, 50)})
    after = reading_of(context_of(20, lineage=15), {1: (6, 60)})
    difference, _ = compare(first_baseline(before), after)
    assert moved(difference, after) == {1: (6, 60)}
    assert difference is not None
    assert difference.reason == "stats_reset"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({}, "stats_reset"), ({"start": 14}, "restart"), ({"crash": 15}, "crash")],
)
def test_the_reason_tells_restart_crash_and_reset_apart(changed: dict[str, Any], reason: str) -> None:
    after = reading_of(context_of(20, lineage=15, **changed), {1: (6, 60)})
    difference, _ = compare(first_baseline(reading_of(context_of(10), {1: (5, 50)})), after)
    assert difference is not None
    assert difference.reason == reason


@pytest.mark.parametrize("other", [{"system": "2"}, {"lineage": 5}])
def test_another_server_s_statistics_are_a_new_baseline(other: dict[str, Any]) -> None:
    """A standby that was promoted has counts of its own, older than the baseline: to add them would be an invention."""
    before = reading_of(context_of(10), {1: (5, 50)})
    difference, baseline = compare(first_baseline(before), reading_of(context_of(20, **other), {1: (600, 6000)}))
    assert difference is None
    assert baseline.longs[0, CALLS] == 600


def test_a_restart_that_keeps_the_statistics_is_no_reset() -> None:
    before = reading_of(context_of(10), {1: (5, 50)})
    assert between(before, reading_of(context_of(20, start=15), {1: (6, 60)})) == {1: (1, 10)}


def test_a_counter_that_cannot_be_read_is_made_up_for_later() -> None:
    baseline = first_baseline(reading_of(context_of(10), {1: (5, 50)}))
    unreadable = reading_of(context_of(20), {1: (7, None)})
    difference, baseline = compare(baseline, unreadable)
    assert moved(difference, unreadable) == {1: (2, 0)}
    later = reading_of(context_of(30), {1: (8, 95)})
    assert moved(compare(baseline, later)[0], later) == {1: (1, 45)}


def test_a_sum_of_squares_that_rounding_made_smaller_is_no_reset() -> None:
    def reading(at: int, squares: float) -> Reading:
        return read_rows(STATEMENTS, context_of(at), NAMES, [(1, 5, 10, True, None, 5, 50, squares)])

    difference, baseline = compare(first_baseline(reading(10, 9.5)), reading(20, 9.4999))
    assert difference is not None
    assert difference.changed.tolist() == []
    assert difference.doubles[0, 0] == pytest.approx(-0.0001)
    difference, _ = compare(baseline, reading(30, float("nan")))
    assert difference is not None
    assert difference.doubles[0, 0] == 0


def test_a_clock_that_went_back_does_not_turn_the_interval_around() -> None:
    difference, _ = compare(first_baseline(reading_of(context_of(30), {})), reading_of(context_of(20), {}))
    assert difference is not None
    assert difference.since_us == 20


def test_the_reset_of_one_database_is_seen_by_a_counter_that_goes_back_and_not_by_its_mark_alone() -> None:
    """The mark moves also when one table is reset: then the counters of its database go on."""

    def reading(at: int, reset: int | None, commits: int) -> Reading:
        rows = [(1, "a", commits, reset), (2, "b", 10 * commits, None)]
        return read_rows(DATABASE, context_of(at, lineage=None), ["datid", "datname", "xact_commit", "stats_reset"], rows)

    for commits, moved in ((101, 1), (99, 99)):
        difference, _ = compare(first_baseline(reading(10, None, 100)), reading(20, 15, commits))
        assert difference is not None
        assert difference.longs[:, 0].tolist() == [moved, 10 * (commits - 100) if commits > 100 else 10 * commits]
        assert difference.rows_began is (commits < 100)


def test_columns_of_nobody_are_named() -> None:
    with pytest.raises(ReadingError, match="no field surprise"):
        read_rows(STATEMENTS, context_of(1), [*NAMES, "surprise"], [])
    with pytest.raises(ReadingError, match="no field surprise"):
        read_context(STATEMENTS.schema, ["server_time", "surprise"], [1, 2], 1)


def test_two_rows_of_one_key_are_a_failure_not_a_guess() -> None:
    row = (1, 5, 10, True, None, 5, 50, 1.0)
    with pytest.raises(ReadingError, match="one key"):
        read_rows(STATEMENTS, context_of(1), NAMES, [row, row])


@dataclass
class Model:
    """A server, an agent and its spool, by brute force. `due`: movement since the baseline that PostgreSQL still knows."""

    clock: int = 10
    system: int = 1
    lineage: int = 1
    entries: dict[int, list[int]] = field(default_factory=dict)
    since: dict[int, int] = field(default_factory=dict)
    due: Counter[tuple[int, int]] = field(default_factory=Counter)
    expected: Counter[tuple[int, int]] = field(default_factory=Counter)
    stored: Counter[tuple[int, int]] = field(default_factory=Counter)
    kept: Kept | None = None
    log: list[bytes] = field(default_factory=list)

    def work(self, key: int, calls: int, time: int) -> None:
        entry = self.entries.setdefault(key, [0, 0])
        self.since.setdefault(key, self.clock)
        for column, amount in enumerate((calls, time)):
            entry[column] += amount
            self.due[key, column] += amount

    def evict(self, key: int) -> None:
        self.entries.pop(key, None)
        self.since.pop(key, None)
        for column in (0, 1):
            self.due.pop((key, column), None)

    def reset(self) -> None:
        for key in list(self.entries):
            self.evict(key)
        self.lineage = self.clock

    def another_server(self) -> None:
        self.system += 1
        self.due.clear()

    def read(self, *, held_back: bool) -> None:
        context = context_of(self.clock, system=str(self.system), lineage=self.lineage)
        rows: dict[int, tuple[Any, Any]] = {key: (entry[0], entry[1]) for key, entry in self.entries.items()}
        reading = reading_of(context, rows, since=self.since)
        difference, after = compare(self.kept.baseline if self.kept else None, reading)
        full, body, kept = advance(self.kept if difference is not None else None, after, STATEMENTS.counters)
        if held_back:
            return
        self.kept, self.log = kept, [body] if full else [*self.log, body]
        if difference is not None:
            for key, deltas in moved(difference, reading).items():
                for column in (0, 1):
                    self.stored[key, column] += deltas[column]
            self.expected += self.due
        self.due.clear()

    def restart_agent(self) -> None:
        self.kept = restore(self.log, STATEMENTS.counters)


STEPS = st.one_of(
    st.tuples(st.just("work"), st.integers(0, 4), st.integers(0, 9), st.integers(0, 99)),
    st.tuples(st.just("evict"), st.integers(0, 4)),
    st.sampled_from([("read",), ("read",), ("held",), ("reset",), ("restart",), ("another",)]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_value_is_conserved(steps: list[tuple[Any, ...]]) -> None:
    """Resets, evictions, held-back cycles, restarts of the agent from its log, other servers: stored = moved, to the unit."""
    model = Model()
    for step in [*steps, ("read",)]:
        model.clock += 1
        match step:
            case "work", key, calls, time:
                model.work(key, calls, time)
            case "evict", key:
                model.evict(key)
            case ("reset",):
                model.reset()
            case ("another",):
                model.another_server()
            case ("restart",):
                model.restart_agent()
            case _:
                model.read(held_back=step == ("held",))
    assert +model.stored == +model.expected


ROWS = st.dictionaries(
    st.integers(0, 3), st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(0, 5)), min_size=1, max_size=4
)


@given(ROWS, ROWS, st.sampled_from([1, 2, 20]), st.dictionaries(st.integers(0, 3), st.sampled_from([1, 2, 15])))
def test_the_short_way_comes_to_what_the_long_way_comes_to(
    before: dict[int, tuple[Any, Any]], after: dict[int, tuple[Any, Any]], lineage: int, since: dict[int, int]
) -> None:
    earlier = reading_of(context_of(10), before)
    _, baseline = compare(None, earlier)
    later = reading_of(context_of(20, lineage=lineage), after, since=since)
    short, (difference, kept) = _compare_plain(baseline, later), _compare_any(baseline, later)
    if short is None:
        return
    for one, other in ((short[0], difference), (short[1], kept)):
        for name in one.__slots__:
            np.testing.assert_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_the_short_way_is_taken_where_nothing_is_odd() -> None:
    _, baseline = compare(None, reading_of(context_of(10), {1: (1, 10), 2: (2, 20)}))
    odd: list[dict[int, tuple[Any, Any]]] = [
        {1: (1, 10)},
        {1: (0, 10), 2: (2, 20)},
        {1: (None, 10), 2: (2, 20)},
        {2: (2, 20), 1: (1, 10)},
    ]
    plain: list[dict[int, tuple[Any, Any]]] = [{1: (1, 10), 2: (2, 20)}, {1: (5, 10), 2: (2, 21)}]
    assert all(_compare_plain(baseline, reading_of(context_of(20), rows)) is None for rows in odd)
    assert all(_compare_plain(baseline, reading_of(context_of(20), rows)) is not None for rows in plain)


def test_control_a_baseline_that_moves_without_its_record_loses_value() -> None:
    """What the property above is for: moving the baseline although the record was held back is caught."""
    model = Model()
    model.read(held_back=False)
    model.work(1, 5, 50)
    stored, expected = dict(model.stored), model.due.copy()
    model.read(held_back=False)
    model.stored = Counter(stored)  # the record never was
    assert +model.stored != +expected
