"""Hypothesis strategies for whatever a record schema allows."""

import math
from typing import Any

from hypothesis import strategies as st

from pganalytics.schemas.identity import LANES, Identity
from pganalytics.schemas.metric import Field, MetricSchema

LONGS = st.integers(-(2**63), 2**63 - 1)
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "long": st.one_of(st.just(0), LONGS),
    "double": st.floats(allow_nan=True, allow_infinity=True),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "boolean": st.booleans(),
}
COLLECTORS = st.from_regex(r"[A-Za-z0-9\[][A-Za-z0-9._:@/\[\]-]{0,40}", fullmatch=True)
IDENTITIES = st.builds(Identity, COLLECTORS, st.integers(1, 2**63 - 1), st.sampled_from(LANES), st.integers(1, 2**63 - 1))


@st.composite
def records(draw: st.DrawFn, schema: MetricSchema) -> dict[str, Any]:
    """Everything of a record but its identity; columns of a group are full or, but for the first, empty."""
    values: dict[str, Any] = {name: draw(LONGS) for name in ("collected_at", "since")}
    values |= {"part": draw(st.integers(1, 9)), "parts": draw(st.integers(1, 9))}
    values |= {field.name: draw(PRIMITIVES[field.primitive]) for field in schema.scalars}
    for columns in schema.groups.values():
        rows = draw(st.integers(0, 4))
        for place, column in enumerate(columns):
            values[column.name] = draw(_cells(column, rows, elidable=place > 0))
    return values


def _cells(column: Field, rows: int, *, elidable: bool) -> st.SearchStrategy[list[Any]]:
    full = st.lists(PRIMITIVES[column.primitive], min_size=rows, max_size=rows)
    return st.one_of(st.just([]), full) if elidable else full


def same(left: Any, right: Any) -> bool:
    """Equality in which NaN equals NaN and -0.0 differs from nothing."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and bool(left == right)
