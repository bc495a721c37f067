"""Counters of which a record has one: each part is reset by itself, and gives no wrong delta."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.producers.diff import compare, first_baseline
from pganalytics.producers.reading import Context, Reading, layout_of, read_rows
from pganalytics.producers.scalars import ScalarDeltas, of_another_server, scalar_deltas
from pganalytics.producers.snapshot import snapshot_values
from pganalytics.schemas.metric import builtin_schemas

SERVER = layout_of(builtin_schemas()["server"])
NAMES = ["wal_records", "wal_fpi", "archiver_archived", "plain"]


def context_of(at: int, *, start: int = 1, **scalars: int | None) -> Context:
    return Context(at, at, "1", start, None, None, {"wal_stats_reset": 1, "archiver_stats_reset": 1} | scalars)


def between(before: Context, now: Context, *, whole: bool = False) -> ScalarDeltas:
    return scalar_deltas(NAMES, before, now, whole=whole)


BEFORE = context_of(10, wal_records=100, wal_fpi=7, archiver_archived=5, plain=3)


def test_what_moved() -> None:
    got = between(BEFORE, context_of(20, wal_records=130, wal_fpi=7, archiver_archived=6, plain=3))
    assert got == ScalarDeltas({"wal_records": 30, "wal_fpi": 0, "archiver_archived": 1, "plain": 0}, began=False)


def test_a_part_that_was_reset_counts_whole_and_the_others_do_not() -> None:
    """More records than before the reset: the counter alone does not show it."""
    got = between(BEFORE, context_of(20, wal_stats_reset=15, wal_records=130, wal_fpi=8, archiver_archived=6, plain=4))
    assert got == ScalarDeltas({"wal_records": 130, "wal_fpi": 8, "archiver_archived": 1, "plain": 1}, began=True)


def test_one_counter_that_went_back_makes_its_part_anew() -> None:
    got = between(BEFORE, context_of(20, wal_records=130, wal_fpi=2, archiver_archived=6, plain=4))
    assert got == ScalarDeltas({"wal_records": 130, "wal_fpi": 2, "archiver_archived": 1, "plain": 1}, began=True)


def test_a_counter_without_a_part_begins_anew_alone() -> None:
    got = between(BEFORE, context_of(20, wal_records=130, wal_fpi=7, archiver_archived=6, plain=2))
    assert got.values == {"wal_records": 30, "wal_fpi": 0, "archiver_archived": 1, "plain": 2}


def test_all_anew() -> None:
    got = between(BEFORE, context_of(20, wal_records=130, wal_fpi=9, archiver_archived=6, plain=4), whole=True)
    assert got == ScalarDeltas({"wal_records": 130, "wal_fpi": 9, "archiver_archived": 6, "plain": 4}, began=False)


def test_what_the_baseline_does_not_have_has_not_moved_by_a_known_amount() -> None:
    """A counter that came with a new version of the agent: its value is of all time, not of the interval."""
    before = context_of(10, wal_records=100)
    assert between(before, context_of(20, wal_records=130, wal_fpi=8)).values == dict.fromkeys(NAMES) | {"wal_records": 30}


@pytest.mark.parametrize(("since", "other"), [(1, False), (5, True), (10, True), (11, False), (None, False)])
def test_a_part_that_is_older_than_the_baseline_and_not_its_own_is_another_server_s(since: int | None, other: bool) -> None:
    now = context_of(20, wal_stats_reset=since, wal_records=130)
    assert of_another_server(BEFORE, now) is other
    assert (compare(first_baseline(reading_of(BEFORE)), reading_of(now))[0] is None) is other


def reading_of(context: Context, hits: int = 0, since: int = 1) -> Reading:
    return read_rows(SERVER, context, ["slru", "blks_hit", "stats_reset"], [("Xact", hits, since)])


@pytest.mark.parametrize(
    ("changed", "reset"),
    [
        ({}, ""),
        ({"wal_stats_reset": 15}, "stats_reset"),
        ({"wal_stats_reset": 15, "start": 12}, "restart"),
        ({"start": 12}, ""),
    ],
)
def test_a_record_says_that_a_part_began_anew(changed: dict[str, Any], reset: str) -> None:
    before, now = reading_of(BEFORE, 4), reading_of(context_of(20, wal_records=130, **changed), 6)
    baseline = first_baseline(before)
    difference, _ = compare(baseline, now)
    assert difference is not None
    record = snapshot_values(SERVER, baseline, now, difference, limit=None)
    assert record["reset"] == reset
    assert record["wal_records"] == (130 if "wal_stats_reset" in changed else 30)
    assert record["blks_hit"] == [2]
    assert record["wal_fpi"] == -(2**63)


@given(
    st.lists(st.one_of(st.tuples(st.just("work"), st.integers(1, 99)), st.just(("reset", 0)), st.just(("read", 0))), max_size=40)
)
def test_value_is_conserved(steps: list[tuple[str, int]]) -> None:
    """Sums of deltas = work, less what a reset made forget before anybody read it."""
    clock, since, value, unread, stored, expected = 10, 1, 0, 0, 0, 0
    before = context_of(clock, wal_records=0)
    for step, amount in [*steps, ("read", 0)]:
        clock += 1
        if step == "work":
            value, unread = value + amount, unread + amount
        elif step == "reset":
            since, value, unread = clock, 0, 0
        else:
            now = context_of(clock, wal_stats_reset=since, wal_records=value)
            stored += scalar_deltas(["wal_records"], before, now, whole=False).values["wal_records"]
            expected, unread, before = expected + unread, 0, now
    assert stored == expected
