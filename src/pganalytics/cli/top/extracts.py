"""From the records of a snapshot to what is kept of it: bounded in rows, names and texts cut to a bounded length. Pure."""

import heapq
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pganalytics.cli.top.readings import NO_ID, Beat, Blocking, Database, Edge, Sessions, Standby, Statements
from pganalytics.cli.top.records import Rows, Seen, scalar

NAME_CHARS, TEXT_CHARS = 200, 1000
MOST_DATABASES, MOST_GROUPS, MOST_EDGES, MOST_SENDERS, MOST_STATEMENTS = 1000, 1000, 1000, 100, 1000


def read_beat(parts: Sequence[Seen]) -> Beat:
    """A heartbeat."""
    first = parts[0]
    return Beat(
        final=bool(scalar(first, "final")),
        up=bool(scalar(first, "up")),
        error=_name(scalar(first, "error")),
        role=_name(scalar(first, "role")),
        version=scalar(first, "server_version"),
        connections=scalar(first, "connections"),
        max_connections=scalar(first, "max_connections"),
        oldest_transaction_us=scalar(first, "oldest_transaction"),
    )


def read_databases(parts: Sequence[Seen]) -> tuple[Database, ...]:
    """Those with the most transactions first."""
    names = (
        "datid datname numbackends xact_commit xact_rollback blks_hit blks_read tup_returned tup_fetched "
        "tup_inserted tup_updated tup_deleted temp_bytes deadlocks xid_age"
    )
    found = [
        Database(
            oid=row["datid"] or 0,
            name=_name(row["datname"]),
            backends=row["numbackends"] or 0,
            commits=row["xact_commit"] or 0,
            rollbacks=row["xact_rollback"] or 0,
            hit=row["blks_hit"] or 0,
            read=row["blks_read"] or 0,
            rows_read=(row["tup_returned"] or 0) + (row["tup_fetched"] or 0),
            rows_written=(row["tup_inserted"] or 0) + (row["tup_updated"] or 0) + (row["tup_deleted"] or 0),
            temp_bytes=row["temp_bytes"] or 0,
            deadlocks=row["deadlocks"] or 0,
            xid_age=row["xid_age"],
        )
        for row in _each(parts, names)
    ]
    return _largest(found, MOST_DATABASES, lambda one: one.commits + one.rollbacks)


def read_sessions(parts: Sequence[Seen]) -> tuple[Sessions, ...]:
    """The largest groups first."""
    names = (
        "datname usename application_name backend_type state wait_event_type wait_event "
        "sessions longest_query longest_transaction"
    )
    found = [
        Sessions(
            database=_name(row["datname"]),
            user=_name(row["usename"]),
            application=_name(row["application_name"]),
            backend=_name(row["backend_type"]),
            state=_name(row["state"]),
            wait_type=_name(row["wait_event_type"]),
            wait=_name(row["wait_event"]),
            count=row["sessions"] or 0,
            longest_query_us=row["longest_query"],
            longest_transaction_us=row["longest_transaction"],
        )
        for row in _each(parts, names)
    ]
    return _largest(found, MOST_GROUPS, lambda one: one.count)


def read_blocking(parts: Sequence[Seen]) -> Blocking:
    """In the order in which they come: the longest waiting first."""
    names = (
        "waiter_pid blocker_pid blocker_gid depth lock_type lock_mode waited waiter_datname waiter_usename "
        "waiter_application_name waiter_query blocker_datname blocker_usename blocker_application_name blocker_state "
        "blocker_xact_start blocker_query"
    )
    edges = [
        Edge(
            waiter=row["waiter_pid"] or 0,
            blocker=row["blocker_pid"] or 0 if row["blocker_gid"] is None else _name(row["blocker_gid"]),
            depth=row["depth"],
            lock=f"{_name(row['lock_type'])} {_name(row['lock_mode'])}".strip(),
            waited_us=row["waited"],
            waiter_who=who(row["waiter_usename"], row["waiter_datname"], row["waiter_application_name"]),
            waiter_query=_text(row["waiter_query"]),
            blocker_who=who(row["blocker_usename"], row["blocker_datname"], row["blocker_application_name"]),
            blocker_state=_name(row["blocker_state"]),
            blocker_xact_start_us=row["blocker_xact_start"],
            blocker_query=_text(row["blocker_query"]),
        )
        for row in _each(parts, names)
    ]
    return Blocking(scalar(parts[0], "waiters_total") or 0, tuple(edges[:MOST_EDGES]))


def read_senders(parts: Sequence[Seen]) -> tuple[Standby, ...]:
    """The standbys that a server sends to."""
    found = _each(parts, "application_name replay_lag replay_lag_bytes")
    return tuple(Standby(_name(row["application_name"]), row["replay_lag"], row["replay_lag_bytes"]) for row in found)[
        :MOST_SENDERS
    ]


def read_receiver(parts: Sequence[Seen]) -> tuple[Standby, ...]:
    """The standby itself."""
    found = _each(parts, "slot_name replay_delay unreplayed_bytes")
    return tuple(Standby(_name(row["slot_name"]), row["replay_delay"], row["unreplayed_bytes"]) for row in found)[:MOST_SENDERS]


def read_statements(parts: Sequence[Seen]) -> Statements:
    """Those with the most time first, and what all the others are together: totals are those of the snapshot."""
    names = "queryid dbid calls total_exec_time rows shared_blks_hit shared_blks_read"
    columns = [[NO_ID if cell is None else cell for cell in cells] for cells in _columns(parts, names)]
    remainder = Rows(parts).column("remainder")
    detailed = sorted((row for row, rest in enumerate(remainder) if not rest), key=lambda row: -columns[3][row])
    kept = detailed[:MOST_STATEMENTS]
    others = detailed[MOST_STATEMENTS:] + [row for row, rest in enumerate(remainder) if rest]
    sums = [NO_ID, 0, *(sum(cells[row] for row in others) for cells in columns[2:])]
    packed = [
        array("q", map(_long, [*(cells[row] for row in kept), *([last] if others else [])]))
        for cells, last in zip(columns, sums, strict=True)
    ]
    first = parts[0]
    return Statements(
        scalar(first, "entries") or 0, scalar(first, "changed") or 0, scalar(first, "coverage_time"), bool(others), *packed
    )


def read_texts(parts: Sequence[Seen]) -> dict[int, str]:
    """Texts by queryid."""
    ids, texts = _columns(parts, "queryid query")
    return {queryid: _text(text) for queryid, text in zip(ids, texts, strict=True) if queryid is not None}


def read_size(parts: Sequence[Seen]) -> tuple[str, int]:
    """A database and its size in bytes."""
    return _name(scalar(parts[0], "datname")), scalar(parts[0], "database_size") or 0


def who(user: str | None, database: str | None, application: str | None) -> str:
    """user@database application."""
    return f"{_name(user)}@{_name(database)} {_name(application)}".strip(" @")


def _each(parts: Sequence[Seen], names: str) -> Iterator[dict[str, Any]]:
    for cells in zip(*_columns(parts, names), strict=True):
        yield dict(zip(names.split(), cells, strict=True))


def _columns(parts: Sequence[Seen], names: str) -> list[list[Any]]:
    rows = Rows(parts)
    return [rows.column(name) for name in names.split()]


def _largest(found: list[Any], most: int, size: Callable[[Any], int]) -> tuple[Any, ...]:
    return tuple(heapq.nlargest(most, found, key=size))


def _name(text: str | None) -> str:
    return (text or "")[:NAME_CHARS]


def _text(text: str | None) -> str:
    return (text or "")[:TEXT_CHARS]


def _long(value: int) -> int:
    return max(NO_ID, min(value, 2**63 - 1))
