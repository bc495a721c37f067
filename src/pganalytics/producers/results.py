"""What a job can come to. "Read", "not possible here", "failed" and "held back" are different things; none is an empty list."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Collected:
    """The target was read; `rows` went into the record, 0 when the reading is the first and so only a baseline."""

    rows: int


@dataclass(frozen=True, slots=True)
class Unavailable:
    """This metric cannot be read here until somebody does what `cure` says. The target is well."""

    reason: str
    cure: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The reading failed. `kind` is short and stable, for example refused, timeout or sqlstate:57P03.

    `of_target` says that the whole target is concerned, not this metric alone.
    """

    kind: str
    reason: str
    cure: str
    of_target: bool


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Read or not, nothing was emitted and the baseline has not moved: the next delta covers the longer interval."""

    why: str


Outcome = Collected | Unavailable | Failed | HeldBack
