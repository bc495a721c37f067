"""The table and the views of a metric, worked out from its record schemas. Pure: text out, nothing run.

A table grows and never changes: a later schema adds columns, which are NULL in the rows of earlier ones (not known), as
a column that a later schema leaves out is NULL in its rows. An empty array is an elided column: zero in every row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pganalytics.schemas.metric import COMMON, Field, MetricSchema

TIMESTAMP = "timestamp_us"
MOST_NAME_BYTES = 63
TYPES = {"long": "bigint", "double": "double precision", "string": "text", "boolean": "boolean"}
ZEROS = {"long": "0", "double": "0", "string": "''", "boolean": "false"}
COMMON_TYPES = {
    "collector": 'text collate "C"',
    "lane": 'text collate "C"',
    "collected_at": "timestamptz",
    "since": "timestamptz",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a schema cannot share the table of its metric."""

    detail: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a metric's table beside the common ones, in the order in which they were met."""

    metric: str
    fields: tuple[Field, ...] = ()

    def extended(self, schema: MetricSchema) -> "Layout | Conflict":
        """This layout with the schema's new fields at the end, or the first field that contradicts it."""
        known = {field.name: field for field in self.fields}
        for field in schema.fields:
            if field.name in known and _shape(known[field.name]) != _shape(field):
                return Conflict(
                    f"metric {schema.name}: field {field.name} is {_describe(field)} in schema {schema.id}, "
                    f"its column holds {_describe(known[field.name])}"
                )
        for group, columns in schema.groups.items():
            if group in self.groups() and columns[0].name != self.groups()[group][0].name:
                return Conflict(
                    f"metric {schema.name}: group {group} begins with {columns[0].name} in schema {schema.id}; "
                    f"its first column, which is always full, must stay {self.groups()[group][0].name}"
                )
        grown = Layout(self.metric, self.fields + tuple(field for field in schema.fields if field.name not in known))
        if too_long := [name for name in grown.view_names() if len(name) > MOST_NAME_BYTES]:
            return Conflict(f"metric {schema.name}: view name {too_long[0]} is longer than {MOST_NAME_BYTES} bytes")
        return grown

    def groups(self) -> dict[str, tuple[Field, ...]]:
        """Array columns by group."""
        groups: dict[str, tuple[Field, ...]] = {}
        for field in self.fields:
            if field.group is not None:
                groups[field.group] = (*groups.get(field.group, ()), field)
        return groups

    def view_names(self) -> tuple[str, ...]:
        """One view per group."""
        return tuple(f"{self.metric}_{group}" for group in self.groups())


def layout_of(metric: str, schemas: Iterable[MetricSchema]) -> Layout | Conflict:
    """The layout that these schemas, met in this order, make."""
    layout = Layout(metric)
    for schema in schemas:
        grown = layout.extended(schema)
        if isinstance(grown, Conflict):
            return grown
        layout = grown
    return layout


def column_type(field: Field) -> str:
    """The PostgreSQL type of a column."""
    element = "timestamptz" if field.unit == TIMESTAMP else TYPES[field.primitive]
    return f"{element}[]" if field.is_array else element


def create_table(layout: Layout, *, lz4: bool) -> list[str]:
    """Statements that make the empty table: partitioned by day, indexed by collector and time only."""
    columns = [f"{quoted(name)} {COMMON_TYPES.get(name, 'bigint')} not null" for name, _ in COMMON]
    columns += [_column(field, lz4=lz4) for field in layout.fields]
    table = f"metrics.{quoted(layout.metric)}"
    return [
        f"create table {table} ({', '.join(columns)}) partition by range (collected_at)",
        f"create index on {table} (collector, collected_at)",
    ]


def add_columns(metric: str, fields: Sequence[Field], *, lz4: bool) -> list[str]:
    """The statement that adds columns, if there are any to add."""
    if not fields:
        return []
    added = ", ".join(f"add column {_column(field, lz4=lz4)}" for field in fields)
    return [f"alter table metrics.{quoted(metric)} {added}"]


def create_views(layout: Layout) -> list[str]:
    """One view per group: a row per element, beside all that the record says once.

    Columns keep their place when the layout grows, so that `create or replace` works and views of users stay.
    """
    return [_view(layout, group, columns) for group, columns in layout.groups().items()]


def quoted(name: str) -> str:
    """An identifier. Names have been checked to be lower-case letters, digits and underscores; keywords are among them."""
    return f'"{name}"'


def _view(layout: Layout, group: str, columns: tuple[Field, ...]) -> str:
    """Each array is unpacked once per record (`offset 0` keeps the planner from doing it once per element), and only when
    a query asks for its column. `unnest` of all arrays at once is 10 to 30 times slower.
    """
    shown = [f"t.{quoted(name)}" for name, _ in COMMON]
    for field in layout.fields:
        if field.group is None:
            shown.append(f"t.{quoted(field.name)}")
        elif field.group == group:
            shown.append(_element(field))
    unpacked = ", ".join(f"t.{quoted(each.name)}[:] as {quoted(each.name)}" for each in columns)
    return (
        f"create or replace view metrics.{quoted(f'{layout.metric}_{group}')} as "  # noqa: S608
        f"select {', '.join(shown)} from metrics.{quoted(layout.metric)} t "
        f"cross join lateral (select {unpacked} offset 0) a "
        f"cross join lateral generate_series(1, cardinality(a.{quoted(columns[0].name)})) as n (n)"
    )


def _element(field: Field) -> str:
    name = quoted(field.name)
    zero = "timestamptz 'epoch'" if field.unit == TIMESTAMP else ZEROS[field.primitive]
    return f"case when cardinality(a.{name}) = 0 then {zero} else a.{name}[n.n] end as {name}"


def _column(field: Field, *, lz4: bool) -> str:
    compression = " compression lz4" if lz4 and field.is_array else ""
    return f"{quoted(field.name)} {column_type(field)}{compression}"


def _shape(field: Field) -> tuple[str, str | None, str | None]:
    return field.primitive, field.group, field.unit


def _describe(field: Field) -> str:
    kind = f"array of {field.primitive}, group {field.group}" if field.is_array else field.primitive
    return f"{kind}, unit {field.unit}" if field.unit else kind
