"""The views: which rows, in which columns, in which order. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pganalytics.cli.top.amounts import UNKNOWN, age, share, short, size, span, whole
from pganalytics.cli.top.chains import blocking_rows
from pganalytics.cli.top.fleet import Fleet
from pganalytics.cli.top.fleet_rows import STATES, database_rows, fleet_rows
from pganalytics.cli.top.layout import Column, one_line
from pganalytics.cli.top.rows import FleetRow, Row
from pganalytics.cli.top.statement_rows import statement_rows
from pganalytics.cli.top.wait_rows import wait_rows


class View(StrEnum):
    """What can be looked at. `target`: all of one target on one screen."""

    FLEET = "fleet"
    TARGET = "target"
    DATABASES = "databases"
    STATEMENTS = "statements"
    WAITS = "waits"
    BLOCKING = "blocking"


@dataclass(frozen=True, slots=True)
class Table:
    """`sort`: header of the column that orders it at first; None: the order means something."""

    columns: tuple[Column, ...]
    sort: str | None
    rows: Callable[[Fleet, int, str | None], Sequence[Row]]


def lit(style: str, field: str, test: Callable[[Any], bool]) -> Callable[[Any], str]:
    """A style for rows whose field is such."""

    def of(row: Any) -> str:
        value = getattr(row, field)
        return style if value is not None and test(value) else ""

    return of


def _text(value: str | None) -> str:
    return UNKNOWN if value is None else one_line(value)


def _name(value: str) -> str:
    return value


def _state_style(row: Any) -> str:
    return {"down": "bold red", "silent": "bold red", "?": "yellow", "up": "green"}.get(row.state, "dim")


def _version(value: int | None) -> str:
    return UNKNOWN if not value else f"{value // 10000}.{value % 10000}"


def _level(row: Any) -> str:
    return "bold red" if row.level == 0 else ""


TARGET = Column("target", "target", _name, right=False, least=20, most=40, grows=True)
DATABASE = Column("database", "database", _name, right=False, least=12, most=24, grows=True)
TPS = Column("tps", "transactions_per_s", short, least=5)
ROLLBACKS = Column("rb%", "rollback_ratio", share, rank=13, style=lit("yellow", "rollback_ratio", lambda share: share > 0.1))
HITS = Column("hit%", "hit_ratio", share, rank=2)
SIZE = Column("size", "size_bytes", size, least=6, rank=5)
RATES = (
    Column("read/s", "rows_read_per_s", short, least=6, rank=10),
    Column("write/s", "rows_written_per_s", short, least=7, rank=9),
    Column("temp/s", "temp_bytes_per_s", size, least=6, rank=12),
    Column("deadl", "deadlocks", whole, rank=11, style=lit("bold red", "deadlocks", lambda count: count > 0)),
)

FLEET = (
    TARGET,
    Column("state", "standing", one_line, right=False, least=20, most=30, grows=True, style=_state_style),
    TPS,
    ROLLBACKS,
    HITS,
    Column("act", "active", whole, least=3),
    Column("wait", "waiting", whole, rank=1),
    Column("blk", "blocked", whole, least=3, style=lit("bold red", "blocked", lambda count: count > 0)),
    Column("idtx", "idle_in_transaction", whole, rank=8),
    Column("conn", "connections", whole, rank=3),
    Column("max", "max_connections", whole, rank=14),
    Column(
        "oldest", "oldest_transaction_s", span, least=6, rank=4, style=lit("yellow", "oldest_transaction_s", lambda s: s > 300)
    ),
    Column("lag", "lag_s", span, least=5, rank=6, style=lit("yellow", "lag_s", lambda seconds: seconds > 30)),
    Column("lag size", "lag_bytes", size, least=6, rank=15),
    Column("dbs", "databases", whole, least=3, rank=16),
    replace(SIZE, mark=lambda row: ">" if row.size_bytes is not None and not row.size_is_whole else ""),
    *RATES,
    Column("seen", "heartbeat_age_s", age, least=5, rank=7),
    Column("role", "role", _text, right=False, rank=18),
    Column("ver", "server_version", _version, right=False, rank=17),
)

DATABASES = (
    TARGET,
    DATABASE,
    TPS,
    ROLLBACKS,
    HITS,
    Column("conn", "backends", whole),
    SIZE,
    *RATES,
    Column("xid age", "xid_age", short, least=7, rank=7),
)

STATEMENTS = (
    TARGET,
    Column("time%", "share", share, least=5),
    Column("load", "load", short, rank=4),
    Column("calls/s", "calls_per_s", short, least=7),
    Column("ms/call", "ms_per_call", short, least=7),
    Column("rows/s", "rows_per_s", short, least=6),
    replace(HITS, rank=3),
    Column("blk rd/s", "blocks_read_per_s", short, least=8, rank=5),
    DATABASE,
    Column("queryid", "queryid", whole, least=20, rank=6),
    Column("statement", "text", one_line, right=False, least=32, most=1000, grows=True),
)

WAITS = (
    TARGET,
    Column("sess", "sessions", whole),
    Column("share%", "share", share, least=6),
    Column("state", "state", one_line, right=False, least=19, most=30, grows=True),
    Column("wait", "wait", one_line, right=False, least=24, most=40, grows=True),
    Column("query", "longest_query_s", span, least=6),
    Column("transac", "longest_transaction_s", span, least=7, rank=1),
    Column("who", "who", one_line, right=False, least=20, most=200, grows=True),
)

BLOCKING = (
    TARGET,
    Column("pid", "place", _name, right=False, least=8, most=24, style=_level),
    Column("for", "waited_s", span, least=6),
    Column("blocks", "blocks", whole, least=6, rank=1),
    Column("state or lock", "what", one_line, right=False, least=19, most=34, grows=True, style=_level),
    Column("who", "who", one_line, right=False, least=18, most=60, grows=True),
    Column("statement", "query", one_line, right=False, least=24, most=1000, grows=True),
)

TABLES = {
    View.FLEET: Table(FLEET, "state", lambda fleet, now_us, _: fleet_rows(fleet, now_us)),
    View.DATABASES: Table(DATABASES, "tps", database_rows),
    View.STATEMENTS: Table(STATEMENTS, "time%", statement_rows),
    View.WAITS: Table(WAITS, "sess", wait_rows),
    View.BLOCKING: Table(BLOCKING, None, blocking_rows),
}


def columns_of(view: View, chosen: str | None) -> tuple[Column, ...]:
    """Those of a view; without the target where there is but one."""
    columns = TABLES[view].columns
    return columns[1:] if chosen is not None and view is not View.FLEET else columns


def ordered(rows: Sequence[Row], column: Column, *, backwards: bool) -> list[Row]:
    """By a column: numbers from the greatest, texts from a, states from the worst; `backwards` the other way round. What is not
    known comes last in either."""
    known = [row for row in rows if getattr(row, column.field) is not None]
    unknown = [row for row in rows if getattr(row, column.field) is None]
    texts = any(isinstance(getattr(row, column.field), str) for row in known)

    def place(row: Row) -> Any:
        value = getattr(row, column.field)
        return STATES.index(row.state) if isinstance(row, FleetRow) and column.field == "standing" else value

    by_name = sorted(known, key=lambda row: row.target)
    return sorted(by_name, key=place, reverse=(not texts) != backwards) + sorted(unknown, key=lambda row: row.target)


def matching(rows: Sequence[Row], columns: Sequence[Column], wanted: str) -> list[Row]:
    """Rows of which any cell has the text in it, whether in small letters or capitals; of chains the whole one."""
    if not wanted:
        return list(rows)
    found: list[Row] = []
    for chain in _chained(rows):
        if any(_matches(row, columns, wanted.casefold()) for row in chain):
            found += chain
    return found


def _chained(rows: Sequence[Row]) -> list[list[Row]]:
    groups: list[list[Row]] = []
    for row in rows:
        if groups and getattr(row, "level", 0) > 0:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _matches(row: Row, columns: Sequence[Column], wanted: str) -> bool:
    return any(wanted in column.show(getattr(row, column.field)).casefold() for column in columns)
