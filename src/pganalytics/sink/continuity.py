"""Whether a record is the next one of its partition. Pure.

The positions in the store say that everything before them was dealt with, so nothing may ever be skipped unseen.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Step(StrEnum):
    """What to do with a record."""

    TAKE = "take"
    IGNORE = "ignore"
    SEEK = "seek"


@dataclass(frozen=True, slots=True)
class Continuity:
    """`expected`: the next offset. `jump`: from where to where the last jump went, None before the first.

    A jump sends the consumer back once. When it comes again at the same place, it is the log's own: there are no records
    between (control records of somebody's transaction), and reading goes on after it.
    """

    expected: int
    jump: tuple[int, int] | None = None

    def step(self, offset: int) -> tuple["Continuity", Step]:
        """The state after a record at `offset`, and what to do with it."""
        if offset < self.expected:
            return self, Step.IGNORE
        if offset == self.expected or self.jump == (self.expected, offset):
            return replace(self, expected=offset + 1), Step.TAKE
        return replace(self, jump=(self.expected, offset)), Step.SEEK

    def moved(self, offset: int) -> "Continuity":
        """Reading begins at `offset`. A known jump stays known: it lies ahead again."""
        return replace(self, expected=offset)


def resume_at(position: int, *, start: int, end: int) -> int:
    """Where to read on: at the store's position, or at the log's start when that lies outside of the log."""
    return position if start <= position <= end else start
