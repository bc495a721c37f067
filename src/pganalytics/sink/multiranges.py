"""Ranges as PostgreSQL's text of an int8multirange, and back. Pure."""

import re

from pganalytics.schemas.ranges import Ranges

MOST_SEQ = 2**48
"""More than anybody emits in one epoch: a million a second for eight years. Sums over many streams still fit."""

_RANGE = re.compile(r"\[(-?\d+),(-?\d+)\)")


def to_multirange(ranges: Ranges) -> str:
    """Text for a cast to int8multirange."""
    return "{" + ",".join(f"[{low},{high}]" for low, high in ranges.spans) + "}"


def from_multirange(text: str) -> Ranges:
    """What `::text` gives: canonical, sorted, the end exclusive. Endless ranges are never written."""
    return Ranges(tuple((int(low), int(high) - 1) for low, high in _RANGE.findall(text)))
