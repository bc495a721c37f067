"""Ranges travel to PostgreSQL and back unchanged."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.multiranges import MOST_SEQ, from_multirange, to_multirange

RANGES = st.builds(
    Ranges.of, st.lists(st.tuples(st.integers(1, MOST_SEQ), st.integers(0, 100)).map(lambda pair: (pair[0], pair[0] + pair[1])))
)


def canonical(text: str) -> str:
    """As `::text` would show it: the end exclusive."""
    spans = [span.split(",") for span in text.strip("{}").replace("],", "]|").split("|") if span]
    return "{" + ",".join(f"{low},{int(high[:-1]) + 1})" for low, high in spans) + "}"


@given(RANGES)
def test_text_and_back(ranges: Ranges) -> None:
    assert from_multirange(canonical(to_multirange(ranges))) == ranges


def test_examples() -> None:
    assert to_multirange(Ranges()) == "{}"
    assert to_multirange(Ranges.numbers([1, 2, 5])) == "{[1,2],[5,5]}"
    assert from_multirange("{[1,3),[5,6)}") == Ranges.numbers([1, 2, 5])
    assert from_multirange("{}") == Ranges()
