"""What an error of PostgreSQL means for the sink. Pure; told by SQLSTATE, never by text."""

from enum import StrEnum

import psycopg

from pganalytics.sink.errors import Refused, SinkError, TryAgain


class Meaning(StrEnum):
    """What the sink does next."""

    WAIT = "wait"
    REFUSED = "refused"
    BUG = "bug"


WAIT_CLASSES = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58"})
"""Connection, login, database gone, rollback for concurrency, resources, object busy, operator, system error."""
WAIT_CODES = frozenset({"25006", "25P03", "25P04", "42501"})
"""Read-only server, our transaction timed out, privilege taken away."""
REFUSED_CLASSES = frozenset({"22", "23", "54"})
"""Data, constraint, limit of the program."""


def meaning(sqlstate: str | None) -> Meaning:
    """What an error with this SQLSTATE means; None is a lost or silent connection."""
    if sqlstate is None or sqlstate[:2] in WAIT_CLASSES or sqlstate in WAIT_CODES:
        return Meaning.WAIT
    return Meaning.REFUSED if sqlstate[:2] in REFUSED_CLASSES else Meaning.BUG


def as_sink_error(error: psycopg.Error) -> SinkError | None:
    """The error for the sink's loop; None when it is a bug, which is to crash."""
    if error.sqlstate is None and not isinstance(error, psycopg.OperationalError):
        return None
    match meaning(error.sqlstate):
        case Meaning.WAIT:
            return TryAgain(error.sqlstate or "connection", first_line(error))
        case Meaning.REFUSED:
            return Refused(first_line(error))
        case Meaning.BUG:
            return None


def first_line(error: BaseException) -> str:
    """What an error says, shortened to its first line."""
    return (str(error).strip().split("\n") or [""])[0][:300]
