"""One reading of one metric as values: what the target said, column by column. Pure; no connection here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pganalytics.schemas.codec import nothing_of
from pganalytics.schemas.metric import Field, FieldRole, MetricSchema

UNREADABLE = -(2**63)
"""Stands for a counter that could not be read (NULL): the baseline keeps its last value."""
CONTEXT = frozenset("server_time system_identifier postmaster_start lineage crash".split())
"""Columns of a context query that are no fields of the record."""
BEGAN = ("stats_since", "stats_reset")
"""Columns that say since when a row counts; the first is no field of any record."""
DOUBTFUL = frozenset({"database"})
"""Metrics whose `stats_reset` also moves when a part is reset and the counters stay (pg_stat_reset_single_table_counters): to
believe it would count everything once more. A counter that goes back shows the other resets."""

Longs = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Key = tuple[Any, ...]
Columns = dict[str, Sequence[Any]]


class ReadingError(ValueError):
    """The target's answer does not fit the metric's schema: a mistake of a query, named by metric and column."""


@dataclass(frozen=True, slots=True)
class Context:
    """About the server at one reading. Times are microseconds of the server's clock, but `collected_at_us` is the agent's.

    `lineage_us`: since when the statistics of this metric exist; `crash_us`: when a crash discarded the server's. None: unknown.
    `scalars`: further fields of the record, as read; `counters` names those of them that count.
    """

    collected_at_us: int
    server_time_us: int
    system_identifier: str
    postmaster_start_us: int
    lineage_us: int | None
    crash_us: int | None
    scalars: Mapping[str, Any]

    def same_statistics(self, other: "Context") -> bool:
        """Whether nothing was reset between the two."""
        mine = (self.system_identifier, self.postmaster_start_us, self.lineage_us, self.crash_us)
        return mine == (other.system_identifier, other.postmaster_start_us, other.lineage_us, other.crash_us)


@dataclass(frozen=True, slots=True)
class Layout:
    """A metric, and how the columns of its rows are used."""

    schema: MetricSchema
    keys: tuple[Field, ...]
    longs: tuple[Field, ...]
    doubles: tuple[Field, ...]
    others: tuple[Field, ...]

    @property
    def counters(self) -> list[str]:
        """Names of the counters, in the order of the matrices."""
        return [field.name for field in (*self.longs, *self.doubles)]


@dataclass(frozen=True, slots=True)
class Reading:
    """All rows of a metric. Counters are matrices of one row per key, in the order of the layout.

    `began_us`: since when each row counts, UNREADABLE where unknown. `others`: gauges and labels by name.
    """

    context: Context
    keys: list[Key]
    longs: Longs
    doubles: Doubles
    began_us: Longs
    others: Mapping[str, Sequence[Any]]


def layout_of(schema: MetricSchema) -> Layout:
    """The uses of the group `rows`."""
    columns = schema.groups.get("rows", ())
    counters = [field for field in columns if field.role is FieldRole.COUNTER]
    return Layout(
        schema=schema,
        keys=tuple(field for field in columns if field.role is FieldRole.KEY),
        longs=tuple(field for field in counters if field.primitive == "long"),
        doubles=tuple(field for field in counters if field.primitive == "double"),
        others=tuple(field for field in columns if field.role in (FieldRole.GAUGE, FieldRole.LABEL)),
    )


def read_context(schema: MetricSchema, names: Sequence[str], row: Sequence[Any], collected_at_us: int) -> Context:
    """The row of a context query."""
    got = dict(zip(names, row, strict=True))
    scalars = schema.scalar_names
    if unknown := got.keys() - CONTEXT - scalars:
        raise ReadingError(f"metric {schema.name}: the context has no field {', '.join(sorted(unknown))}")
    return Context(
        collected_at_us=collected_at_us,
        server_time_us=got["server_time"],
        system_identifier=got["system_identifier"],
        postmaster_start_us=got["postmaster_start"],
        lineage_us=got["lineage"],
        crash_us=got["crash"],
        scalars={name: value for name, value in got.items() if name in scalars},
    )


def read_rows(layout: Layout, context: Context, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Reading:
    """Rows as a driver returns them, turned into columns; fields that the server does not have are zero, or NULL where they
    may be."""
    schema = layout.schema
    if unknown := set(names).difference(schema.row_names, BEGAN):
        raise ReadingError(f"metric {schema.name}: no field {', '.join(sorted(unknown))}")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    count = len(rows)
    keys = list(zip(*(_cells(field, columns, count) for field in layout.keys), strict=True))
    if len(set(keys)) != count:
        raise ReadingError(f"metric {schema.name}: two rows have one key")
    marks = BEGAN[:1] if schema.name in DOUBTFUL else BEGAN
    began = next((columns[name] for name in marks if name in columns), None)
    return Reading(
        context=context,
        keys=keys,
        longs=_longs([_counter(field, columns, count) for field in layout.longs], count),
        doubles=np.array([_double(columns.get(field.name), count) for field in layout.doubles], dtype=np.float64)
        .reshape(len(layout.doubles), count)
        .T,
        began_us=_longs([_absent(began) if began is not None else [UNREADABLE] * count], count)[:, 0],
        others={field.name: _cells(field, columns, count) for field in layout.others},
    )


def read_columns(metric: str, fields: Sequence[Field], names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Columns:
    """Rows of a group without counters as columns, in the order of the schema."""
    if unknown := set(names) - {field.name for field in fields}:
        raise ReadingError(f"metric {metric}: no field {', '.join(sorted(unknown))}")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    return {field.name: _cells(field, columns, len(rows)) for field in fields}


def _cells(field: Field, columns: Mapping[str, Sequence[Any]], count: int) -> Sequence[Any]:
    column = columns.get(field.name)
    if column is None:
        return [nothing_of(field)] * count
    if None in column:
        nothing = nothing_of(field)
        return [nothing if cell is None else cell for cell in column]
    return column


def _counter(field: Field, columns: Mapping[str, Sequence[Any]], count: int) -> Sequence[Any]:
    column = columns.get(field.name)
    if column is None:
        return [0 if field.null is None else UNREADABLE] * count
    return _absent(column)


def _absent(column: Sequence[Any]) -> Sequence[Any]:
    return [UNREADABLE if cell is None else cell for cell in column] if None in column else column


def _longs(columns: list[Sequence[Any]], count: int) -> Longs:
    return np.ascontiguousarray(np.array(columns, dtype=np.int64).reshape(len(columns), count).T)


def _double(column: Sequence[Any] | None, count: int) -> Sequence[float]:
    return [math.nan if cell is None else cell for cell in column] if column is not None else [0.0] * count
