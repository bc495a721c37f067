"""How a pooler lends its connections to the server: to a client for as long as it stays, or for one transaction.

No pooler says so by the protocol. What a session sets proves nothing, since a quiet pooler lends the same server process again;
that would also be left to others. Two connections that are open at the same time tell: one process that serves both, or one
connection that two processes serve, is lent by transaction. That the processes stay apart is what session pooling looks like,
and what two poolers behind one address look like too.
"""

import time
from collections.abc import Sequence
from enum import StrEnum

import psycopg

from pganalytics.producers.session import DeadlinePassed, Session, connection_string
from pganalytics.runtime.settings import Target

TIMEOUT_S = 3.0
ROUNDS = 3


class Pooling(StrEnum):
    """FULL: by session, and no connection was left for a second one of ours; UNKNOWN: there was no second one, for another
    reason."""

    NONE = ""
    UNKNOWN = "unknown"
    SESSION = "session"
    FULL = "session, full"
    TRANSACTION = "transaction"


def told_by(first: Sequence[int], second: Sequence[int]) -> Pooling:
    """By the server processes that answered two connections, transaction by transaction, while both were open."""
    if len(set(first)) > 1 or len(set(second)) > 1 or set(first) & set(second):
        return Pooling.TRANSACTION
    return Pooling.SESSION


def find_pooling(first: Session, target: Target, dbname: str) -> Pooling:
    """Through a pooler, with one more connection than `first`, for a moment. Raises SettingsError and what `first` raises."""
    first.deadline = time.monotonic() + 2 * TIMEOUT_S
    processes: list[int] = [_process(first), _process(first)]
    others: list[int] = []
    try:
        with Session.connect(connection_string(target, dbname, TIMEOUT_S)) as second:
            second.deadline = time.monotonic() + TIMEOUT_S
            second.prepare_threshold = None
            second.read_only = True
            for _ in range(ROUNDS):
                others.append(_process(second))
                processes += [_process(first), _process(first)]  # twice: turns of two would look like two sessions
    except (DeadlinePassed, psycopg.errors.ConnectionTimeout):
        return Pooling.TRANSACTION if told_by(processes, others) is Pooling.TRANSACTION else Pooling.FULL
    except psycopg.OperationalError:
        return Pooling.UNKNOWN
    return told_by(processes, others)


def _process(session: Session) -> int:
    row = session.execute("/* pganalytics */ select pg_catalog.pg_backend_pid()").fetchone()
    session.commit()
    return row[0] if row else 0
