"""What a job can come to. "Read", "not possible here", "failed" and "held back" are different things; none is an empty list."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Collected:
    """The target was read; `rows` went into the record, 0 when the reading is the first and so only a baseline.

    `asked`: it had to answer for that, so it is well; some readings are known without it. `read`: rows of its answer; `size`:
    bytes of the bodies that were made of it; what a reading costs makes no other outcome of it.
    """

    rows: int
    asked: bool = True
    read: int = field(default=0, compare=False)
    size: int = field(default=0, compare=False)


class Kind(StrEnum):
    """What is missing where a metric cannot be read."""

    VERSION = "version"
    EXTENSION = "extension"
    PRIVILEGE = "privilege"
    SETTING = "setting"
    ENCODING = "encoding"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """This metric cannot be read here until somebody does what `cure` says. The target is well.

    `sql`: statements that do it, in database `sql_in` (empty: in any); empty where nobody can say them.
    """

    reason: str
    cure: str
    kind: Kind
    sql: str = ""
    sql_in: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The reading failed. `kind` is short and stable, for example refused, timeout or sqlstate:57P03.

    `of_target` says that the whole target is concerned, not this metric alone; `of_database` that one database of it is.
    """

    kind: str
    reason: str
    cure: str
    of_target: bool
    of_database: bool = False


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Read or not, nothing was emitted and the baseline has not moved: the next delta covers the longer interval."""

    why: str


@dataclass(frozen=True, slots=True)
class Discovered:
    """The databases that metrics of database scope read now, and why others that are wanted cannot be read (reason, cure)."""

    databases: frozenset[str]
    unavailable: Mapping[str, Unavailable]


@dataclass(frozen=True, slots=True)
class Gone:
    """The database is not there any more; nothing is wrong with that."""


Outcome = Collected | Unavailable | Failed | HeldBack | Discovered | Gone


WITHOUT_ASKING = frozenset({"connection_budget", "stopping"})
"""Failures of ours, before or while the target was asked."""


def was_asked(outcome: Outcome) -> bool:
    """Whether the outcome tells anything about the target."""
    match outcome:
        case Collected():
            return outcome.asked
        case Failed():
            return outcome.kind not in WITHOUT_ASKING
    return not isinstance(outcome, HeldBack)
