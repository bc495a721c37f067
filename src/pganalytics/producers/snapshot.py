"""From a difference to the fields of a record. Pure.

What the agent itself says in a record, beside what the target said, are the fields named in `_computed`; a schema that has them
gets them, whatever metric it is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pganalytics.producers.diff import Baseline, Difference, reason_of
from pganalytics.producers.ranking import Ranking, rank
from pganalytics.producers.reading import UNREADABLE, Layout, Reading
from pganalytics.producers.scalars import scalar_deltas
from pganalytics.schemas.codec import elide, nothing_of
from pganalytics.schemas.identity import MAX_LONG
from pganalytics.schemas.metric import FieldRole, Send

COVERAGE_WANTED = 0.95


def snapshot_values(
    layout: Layout, baseline: Baseline, reading: Reading, difference: Difference, *, limit: int | None
) -> dict[str, Any]:
    """All fields after the identity, as `RecordCodec.encode_rest` wants them."""
    schema = layout.schema
    ranking = rank(layout, reading, difference, limit) if limit is not None else None
    if ranking is not None:
        rows = ranking.detail
    elif schema.send is Send.CHANGED:
        rows = difference.changed.tolist()
    else:
        rows = list(range(len(reading.keys)))
    columns = _columns(layout, reading, difference, rows)
    if ranking is not None and ranking.rest:
        _add_remainder(layout, columns, difference, ranking.rest)
    values: dict[str, Any] = {
        "collected_at": reading.context.collected_at_us,
        "since": difference.since_us,
        "part": 1,
        "parts": 1,
    }
    values |= _scalars(layout, baseline, reading, difference, ranking)
    values |= elide(schema.groups["rows"], columns)
    return values


def label_of_reset(layout: Layout, difference: Difference) -> str:
    """Why counters began anew. Single rows are named only where they carry their own mark of it: entries of a bounded table come
    and go all the time."""
    if difference.whole:
        return difference.reason
    marked = any(field.name == "stats_reset" for field in layout.others)
    return "stats_reset" if marked and difference.rows_began else ""


def _columns(layout: Layout, reading: Reading, difference: Difference, rows: list[int]) -> dict[str, list[Any]]:
    taken = np.array(rows, dtype=np.int64)
    columns: dict[str, list[Any]] = {}
    keys = list(zip(*(reading.keys[row] for row in rows), strict=True)) or [()] * len(layout.keys)
    columns |= {field.name: list(cells) for field, cells in zip(layout.keys, keys, strict=True)}
    for field in layout.others:
        cells = reading.others[field.name]
        columns[field.name] = [cells[row] for row in rows]
    longs = difference.longs[taken]
    unread = reading.longs[taken] == UNREADABLE
    if unread.any():
        may_be = [field.null is not None for field in layout.longs]
        longs = np.where(unread & may_be, UNREADABLE, longs)
    columns |= zip((field.name for field in layout.longs), longs.T.tolist(), strict=True)
    columns |= zip((field.name for field in layout.doubles), difference.doubles[taken].T.tolist(), strict=True)
    return columns


def _add_remainder(layout: Layout, columns: dict[str, list[Any]], difference: Difference, rest: list[int]) -> None:
    """One row that sums the rest, so that totals are exact. Python's integers: int64 could overflow."""
    longs, doubles = difference.longs[rest].tolist(), difference.doubles[rest].tolist()
    for field, cells in zip(layout.longs, zip(*longs, strict=True), strict=True):
        columns[field.name].append(min(sum(cells), MAX_LONG))
    for field, sums in zip(layout.doubles, zip(*doubles, strict=True), strict=True):
        columns[field.name].append(sum(sums))
    for field in layout.keys:
        columns[field.name].append(True if field.primitive == "boolean" else nothing_of(field))
    for field in layout.others:
        columns[field.name].append(nothing_of(field))


def _scalars(
    layout: Layout, baseline: Baseline, reading: Reading, difference: Difference, ranking: Ranking | None
) -> Mapping[str, Any]:
    computed = _computed(layout, reading, difference, ranking)
    counters = [field.name for field in layout.schema.scalars if field.role is FieldRole.COUNTER]
    deltas = scalar_deltas(counters, baseline.context, reading.context, whole=difference.whole)
    if deltas.began and not computed["reset"]:
        computed["reset"] = reason_of(baseline.context, reading.context)
    values = {}
    for field in layout.schema.scalars:
        if field.name in computed:
            values[field.name] = computed[field.name]
            continue
        value = reading.context.scalars.get(field.name)
        if field.role is FieldRole.COUNTER:
            value = deltas.values[field.name]
        values[field.name] = nothing_of(field) if value is None else value
    return values


def _computed(layout: Layout, reading: Reading, difference: Difference, ranking: Ranking | None) -> dict[str, Any]:
    computed: dict[str, Any] = {"reset": label_of_reset(layout, difference)}
    if ranking is not None:
        computed |= {
            "entries": len(reading.keys),
            "changed": len(difference.changed),
            "sent": len(ranking.detail),
            "coverage_rows": ranking.coverage_rows,
            "coverage_time": ranking.coverage_rank,
        }
    return computed
