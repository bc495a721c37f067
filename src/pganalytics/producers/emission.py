"""From an answer to what a record says and what the spool remembers with it: one function per kind of metric. Pure.

Metrics with counters are compared with the reading before (`diff`, `snapshot`); gauges are sent as they are; of a dictionary
only what is new or has changed is sent.

`said`: fields of a record that the agent knows by itself, for example the name of the database that was asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pganalytics.producers.answers import Answer
from pganalytics.producers.baselines import Kept, advance
from pganalytics.producers.changes import CHANGE, Row, Tracked, as_columns, changes
from pganalytics.producers.contents import (
    Cells,
    Contents,
    Delta,
    advance_contents,
    compare_contents,
    is_the_same,
    whole_of,
)
from pganalytics.producers.diff import Baseline, compare
from pganalytics.producers.reading import (
    Columns,
    Context,
    Key,
    Layout,
    Reading,
    ReadingError,
    read_columns,
    read_context,
    read_rows,
)
from pganalytics.producers.redaction import Redaction, redact, redact_setting
from pganalytics.producers.snapshot import snapshot_values
from pganalytics.producers.tables import Table
from pganalytics.schemas.codec import elide, nothing_of
from pganalytics.schemas.metric import GONE, Field, MetricSchema, Send, builtin_schemas

ROWS = "rows"
LOCKED = "skipped_locked"
"""Column of a row that could not be read whole: somebody holds an exclusive lock on it."""
SENT_AT = ("sent_at",)
"""The one number that a dictionary keeps of each key: when it was sent last, in microseconds."""


@dataclass(frozen=True, slots=True)
class Emission:
    """`values`: fields after the identity; None when there is nothing to say. `entry`: (whether it is full, bytes) for the log of
    the baseline, and `after` the state once that is committed; None when the spool keeps nothing."""

    values: Mapping[str, Any] | None
    entry: tuple[bool, bytes] | None = None
    after: Kept | Contents | None = None
    changes: Sequence[Row] = ()


Said = Mapping[str, Any]


def emit_counters(
    layout: Layout, kept: Kept | None, reading: Reading, answer: Answer, said: Said, *, limit: int | None
) -> Emission:
    """What moved since the baseline; the first reading is only a baseline. Groups beside the rows hold gauges."""
    before = kept.baseline if kept is not None else None
    difference, baseline = compare(before, reading)
    values = None
    if difference is not None and before is not None:
        values = snapshot_values(layout, before, reading, difference, limit=limit) | _own(layout.schema, said)
        for name, fields in layout.schema.groups.items():
            if name != ROWS:
                values |= elide(fields, read_columns(layout.schema.name, fields, *_cells(answer, name)))
    full, body, after = advance(kept if difference is not None else None, baseline, layout.counters)
    return Emission(values, (full, body), after)


def emit_gauges(schema: MetricSchema, answer: Answer, said: Said, *, had_rows: bool, redaction: Redaction) -> Emission:
    """All that was read. Of a metric that is sent when there are any rows: nothing, when there are none and were none before."""
    groups = {name: read_columns(schema.name, fields, *_cells(answer, name)) for name, fields in schema.groups.items()}
    if schema.send is Send.ANY and not had_rows and not len(answer.groups[ROWS].rows):
        return Emission(None)
    values = _common(answer) | _scalars(schema, answer.before) | _own(schema, said)
    for name, columns in groups.items():
        values |= elide(schema.groups[name], _redacted(schema.groups[name], columns, redaction))
    return Emission(values)


def emit_new(layout: Layout, kept: Kept | None, answer: Answer, said: Said, redaction: Redaction) -> Emission:
    """Rows whose key was not sent for the dictionary's `resend_s`. Keys that were sent longer ago are forgotten."""
    schema = layout.schema
    columns = read_columns(schema.name, schema.groups[ROWS], *_cells(answer, ROWS))
    fresh = fresh_keys(schema, kept, answer.asked_us)
    keys = list(zip(*(columns[field.name] for field in layout.keys), strict=True))
    rows = [row for row, key in enumerate(keys) if key not in fresh]
    _check_keys(schema, keys)
    if not rows:
        return Emission(None)
    new: Columns = {name: [cells[row] for row in rows] for name, cells in columns.items()}
    values = _common(answer) | _scalars(schema, answer.before) | _own(schema, said)
    values |= elide(schema.groups[ROWS], _redacted(schema.groups[ROWS], new, redaction))
    sent = fresh | {keys[row]: answer.asked_us for row in rows}
    full, body, after = advance(kept, _remembered(answer.asked_us, sent), SENT_AT)
    return Emission(values, (full, body), after)


def emit_changed(
    layout: Layout,
    kept: Contents | None,
    answer: Answer,
    said: Said,
    redaction: Redaction,
    *,
    database: str,
    sent_before: Callable[[], Mapping[Key, Cells]],
) -> Emission:
    """Rows that differ from what was sent, or are gone; and of a tracked metric what changed.

    `sent_before` gives the rows as they were sent last; asked for when something of a tracked metric has changed. After a change
    of the redaction nobody can tell what changed: all is sent again.
    """
    schema = layout.schema
    kept = kept if kept is not None and kept.policy == redaction.value else None
    resend_us, whole = (schema.resend_s or 0) * 1_000_000, whole_of(*_cells(answer, ROWS))
    if kept is not None and is_the_same(kept, whole, answer.asked_us, resend_us):
        return Emission(None)
    fields = [field for field in schema.groups[ROWS] if field.name != GONE]
    columns = _redacted(fields, read_columns(schema.name, fields, *_cells(answer, ROWS)), redaction)
    others = content_columns(layout)
    keys = list(zip(*(columns[field.name] for field in layout.keys), strict=True))
    _check_keys(schema, keys)
    cells = zip(*(columns[field.name] for field in others), strict=True) if others else [()] * len(keys)
    rows = dict(zip(keys, cells, strict=True))
    unread = _unread(schema, columns, keys, kept)
    delta = compare_contents(kept, rows, answer.asked_us, resend_us, unread=unread)
    if not delta.send and not delta.gone and kept is not None:
        return Emission(None, after=replace(kept, whole=whole))
    names = [field.name for field in others]
    full, body, after = advance_contents(
        kept, rows, delta, columns=names, policy=redaction.value, now_us=answer.asked_us, unread=unread
    )
    values = _common(answer) | _scalars(schema, answer.before) | _own(schema, said)
    values |= elide(schema.groups[ROWS], _content_rows(layout, rows, delta))
    told: list[Row] = []
    if schema.tracked and kept is not None:
        told = changes(Tracked(schema.name, database, layout.keys, others), sent_before(), rows, delta)
    return Emission(values if delta.send or delta.gone else None, (full, body), replace(after, whole=whole), told)


def _unread(schema: MetricSchema, columns: Columns, keys: Sequence[Key], kept: Contents | None) -> frozenset[Key]:
    """Rows of a tracked metric that could not be read now because they are locked, and were sent before: nobody knows whether
    they have changed, so they stay what they were."""
    if not schema.tracked or kept is None or LOCKED not in columns:
        return frozenset()
    return frozenset(key for key, locked in zip(keys, columns[LOCKED], strict=True) if locked and key in kept.sent)


def content_columns(layout: Layout) -> list[Field]:
    """What is compared of a row that is sent when it changes: all but its key."""
    return [field for field in layout.others if field.name != GONE]


def _content_rows(layout: Layout, rows: Mapping[Key, Cells], delta: Delta) -> Columns:
    others = content_columns(layout)
    nothing = [nothing_of(field) for field in others]
    sent = [*((key, rows[key], False) for key in delta.send), *((key, nothing, True) for key in delta.gone)]
    columns: Columns = {field.name: [key[place] for key, _, _ in sent] for place, field in enumerate(layout.keys)}
    columns |= {field.name: [cells[place] for _, cells, _ in sent] for place, field in enumerate(others)}
    return columns | {GONE: [gone for _, _, gone in sent]}


def change_values(answer_us: int, rows: Sequence[Row]) -> dict[str, Any]:
    """The fields of a record of the metric `change`."""
    schema = builtin_schemas()[CHANGE]
    common = {"collected_at": answer_us, "since": answer_us, "part": 1, "parts": 1}
    return common | elide(schema.groups[ROWS], as_columns(rows))


def fresh_keys(schema: MetricSchema, kept: Kept | None, now_us: int) -> dict[Key, int]:
    """Keys that need not be sent again, and when they were sent; (a clock that was put back counts as expired)."""
    if kept is None:
        return {}
    sent_at = kept.baseline.longs[:, 0].tolist()
    most = (schema.resend_s or 0) * 1_000_000
    return {key: sent_at[row] for key, row in kept.baseline.index.items() if 0 <= now_us - sent_at[row] < most}


def reading_of(layout: Layout, answer: Answer) -> Reading | None:
    """None when the statistics were reset between the two contexts: nobody can say which side a row is of."""
    before, after = (_context(layout.schema, table, answer.asked_us) for table in (answer.before, answer.after))
    if not before.same_statistics(after):
        return None
    return read_rows(layout, before, answer.groups[ROWS].names, answer.groups[ROWS].rows)


def _context(schema: MetricSchema, table: Table | None, at_us: int) -> Context:
    if table is None or len(table.rows) != 1:
        raise ReadingError(f"metric {schema.name}: its query gives no context")
    return read_context(schema, table.names, table.rows[0], at_us)


def _cells(answer: Answer, group: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    table = answer.groups.get(group)
    if table is None:
        raise ReadingError(f"its query gives no group {group}")
    return table.names, table.rows


def _common(answer: Answer) -> dict[str, Any]:
    return {"collected_at": answer.asked_us, "since": answer.asked_us, "part": 1, "parts": 1}


def _scalars(schema: MetricSchema, context: Table | None) -> dict[str, Any]:
    got = dict(zip(context.names, context.rows[0], strict=True)) if context is not None and context.rows else {}
    if unknown := got.keys() - schema.scalar_names:
        raise ReadingError(f"metric {schema.name}: the context has no field {', '.join(sorted(unknown))}")
    nothing = {field.name: nothing_of(field) for field in schema.scalars}
    return nothing | {name: value for name, value in got.items() if value is not None}


def _own(schema: MetricSchema, said: Said) -> dict[str, Any]:
    return {field.name: said[field.name] for field in schema.scalars if field.name in said}


def _check_keys(schema: MetricSchema, keys: Sequence[Key]) -> None:
    if len(set(keys)) != len(keys):
        raise ReadingError(f"metric {schema.name}: two rows have one key")


def _redacted(fields: Sequence[Field], columns: Columns, redaction: Redaction) -> Columns:
    """Texts of SQL and values of settings as they may leave; the names of settings are in the column `name`."""
    names = columns.get("name", ())

    def passed(field: Field) -> list[str]:
        if field.redact == "setting":
            pairs = zip(names, columns[field.name], strict=True)
            return [text if text == field.null else redact_setting(name, text, redaction) for name, text in pairs]
        return [text if text == field.null else redact(text, redaction) for text in columns[field.name]]

    return columns | {field.name: passed(field) for field in fields if field.redact}


def _remembered(now_us: int, sent: Mapping[Key, int]) -> Baseline:
    return Baseline(
        context=Context(now_us, now_us, "", 0, None, None, {}),
        index={key: row for row, key in enumerate(sent)},
        longs=np.array(list(sent.values()), dtype=np.int64).reshape(len(sent), 1),
        doubles=np.zeros((len(sent), 0)),
        began_us=np.zeros(len(sent), dtype=np.int64),
    )
