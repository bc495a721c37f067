"""The spool's SQL about records and baselines. Called inside its transactions."""

import sqlite3
from collections.abc import Collection, Container, Iterable
from typing import Any

from pganalytics.producers import epochs
from pganalytics.producers.baselines import Movement
from pganalytics.producers.compression import decompress
from pganalytics.producers.records import Record, Unsent, facts_from_text, facts_to_text
from pganalytics.schemas.headers import Headers, HeartbeatFacts
from pganalytics.schemas.identity import Identity, Lane

COLUMNS = "collector, epoch, lane, seq, metric, schema, rows, size, collected_at, head, rest, facts, error"
OVERHEAD_BYTES = 200
"""What a record takes beside its body: columns and index entries."""


def insert(
    db: sqlite3.Connection, identity: Identity, record: Record, head: bytes, rest: bytes, facts: HeartbeatFacts | None
) -> int:
    """Keep a record and its schema; the bytes that it takes. `head`: the body's beginning; `rest`: the compressed remainder."""
    schema = record.schema
    db.execute("insert or ignore into schemas values (?, ?)", (schema.id, schema.text))
    who = (identity.collector, identity.epoch, identity.lane.value, identity.seq, schema.name, schema.id)
    body = (record.rows, len(head) + len(record.rest), record.collected_at_us, head, rest)
    db.execute(
        f"insert into records ({COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, null)",  # noqa: S608  (a constant)
        (*who, *body, facts_to_text(facts) if facts else None),
    )
    return len(head) + len(rest) + OVERHEAD_BYTES


def note_usage(db: sqlite3.Connection, records: int, size: int) -> None:
    """So many more records, of so many bytes."""
    db.execute("update usage set records = records + ?, bytes = bytes + ?", (records, size))


def move_baseline(db: sqlite3.Connection, movement: Movement) -> None:
    """Append to a baseline's log; a full entry replaces it."""
    key = (movement.collector, movement.metric, movement.database)
    if movement.full:
        db.execute("delete from baselines where collector = ? and metric = ? and database = ?", key)
    db.execute(
        "insert into baselines select ?1, ?2, ?3, coalesce(max(number), 0) + 1, ?4 from baselines "
        "where collector = ?1 and metric = ?2 and database = ?3",
        (*key, movement.body),
    )


def unsent(db: sqlite3.Connection, lane: Lane, limit: int, exclude: Container[object], schemas: Collection[str]) -> list[Unsent]:
    """The oldest records of a lane that are not excluded and whose schema is among these."""
    marks = ",".join("?" * len(schemas))
    ids: list[int] = []
    rows = db.execute(
        f"select id from records where lane = ? and schema in ({marks}) order by id",  # noqa: S608
        (lane.value, *schemas),
    )
    for (record,) in rows:
        if len(ids) >= limit:
            break
        if record not in exclude:
            ids.append(record)
    marks = ",".join("?" * len(ids))
    found = db.execute(f"select id, {COLUMNS} from records where id in ({marks}) order by id", ids)  # noqa: S608
    return [_ready(*row) for row in found]


def _ready(record: int, *columns: Any) -> Unsent:
    collector, epoch, lane, seq, metric, schema, rows, size, collected_at, head, rest, facts, error = columns
    headers = Headers(
        identity=Identity(collector, epoch, Lane(lane), seq),
        metric=metric,
        rows=rows,
        size=size,
        collected_at_us=collected_at,
        schema=schema,
        heartbeat=facts_from_text(facts) if facts else None,
        error=error,
    )
    return Unsent(record, headers, None if error else head + decompress(rest))


def shorten(db: sqlite3.Connection, record: int, error: str) -> None:
    """Make a stub of a record: its body goes, its identity stays."""
    (size,) = db.execute("select length(head) + length(rest) from records where id = ?", (record,)).fetchone()
    db.execute("update records set head = x'', rest = x'', error = ? where id = ?", (error, record))
    note_usage(db, 0, -size)


def acknowledge(db: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete records, and the epochs that a heartbeat among them called final."""
    records = freed = 0
    for record in ids:
        row: Any = db.execute(
            "delete from records where id = ? returning collector, facts, length(head) + length(rest)", (record,)
        ).fetchone()
        if row is None:
            continue
        collector, facts, size = row
        records, freed = records + 1, freed + size + OVERHEAD_BYTES
        if facts:
            epochs.forget(db, collector, facts_from_text(facts).final)
    note_usage(db, -records, -freed)
