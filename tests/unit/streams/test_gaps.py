"""Holes in a sequence are told when they open, when they are filled and when they are confirmed; redeliveries tell nothing."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.ranges import Ranges
from pganalytics.streams.gaps import MOST_HOLES, Change, Finding, Owed, Sight, expire, owe, see

CONFIRM_US = 100


def step(
    sight: Sight | None, seq: int, at_us: int = 0, *, collected_at_us: int = 0, era: int = 0
) -> tuple[Sight, Finding | None]:
    """One record; append time, live time and offset are the same number."""
    return see(sight, seq, era=era, at_us=at_us, collected_at_us=collected_at_us, offset=at_us, due_us=at_us + CONFIRM_US)


def watch(seqs: list[int]) -> tuple[Sight | None, list[Finding]]:
    sight: Sight | None = None
    findings = []
    for at_us, seq in enumerate(seqs):
        sight, finding = step(sight, seq, at_us)
        if finding is not None:
            findings.append(finding)
    return sight, findings


def sight_of(seqs: list[int]) -> Sight:
    sight = watch(seqs)[0]
    assert sight is not None
    return sight


def holes_of(sight: Sight) -> Ranges:
    return Ranges.of((hole.low, hole.high) for hole in sight.holes)


def shown(findings: list[Finding]) -> list[tuple[Change, str]]:
    return [(finding.change, str(finding.ranges)) for finding in findings]


def told(seqs: list[int]) -> list[tuple[Change, str]]:
    return [(finding.change, str(finding.ranges)) for finding in watch(seqs)[1]]


def test_in_order_nothing_is_told() -> None:
    assert told([1, 2, 3]) == []


def test_first_sight_opens_no_hole() -> None:
    assert told([17, 18]) == []


def test_a_hole_opens_and_is_filled_piece_by_piece() -> None:
    assert told([1, 5, 3, 2, 4]) == [
        (Change.OPENED, "2-4"),
        (Change.FILLED, "3"),
        (Change.FILLED, "2"),
        (Change.FILLED, "4"),
    ]


def test_a_redelivery_tells_nothing() -> None:
    assert told([1, 2, 5, 1, 2, 5]) == [(Change.OPENED, "3-4")]


def test_a_record_from_before_first_sight_tells_nothing() -> None:
    assert told([10, 3]) == []


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80))
def test_it_is_what_a_set_of_numbers_would_say(seqs: list[int]) -> None:
    """As long as no hole is forgotten: open holes are the numbers between first and highest that never came."""
    sight, findings = watch(seqs)
    assert sight is not None
    seen: set[int] = set()
    expected = []
    for seq in seqs:
        if seen and seq > max(seen) + 1:
            expected.append((Change.OPENED, Ranges(((max(seen) + 1, seq - 1),))))
        elif seen and seqs[0] < seq < max(seen) and seq not in seen:
            expected.append((Change.FILLED, Ranges(((seq, seq),))))
        seen.add(seq)
    assert [(finding.change, finding.ranges) for finding in findings] == expected
    assert set(holes_of(sight)) == {seq for seq in range(seqs[0], max(seqs)) if seq not in seen}
    assert sight.following == max(seqs) + 1


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=300))
def test_memory_is_bounded_and_a_forgotten_hole_is_the_lowest(seqs: list[int]) -> None:
    sight = sight_of(seqs)
    assert len(sight.holes) <= MOST_HOLES
    assert [hole.low for hole in sight.holes] == sorted(hole.low for hole in sight.holes)


def test_ten_thousand_holes() -> None:
    sight, findings = watch(list(range(1, 20_003, 2)))
    assert sight is not None
    assert len(findings) == 10_000
    assert len(sight.holes) == MOST_HOLES
    assert (sight.holes[-1].low, sight.holes[-1].high) == (20_000, 20_000)
    assert step(sight, 2)[1] is None
    sight, confirmed = expire(sight, 10**6)
    assert len(confirmed) == MOST_HOLES
    assert expire(sight, 10**7)[1] == []


def test_what_is_left_of_a_hole_is_confirmed_once_at_its_deadline() -> None:
    sight = sight_of([1, 6, 3])  # opened by the record at 1
    assert sight.due_us == 1 + CONFIRM_US
    assert expire(sight, CONFIRM_US) == (sight, [])
    sight, findings = expire(sight, 1 + CONFIRM_US)
    assert findings == [Finding(Change.CONFIRMED, Ranges(((2, 2), (4, 5))), 1, 1)]
    assert sight.due_us is None
    assert expire(sight, 10**6) == (sight, [])


def test_a_confirmed_hole_may_be_filled_all_the_same() -> None:
    sight, _ = expire(sight_of([1, 3]), 10**6)
    assert shown([found] if (found := step(sight, 2)[1]) else []) == [(Change.FILLED, "2")]


def test_holes_of_two_records_are_confirmed_apart_so_that_ids_do_not_depend_on_when_it_is_noticed() -> None:
    sight = sight_of([1, 3, 5])
    _, together = expire(sight, 10**6)
    sight, first = expire(sight, 1 + CONFIRM_US)
    assert shown(first) == [(Change.CONFIRMED, "2")]
    assert first + expire(sight, 2 + CONFIRM_US)[1] == together


def test_another_era_is_first_sight() -> None:
    sight, finding = step(sight_of([1, 3]), 90, era=1)
    assert finding is None
    assert sight == Sight(91, 1, 0, 0)


def test_the_highest_seq_with_another_time_is_told_once_and_an_equal_one_is_a_redelivery() -> None:
    sight, _ = step(None, 7, 1, collected_at_us=500)
    assert step(sight, 7, 2, collected_at_us=500) == (sight, None)
    sight, finding = step(sight, 7, 3, collected_at_us=900)
    assert shown([finding] if finding else []) == [(Change.REUSED, "7")]
    assert step(sight, 7, 4, collected_at_us=901)[1] is None
    assert step(sight, 8, 5)[1] is None


def owed(highest: int, at_us: int, *, final: bool = False) -> Owed:
    return Owed(highest, final, at_us, at_us, at_us + CONFIRM_US)


def test_a_tail_is_told_once_when_the_lane_stood_still_for_the_whole_deadline() -> None:
    sight = owe(sight_of([1, 2]), owed(5, 10))
    assert owe(sight, owed(6, 50)) == sight, "the first heartbeat that it was behind counts"
    assert expire(sight, 109)[1] == []
    sight, findings = expire(sight, 110)
    assert findings == [Finding(Change.TAIL, Ranges(((3, 5),)), 10, 10)]
    sight = owe(sight, owed(7, 120))
    assert (sight.due_us, expire(sight, 10**6)[1]) == (None, [])


def test_a_lane_that_moved_is_no_tail_and_may_become_one_later() -> None:
    sight, _ = step(owe(sight_of([1, 2]), owed(5, 10)), 3, 60)
    assert expire(sight, 110)[1] == []
    sight = owe(sight, owed(5, 70))
    assert sight.due_us == 170
    assert shown(expire(sight, 170)[1]) == [(Change.TAIL, "4-5")]
    assert owe(step(step(sight, 4)[0], 5)[0], owed(5, 80)).tail is None


def test_the_end_of_a_final_epoch_is_a_hole_whatever_moved() -> None:
    """All of it was sent; what has not come by the deadline is named exactly, and may still come."""
    sight = owe(owe(sight_of([1, 2]), owed(6, 10)), owed(6, 20, final=True))
    sight, _ = step(sight, 3, 30)
    sight = owe(sight, owed(6, 40, final=True))
    sight, findings = expire(sight, 120)
    assert findings == [Finding(Change.LOST_TAIL, Ranges(((4, 6),)), 20, 20)]
    assert shown([found] if (found := step(sight, 5)[1]) else []) == [(Change.FILLED, "5")]
    assert step(sight, 3)[1] is None


def test_the_last_of_a_lost_tail_that_comes_after_all_is_told_like_the_others() -> None:
    """It is the highest of its sequence, and no redelivery. Once it is there, another record of its identity is told as well."""
    sight, _ = expire(owe(sight_of([1, 2]), owed(4, 10, final=True)), 110)
    sight, finding = step(sight, 4, 200, collected_at_us=7)
    assert finding == Finding(Change.FILLED, Ranges(((4, 4),)), 200, 200)
    assert str(holes_of(sight)) == "3"
    assert step(sight, 4, 210, collected_at_us=7) == (sight, None)
    assert step(sight, 4, 220, collected_at_us=8)[1] == Finding(Change.REUSED, Ranges(((4, 4),)), 220, 220)


def test_a_final_epoch_that_is_whole_tells_nothing() -> None:
    sight = owe(sight_of([1, 2]), owed(3, 10, final=True))
    sight, findings = expire(step(sight, 3, 20)[0], 10**6)
    assert (findings, sight.tail) == ([], None)
