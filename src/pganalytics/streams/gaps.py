"""Holes and tails of one sequence, as hints within seconds. Pure. The ledger is the truth; these may be forgotten and told anew.

First sight opens no hole: what came before is not known after a restart. A seq that is neither new nor in a hole is a
redelivery and means nothing, unless it is the highest with another time: then two records have one identity.

A tail is what a heartbeat says was emitted and what has not come, with nothing after it that would make it a hole. Headers do
not say what is unsent, so in an epoch that goes on it is told as a tail, only when the sequence stood still for the whole
deadline; in an epoch that is final all was sent, and what has not come by the deadline is a hole.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from pganalytics.schemas.ranges import Ranges

MOST_HOLES = 32
"""Holes remembered per sequence; beyond that the lowest is forgotten, and its late arrival is not told."""
TOLD = -1


class Change(StrEnum):
    """What a record or a deadline did."""

    OPENED = "opened"
    FILLED = "filled"
    REUSED = "reused"
    CONFIRMED = "confirmed"
    TAIL = "tail"
    LOST_TAIL = "lost_tail"


@dataclass(frozen=True, slots=True)
class Hole:
    """Seqs that never came. `at_us` and `offset`: of the record that opened it. `due_us`: the deadline, in live time."""

    low: int
    high: int
    at_us: int
    offset: int
    due_us: int
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Owed:
    """What a heartbeat says of one lane: its highest seq; `final`: all of it was sent. The rest as in a hole."""

    highest: int
    final: bool
    at_us: int
    offset: int
    due_us: int


@dataclass(frozen=True, slots=True)
class Tail:
    """A lane that was behind its heartbeat. `following`: the lane's at that time."""

    owed: Owed
    following: int
    told: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of one sequence: the seq after the highest seen, and what is missing below it.

    `at_us` and `collected_at_us` are those of the highest. `era`: of the partition's reading (see `watch`).
    """

    following: int
    era: int
    at_us: int
    collected_at_us: int
    holes: tuple[Hole, ...] = ()
    tail: Tail | None = None

    @property
    def due_us(self) -> int | None:
        """The next deadline, in live time."""
        dues = [hole.due_us for hole in self.holes if not hole.confirmed]
        if self.tail is not None and not self.tail.told:
            dues.append(self.tail.owed.due_us)
        return min(dues) if dues else None


@dataclass(frozen=True, slots=True)
class Finding:
    """A change. `at_us` and `offset`: of the record that it began with."""

    change: Change
    ranges: Ranges
    at_us: int
    offset: int


def see(
    sight: Sight | None, seq: int, *, era: int, at_us: int, collected_at_us: int, offset: int, due_us: int
) -> tuple[Sight, Finding | None]:
    """Take one record's seq into account. `due_us`: the deadline of a hole that it opens."""
    if sight is None or sight.era != era:
        return Sight(seq + 1, era, at_us, collected_at_us), None
    following = sight.following
    if seq == following:
        return Sight(seq + 1, era, at_us, collected_at_us, sight.holes, sight.tail), None
    if seq > following:
        hole = Hole(following, seq - 1, at_us, offset, due_us)
        seen = Sight(seq + 1, era, at_us, collected_at_us, _bounded((*sight.holes, hole)), sight.tail)
        return seen, Finding(Change.OPENED, Ranges(((following, seq - 1),)), at_us, offset)
    for index, hole in enumerate(sight.holes):
        if hole.low <= seq <= hole.high:
            left = [replace(hole, high=seq - 1)] * (hole.low < seq) + [replace(hole, low=seq + 1)] * (seq < hole.high)
            holes = _bounded((*sight.holes[:index], *left, *sight.holes[index + 1 :]))
            made_us = collected_at_us if seq == following - 1 else sight.collected_at_us  # the last of a lost tail
            filled = replace(sight, holes=holes, collected_at_us=made_us)
            return filled, Finding(Change.FILLED, Ranges(((seq, seq),)), at_us, offset)
    if seq < following - 1 or sight.collected_at_us in (collected_at_us, TOLD):
        return sight, None
    return replace(sight, collected_at_us=TOLD), Finding(Change.REUSED, Ranges(((seq, seq),)), at_us, offset)


def owe(sight: Sight, owed: Owed) -> Sight:
    """Take a heartbeat into account. While the sequence stands still, the first heartbeat that it was behind counts."""
    tail = sight.tail
    if owed.highest < sight.following:
        return sight if tail is None else replace(sight, tail=None)
    if tail is not None and (tail.owed.final or (tail.following == sight.following and not owed.final)):
        return sight
    return replace(sight, tail=Tail(owed, sight.following))


def expire(sight: Sight, live_us: int) -> tuple[Sight, list[Finding]]:
    """What is told at a time: holes and tails whose deadline is reached, each once."""
    due = [hole for hole in sight.holes if not hole.confirmed and hole.due_us <= live_us]
    found = [_confirmed([hole for hole in due if hole.offset == offset]) for offset in sorted({hole.offset for hole in due})]
    if due:
        holes = tuple(replace(hole, confirmed=hole.confirmed or hole.due_us <= live_us) for hole in sight.holes)
        sight = replace(sight, holes=holes)
    if sight.tail is not None and not sight.tail.told and sight.tail.owed.due_us <= live_us:
        sight, finding = _expire_tail(sight, sight.tail)
        found += [finding] if finding is not None else []
    return sight, found


def _expire_tail(sight: Sight, tail: Tail) -> tuple[Sight, Finding | None]:
    owed, following = tail.owed, sight.following
    if owed.highest < following or (not owed.final and tail.following != following):
        return replace(sight, tail=None), None
    ranges = Ranges(((following, owed.highest),))
    if not owed.final:
        return replace(sight, tail=replace(tail, told=True)), Finding(Change.TAIL, ranges, owed.at_us, owed.offset)
    hole = Hole(following, owed.highest, owed.at_us, owed.offset, owed.due_us, confirmed=True)
    lost = replace(sight, following=owed.highest + 1, collected_at_us=TOLD, holes=_bounded((*sight.holes, hole)), tail=None)
    return lost, Finding(Change.LOST_TAIL, ranges, owed.at_us, owed.offset)


def _confirmed(holes: list[Hole]) -> Finding:
    """What is left of one hole; one event for each record that opened one, so that its id is the same when made again."""
    return Finding(Change.CONFIRMED, Ranges.of((hole.low, hole.high) for hole in holes), holes[0].at_us, holes[0].offset)


def _bounded(holes: tuple[Hole, ...]) -> tuple[Hole, ...]:
    return holes[-MOST_HOLES:]
