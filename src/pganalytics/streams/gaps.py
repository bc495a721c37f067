"""Holes in a sequence, as hints within seconds. Pure. The ledger is the truth; these may be forgotten and told anew.

First sight opens no hole: what came before is not known after a restart. A seq that is neither new nor in a hole is a
redelivery and means nothing.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from pganalytics.schemas.ranges import Ranges

MOST_HOLES = 32
"""Holes remembered per sequence; beyond that the lowest is forgotten, and its late arrival is not told."""


class Change(StrEnum):
    """What a record did to the holes."""

    OPENED = "opened"
    FILLED = "filled"


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of one sequence: the seq after the highest seen, and what is missing below it."""

    following: int
    holes: Ranges = field(default_factory=Ranges)


@dataclass(frozen=True, slots=True)
class Finding:
    """A change of the holes."""

    change: Change
    ranges: Ranges


def see(sight: Sight | None, seq: int) -> tuple[Sight, Finding | None]:
    """Take one record's seq into account."""
    if sight is None or seq == sight.following:
        return Sight(seq + 1, sight.holes if sight else Ranges()), None
    if seq > sight.following:
        opened = Ranges(((sight.following, seq - 1),))
        return Sight(seq + 1, Ranges((sight.holes.spans + opened.spans)[-MOST_HOLES:])), Finding(Change.OPENED, opened)
    if seq in sight.holes:
        filled = Ranges(((seq, seq),))
        return Sight(sight.following, Ranges((sight.holes - filled).spans[-MOST_HOLES:])), Finding(Change.FILLED, filled)
    return sight, None
