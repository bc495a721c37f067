"""The store as it is at one moment: ledger, positions, and the rows of all tables counted per stream."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.settings import Server
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.metric import MetricSchema
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.audit import read_odd_things
from pganalytics.sink.connection import StoreConnection, open_or_explain
from pganalytics.sink.layout import quoted
from pganalytics.sink.multiranges import from_multirange
from pganalytics.sink.outages import first_line
from pganalytics.sink.records import Partition
from pganalytics.sink.report import OddThings
from pganalytics.sink.statements import statement
from pganalytics.sink.tables import read_schemas

STATEMENT_TIMEOUT_S = 1800
TABLES_S, PAUSE_S = 20.0, 0.1
"""How long new tables may keep coming, as from a sink that starts on a new store, and how often they are looked for."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the ledger says of one stream."""

    emitted: int = 0
    stored: Ranges = field(default_factory=Ranges)
    dead: Ranges = field(default_factory=Ranges)
    shed: Ranges = field(default_factory=Ranges)
    missing: Ranges = field(default_factory=Ranges)
    deferred: Ranges = field(default_factory=Ranges)
    sent: Ranges = field(default_factory=Ranges)


@dataclass(frozen=True, slots=True)
class StoredRows:
    """What the tables hold of one stream: rows, their seqs, the seqs that are there twice; `dropped` by retention."""

    count: int = 0
    seqs: Ranges = field(default_factory=Ranges)
    twice: Ranges = field(default_factory=Ranges)
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """All of one moment."""

    ledger: Mapping[Stream, LedgerRow]
    positions: Mapping[Partition, int]
    rows: Mapping[Stream, StoredRows]
    schemas: tuple[MetricSchema, ...]
    odd: OddThings


def read_snapshot(server: Server, collector: str | None) -> StoreSnapshot:
    """Read it all; raises Unreachable. Tables are locked before the moment is chosen, so that none loses a partition since."""
    with open_or_explain(server, name="audit", statement_timeout_s=STATEMENT_TIMEOUT_S) as connection:
        try:
            deadline = time.monotonic() + TABLES_S
            while (found := _attempt(connection, collector)) is None and time.monotonic() < deadline:
                time.sleep(PAUSE_S)
        except psycopg.OperationalError as error:
            raise Unreachable(f"store {server.host}:{server.port}: {first_line(error)}: try again") from error
    if found is None:
        raise Unreachable(f"store {server.host}:{server.port}: new metrics keep coming: try again")
    return found


def _attempt(connection: StoreConnection, collector: str | None) -> StoreSnapshot | None:
    """None when a table was made between the locks and the snapshot."""
    metrics = sorted(read_schemas(connection))
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        if metrics:
            tables = ", ".join(f"metrics.{quoted(metric)}" for metric in metrics)
            connection.execute(f"lock table {tables} in access share mode".encode())
        schemas = read_schemas(connection)
        if sorted(schemas) != metrics:
            return None
        return StoreSnapshot(
            ledger=_ledger(connection, collector),
            positions=_positions(connection),
            rows=_rows(connection, metrics, collector),
            odd=read_odd_things(connection, collector),
            schemas=tuple(schema for accepted in schemas.values() for schema in accepted),
        )


def _ledger(connection: StoreConnection, collector: str | None) -> dict[Stream, LedgerRow]:
    rows = connection.execute(statement("ledger_read"), [collector]).fetchall()
    return {
        Stream(name, epoch, Lane(lane)): LedgerRow(emitted, *map(from_multirange, sets))
        for name, epoch, lane, *sets, emitted in rows
    }


def _positions(connection: StoreConnection) -> dict[Partition, int]:
    rows = connection.execute("select topic, partition, next_offset from pganalytics.positions").fetchall()
    return {(topic, number): offset for topic, number, offset in rows}


def _rows(connection: StoreConnection, metrics: list[str], collector: str | None) -> dict[Stream, StoredRows]:
    """An identity is one record, whatever its metric: the tables are counted together."""
    dropped = {
        Stream(name, epoch, Lane(lane)): rows
        for name, epoch, lane, rows in connection.execute(statement("rows_dropped_read"), [collector]).fetchall()
    }
    found = {stream: StoredRows(dropped=rows) for stream, rows in dropped.items()}
    if not metrics:
        return found
    selects = (
        f"select collector, epoch, lane, seq from metrics.{quoted(metric)} where $1::text is null or collector = $1::text"  # noqa: S608
        for metric in metrics
    )
    text = f"""
        select collector, epoch, lane, sum(n)::bigint, range_agg(int8range(seq, seq + 1))::text,
            coalesce(range_agg(int8range(seq, seq + 1)) filter (where n > 1), '{{}}')::text
        from (select collector, epoch, lane, seq, count(*) as n from ({" union all ".join(selects)}) r group by 1, 2, 3, 4) s
        group by 1, 2, 3
    """  # noqa: S608
    for name, epoch, lane, count, seqs, twice in connection.execute(text.encode(), [collector]).fetchall():
        stream = Stream(name, epoch, Lane(lane))
        found[stream] = StoredRows(count, from_multirange(seqs), from_multirange(twice), dropped.get(stream, 0))
    return found
