"""Ranges are sets."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.ranges import Ranges

SETS = st.sets(st.integers(0, 60))


@given(SETS, SETS)
def test_operations_are_those_of_sets(left: set[int], right: set[int]) -> None:
    """Union, difference, intersection, length, membership and order agree with Python's sets."""
    a, b = Ranges.numbers(left), Ranges.numbers(right)
    assert list(a) == sorted(left)
    assert list(a | b) == sorted(left | right)
    assert list(a - b) == sorted(left - right)
    assert list(a & b) == sorted(left & right)
    assert len(a) == len(left)
    assert bool(a) == bool(left)
    assert all((number in a) == (number in left) for number in range(62))
    assert a == Ranges.of((number, number) for number in sorted(left, reverse=True))


@given(SETS, SETS)
def test_spans_are_normal(left: set[int], right: set[int]) -> None:
    """Spans ascend, are not empty and never touch: one set has one form."""
    for made in (Ranges.numbers(left) - Ranges.numbers(right), Ranges.numbers(left) | Ranges.numbers(right)):
        assert all(low <= high for low, high in made.spans)
        assert all(here[1] + 1 < there[0] for here, there in zip(made.spans, made.spans[1:], strict=False))


@given(SETS, st.integers(1, 5))
def test_merging_outward_only_adds(numbers: set[int], most: int) -> None:
    """At most that many spans, none of the set left out, the ends kept."""
    whole = Ranges.numbers(numbers)
    merged = whole.merged_outward(most)
    assert len(merged.spans) <= most
    assert not whole - merged
    if numbers:
        assert (merged.spans[0][0], merged.spans[-1][1]) == (min(numbers), max(numbers))


def test_merging_outward_closes_the_smallest_gap() -> None:
    """What is called unsent in vain is as little as can be."""
    assert Ranges.of([(1, 2), (4, 5), (50, 60)]).merged_outward(2).spans == ((1, 5), (50, 60))


def test_text() -> None:
    """For people."""
    assert str(Ranges.of([(1, 3), (7, 7)])) == "1-3,7"
    assert str(Ranges()) == "none"
    assert Ranges.of([(3, 2)]) == Ranges()
