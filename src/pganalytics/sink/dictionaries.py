"""Dictionaries: of each key the newest row, in `metrics.<metric>_latest`. Derived from the metric's own rows, together with them.

A dictionary's records carry what is new only (`send` new); who asks for a text wants one row per key, whenever it was sent. Keys
that were not sent again are forgotten with the last record that had them.
"""

from collections.abc import Iterable, Sequence

from pganalytics.schemas.metric import Field, FieldRole, MetricSchema, Send
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.intake import Known
from pganalytics.sink.layout import column_type, quoted
from pganalytics.sink.records import KnownSchema, Row

AT = "collected_at = excluded.collected_at"


def is_dictionary(schema: MetricSchema) -> bool:
    """Whether it has a table of the newest rows."""
    return schema.send is Send.NEW


def create_latest(schema: MetricSchema, *, lz4: bool) -> list[str]:
    """Statements that make or extend the table; nothing when it is as wanted."""
    if not is_dictionary(schema):
        return []
    table, keys, others = _table(schema), *_fields(schema)
    columns = ['collector text collate "C" not null', *(f"{_column(field, lz4=False)} not null" for field in keys)]
    added = ", ".join(f"add column if not exists {_column(field, lz4=lz4)}" for field in others)
    return [
        f"create table if not exists {table} ({', '.join(columns)}, collected_at timestamptz not null, "
        f"primary key (collector, {_names(keys)}))",
        *([f"alter table {table} {added}"] if added else []),
    ]


def note_latest(connection: StoreConnection, rows: Sequence[Row], known: Known) -> None:
    """Take over what these records, which were just written, have that is newer. Keys are locked in order."""
    by_schema: dict[str, list[Row]] = {}
    for row in rows:
        by_schema.setdefault(row.schema, []).append(row)
    for identifier, written in by_schema.items():
        entry = known[identifier]
        if isinstance(entry, KnownSchema) and is_dictionary(entry.schema):
            connection.execute(_merge(entry.schema).encode(), _identities(written))


def forget_expired(connection: StoreConnection, schema: MetricSchema, before_day: int) -> int:
    """Drop keys that were sent last before a day (since 1970); how many."""
    if not is_dictionary(schema):
        return 0
    text = f"delete from {_table(schema)} where collected_at < timestamptz 'epoch' + $1::bigint * interval '1 day'"  # noqa: S608
    return connection.execute(text.encode(), [before_day]).rowcount


def _merge(schema: MetricSchema) -> str:
    keys, others = _fields(schema)
    names = f"collector, {_names((*keys, *others))}, collected_at"
    updates = ", ".join([f"{quoted(field.name)} = excluded.{quoted(field.name)}" for field in others] + [AT])
    return f"""
        insert into {_table(schema)} as l ({names})
        select distinct on (collector, {_names(keys)}) {names}
        from metrics.{quoted(f"{schema.name}_rows")}
        where (collector, epoch, lane, seq) in (select * from unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]))
            and collector = any ($1::text[])
            and collected_at >= to_timestamp($5::bigint * 86400) and collected_at < to_timestamp($6::bigint * 86400)
        order by collector, {_names(keys)}, collected_at desc
        on conflict (collector, {_names(keys)}) do update set {updates}
            where l.collected_at <= excluded.collected_at
    """  # noqa: S608


def _identities(rows: Sequence[Row]) -> list[list[str] | list[int] | int]:
    return [
        [row.identity.collector for row in rows],
        [row.identity.epoch for row in rows],
        [row.identity.lane.value for row in rows],
        [row.identity.seq for row in rows],
        min(row.day for row in rows),
        max(row.day for row in rows) + 1,
    ]


def _table(schema: MetricSchema) -> str:
    return f"metrics.{quoted(f'{schema.name}_latest')}"


def _fields(schema: MetricSchema) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    columns = schema.groups["rows"]
    keys = tuple(field for field in columns if field.role is FieldRole.KEY)
    return keys, tuple(field for field in columns if field.role is not FieldRole.KEY)


def _names(fields: Iterable[Field]) -> str:
    return ", ".join(quoted(field.name) for field in fields)


def _column(field: Field, *, lz4: bool) -> str:
    kind = column_type(field).removesuffix("[]")
    collation = ' collate "C"' if kind == "text" and field.role is FieldRole.KEY else ""
    compression = " compression lz4" if lz4 and kind == "text" else ""
    return f"{quoted(field.name)} {kind}{collation}{compression}"
