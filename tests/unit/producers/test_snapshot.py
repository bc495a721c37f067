"""Rank, detail, remainder and coverage: totals are exact whatever the limit is."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pganalytics.producers.diff import compare, first_baseline
from pganalytics.producers.reading import Context, Layout, Reading, layout_of, read_rows
from pganalytics.producers.snapshot import snapshot_values
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import builtin_schemas

STATEMENTS = layout_of(builtin_schemas()["statements"])
DATABASE = layout_of(builtin_schemas()["database"])
NULL = -(2**63)


def context_of(at: int, **scalars: Any) -> Context:
    return Context(at, at, "1", 1, 1, None, scalars)


def statements(at: int, rows: dict[int, tuple[int, int]], dealloc: int = 0) -> Reading:
    names = ["queryid", "dbid", "userid", "toplevel", "calls", "total_exec_time", "min_exec_time", "rows"]
    cells = [(key, 5, 10, False, calls, time, 3, calls) for key, (calls, time) in rows.items()]
    return read_rows(STATEMENTS, context_of(at, dealloc=dealloc, stats_reset=1), names, cells)


def decoded(layout: Layout, before: Reading, after: Reading, limit: int | None) -> dict[str, Any]:
    """The record as a reader gets it, all columns at full length."""
    baseline = first_baseline(before)
    difference, _ = compare(baseline, after)
    assert difference is not None
    codec = RecordCodec(layout.schema)
    rest = codec.encode_rest(snapshot_values(layout, baseline, after, difference, limit=limit))
    record = codec.decode(codec.assemble(Identity("a", 1, Lane.NORMAL, 1), rest))
    return record | fill(layout.schema.groups["rows"], record)


def test_the_most_expensive_are_in_detail_and_the_rest_is_one_row() -> None:
    before = statements(10, dict.fromkeys(range(5), (0, 0)))
    after = statements(20, {0: (1, 100), 1: (9, 400), 2: (1, 300), 3: (2, 50), 4: (0, 0)}, dealloc=3)
    record = decoded(STATEMENTS, before, after, limit=2)
    assert record["queryid"] == [1, 2, NULL]
    assert record["remainder"] == [False, False, True]
    assert record["toplevel"] == [False, False, True]
    assert record["dbid"] == [5, 5, 0]
    assert record["calls"] == [9, 1, 3]
    assert record["total_exec_time"] == [400, 300, 150]
    assert record["min_exec_time"] == [3, 3, 0]
    assert (record["entries"], record["changed"], record["sent"]) == (5, 4, 2)
    assert (record["coverage_rows"], record["coverage_time"]) == (0.5, 700 / 850)
    assert (record["dealloc"], record["since"], record["collected_at"]) == (3, 10, 20)


def test_ties_do_not_depend_on_the_order_of_reading() -> None:
    before = statements(10, {})
    rows = {key: (2 if key == 7 else 1, 100) for key in (9, 3, 7, 5)}
    first = decoded(STATEMENTS, before, statements(20, rows), limit=100)
    second = decoded(STATEMENTS, before, statements(20, dict(reversed(rows.items()))), limit=100)
    assert first["queryid"] == second["queryid"] == [7, 3, 5, 9]


def test_nothing_changed_is_a_record_without_rows() -> None:
    same = {1: (1, 1)}
    record = decoded(STATEMENTS, statements(10, same), statements(20, same), limit=100)
    assert record["queryid"] == []
    assert (record["entries"], record["changed"], record["coverage_rows"], record["coverage_time"]) == (1, 0, 1.0, 1.0)


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 9), st.integers(0, 99))),
    st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 9), st.integers(0, 99))),
    st.integers(1, 12),
)
def test_totals_do_not_depend_on_the_limit(
    before: dict[int, tuple[int, int]], moves: dict[int, tuple[int, int]], limit: int
) -> None:
    after = {
        key: tuple(sum(pair) for pair in zip(before.get(key, (0, 0)), moves.get(key, (0, 0)), strict=True))
        for key in before | moves
    }
    record = decoded(STATEMENTS, statements(10, before), statements(20, after), limit)  # type: ignore[arg-type]
    assert sum(record["calls"]) == sum(move[0] for move in moves.values())
    assert sum(record["total_exec_time"]) == sum(move[1] for move in moves.values())
    assert len(record["queryid"]) <= limit + 1
    assert record["total_exec_time"][:limit] == sorted(record["total_exec_time"][:limit], reverse=True)


def test_the_remainder_is_cut_off_at_the_greatest_number() -> None:
    rows = dict.fromkeys(range(6), (2**62, 1))
    record = decoded(STATEMENTS, statements(10, {}), statements(20, rows), limit=1)
    assert record["calls"] == [2**62, 2**63 - 1]


def databases(at: int, commits: int, failures: int | None) -> Reading:
    names = ["datid", "datname", "numbackends", "xact_commit", "checksum_failures", "stats_reset", "xid_age"]
    rows = [(0, None, 0, 0, failures, None, None), (5, "post\ufffdgres", 2, commits, failures, 3, 77)]
    return read_rows(DATABASE, context_of(at), names, rows)


def test_a_metric_that_sends_all_sends_all_with_nulls_as_the_schema_says() -> None:
    record = decoded(DATABASE, databases(10, 100, None), databases(20, 107, None), limit=None)
    assert record["datid"] == [0, 5]
    assert record["datname"] == ["\0", "post\ufffdgres"]
    assert record["xact_commit"] == [0, 7]
    assert record["checksum_failures"] == [NULL, NULL]
    assert record["xid_age"] == [NULL, 77]
    assert record["sessions"] == [0, 0]
    assert record["reset"] == ""


def test_checksums_switched_on_count_from_zero() -> None:
    assert decoded(DATABASE, databases(10, 1, None), databases(20, 1, 4), limit=None)["checksum_failures"] == [4, 4]
