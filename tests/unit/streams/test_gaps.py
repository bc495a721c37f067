"""Holes in a sequence are told when they open and when they close; redeliveries tell nothing."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.ranges import Ranges
from pganalytics.streams.gaps import MOST_HOLES, Change, Finding, Sight, see


def watch(seqs: list[int]) -> tuple[Sight | None, list[Finding]]:
    sight: Sight | None = None
    findings = []
    for seq in seqs:
        sight, finding = see(sight, seq)
        if finding is not None:
            findings.append(finding)
    return sight, findings


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
            expected.append(Finding(Change.OPENED, Ranges(((max(seen) + 1, seq - 1),))))
        elif seen and seqs[0] < seq < max(seen) and seq not in seen:
            expected.append(Finding(Change.FILLED, Ranges(((seq, seq),))))
        seen.add(seq)
    assert findings == expected
    assert set(sight.holes) == {seq for seq in range(seqs[0], max(seqs)) if seq not in seen}
    assert sight.following == max(seqs) + 1


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=300))
def test_memory_is_bounded_and_a_forgotten_hole_is_the_lowest(seqs: list[int]) -> None:
    sight, _ = watch(seqs)
    assert sight is not None
    assert len(sight.holes.spans) <= MOST_HOLES
    assert sight.holes == Ranges.of(sight.holes.spans)


def test_thousands_of_holes() -> None:
    sight, findings = watch(list(range(1, 10_001, 2)))
    assert sight is not None
    assert len(findings) == 4_999
    assert sight.holes.spans[-1] == (10_000 - 2, 10_000 - 2)
    assert len(sight.holes.spans) == MOST_HOLES
    assert see(sight, 2)[1] is None
