"""What is committed follows what is finished, and every jump is seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.identity import Lane
from pganalytics.streams.positions import Bounds, Jump, Positions, Start, start_of
from unit.streams.arrivals import TOPICS, arrival

HERE = (TOPICS.collected(Lane.NORMAL), 0)
THERE = (TOPICS.collected(Lane.NORMAL), 1)


@pytest.mark.parametrize(
    ("bounds", "offset", "outside"),
    [
        (Bounds(None, 0, 0), 0, False),
        (Bounds(None, 7, 20), 7, False),
        (Bounds(7, 7, 20), 7, False),
        (Bounds(12, 7, 20), 12, False),
        (Bounds(20, 7, 20), 20, False),
        (Bounds(21, 7, 20), 7, True),
        (Bounds(6, 7, 20), 7, True),
    ],
)
def test_reading_goes_on_at_the_commit_or_at_the_log_s_start(bounds: Bounds, offset: int, outside: bool) -> None:
    start = start_of(bounds)
    assert (start.offset, bool(start.outside)) == (offset, outside)


def test_what_is_lost_is_counted() -> None:
    assert start_of(Bounds(4, 7, 20)) == Start(7, "committed is offset 4, the log starts at 7: 3 not read")


def test_nothing_is_done_before_the_first_record_is_finished() -> None:
    positions = Positions()
    positions.begin(HERE, 5)
    assert positions.done(HERE) is None
    taken, jumps = positions.take([arrival(offset=5), arrival(offset=6)])
    assert (taken, jumps, positions.done(HERE)) == ({HERE: 7}, [], None)
    positions.finish(taken)
    assert positions.done(HERE) == 7
    assert positions.partitions() == [HERE]


def test_an_abandoned_batch_leaves_a_jump_behind() -> None:
    positions = Positions()
    positions.begin(HERE, 0)
    positions.take([arrival(offset=0), arrival(offset=1)])
    assert positions.take([arrival(offset=2)])[1] == [Jump(HERE, 0, 2)]


def test_every_assignment_starts_anew() -> None:
    positions = Positions()
    positions.begin(HERE, 0)
    positions.finish(positions.take([arrival(offset=0)])[0])
    before = positions.generation
    positions.forget()
    assert positions.generation != before
    assert positions.done(HERE) is None
    assert positions.unknown([arrival(offset=9), arrival(offset=10), arrival(offset=3, partition=1)]) == {HERE: 9, THERE: 3}


@given(st.integers(0, 5), st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(0, 12)), max_size=40), st.integers(1, 7))
def test_jumps_are_exactly_the_offsets_left_out(start: int, deliveries: list[tuple[int, int]], size: int) -> None:
    """Against a set of all offsets taken: without a jump nothing between start and position is absent."""
    positions = Positions()
    for partition in (HERE, THERE):
        positions.begin(partition, start)
    seen: dict[int, set[int]] = {0: set(), 1: set()}
    jumped: set[int] = set()
    for first in range(0, len(deliveries), size):
        batch = [arrival(partition=partition, offset=offset) for partition, offset in deliveries[first : first + size]]
        taken, jumps = positions.take(batch)
        positions.finish(taken)
        jumped |= {jump.partition[1] for jump in jumps}
        for each in batch:
            seen[each.partition].add(each.offset)
    for partition in (HERE, THERE):
        done = positions.done(partition)
        absent = set(range(start, done or start)) - seen[partition[1]]
        assert (partition[1] in jumped) or not absent
        if done is not None and seen[partition[1]]:
            assert done == max(start, max(seen[partition[1]]) + 1)


def test_what_is_assigned_is_ours_before_anything_came_and_until_it_is_revoked() -> None:
    positions = Positions()
    positions.assigned = frozenset({("t", 0)})
    assert list(positions.assigned) == [("t", 0)]
    assert not positions.known()
    positions.forget()
    assert positions.assigned == frozenset()
