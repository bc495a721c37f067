"""The metrics' tables in the store: made and extended when a schema is met, each in a short transaction of its own."""

from dataclasses import dataclass, field

import psycopg

from pganalytics.schemas.metric import MetricSchema, load_schema
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.dictionaries import create_latest
from pganalytics.sink.layout import Conflict, Layout, add_columns, create_table, create_views, layout_of
from pganalytics.sink.migrations import TABLES_LOCK, lock
from pganalytics.sink.outages import Meaning, first_line, meaning
from pganalytics.sink.partitions import make_day, read_days

_SCHEMA_CLASSES = frozenset({"42", "54"})
"""What a CREATE or ALTER meets when the schema is at fault: a name that is taken, a limit."""


@dataclass(slots=True)
class Tables:
    """What this connection's store is known to have. A new connection starts anew: the store may have been restored."""

    connection: StoreConnection
    _ready: set[str] = field(default_factory=set)
    _days: dict[str, set[int]] = field(default_factory=dict)

    def ensure(self, schema: MetricSchema) -> Conflict | None:
        """Make the table fit for a schema's records; a Conflict when it cannot be."""
        if schema.id in self._ready:
            return None
        try:
            with self.connection.transaction():
                conflict = _ensure(self.connection, schema)
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] not in _SCHEMA_CLASSES or meaning(error.sqlstate) is Meaning.WAIT:
                raise
            conflict = Conflict(f"metric {schema.name}: its table cannot be made: {first_line(error)}")
        if conflict is None:
            self._ready.add(schema.id)
        return conflict

    def forget(self) -> None:
        """Look again before the next write."""
        self._ready.clear()
        self._days.clear()

    def ensure_day(self, metric: str, day: int) -> None:
        """Make the partition of a day that has none."""
        if metric not in self._days:
            self._days[metric] = read_days(self.connection, metric)
        if day not in self._days[metric]:
            make_day(self.connection, metric, day)
            self._days[metric].add(day)


def read_schemas(connection: StoreConnection) -> dict[str, list[MetricSchema]]:
    """The schemas that the tables are made from, by metric, in the order in which they were met."""
    rows = connection.execute("select metric, text from pganalytics.schemas order by metric, number").fetchall()
    found: dict[str, list[MetricSchema]] = {}
    for metric, text in rows:
        found.setdefault(metric, []).append(load_schema(text))
    return found


def has_lz4(connection: StoreConnection) -> bool:
    """Whether the server was built with lz4. pglz would make arrays slower than plain rows."""
    found = connection.execute(
        "select 'lz4' = any (enumvals) from pg_catalog.pg_settings where name = 'default_toast_compression'"
    ).fetchone()
    return found == (True,)


def _ensure(connection: StoreConnection, schema: MetricSchema) -> Conflict | None:
    lock(connection, TABLES_LOCK)
    accepted = read_schemas(connection).get(schema.name, [])
    if schema.id in {known.id for known in accepted}:
        return None
    before = layout_of(schema.name, accepted)
    if isinstance(before, Conflict):
        return before
    after = before.extended(schema)
    if isinstance(after, Conflict):
        return after
    _build(connection, before, after, schema, exists=bool(accepted))
    connection.execute(
        "insert into pganalytics.schemas (id, metric, number, text) values ($1, $2, $3, $4)",
        [schema.id, schema.name, len(accepted) + 1, schema.text],
    )
    return None


def _build(connection: StoreConnection, before: Layout, after: Layout, schema: MetricSchema, *, exists: bool) -> None:
    lz4 = has_lz4(connection)
    added = after.fields[len(before.fields) :]
    steps = add_columns(after.metric, added, lz4=lz4) if exists else create_table(after, lz4=lz4)
    for step in [*steps, *create_views(after), *create_latest(schema, lz4=lz4)]:
        connection.execute(step.encode())
