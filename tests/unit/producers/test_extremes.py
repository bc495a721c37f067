"""Whatever a server may say goes through to the record as it is: NULLs, the ends of 64 bits, NaN and infinities, odd names."""

from collections.abc import Sequence
from typing import Any

import pytest

from contract.strategies import same
from pganalytics.producers.answers import Answer
from pganalytics.producers.catalogue import load_catalogue
from pganalytics.producers.emission import emit_changed, emit_counters, emit_gauges, emit_new, reading_of
from pganalytics.producers.reading import CONTEXT, layout_of
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.tables import Table
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.headers import HEARTBEAT
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import GONE, Field, FieldRole, MetricSchema, Send, builtin_schemas

SCHEMAS = [
    builtin_schemas()[name] for name in load_catalogue(builtin_schemas()).variants if name not in (HEARTBEAT, "metric_status")
]
WHO = Identity("a", 1, Lane.NORMAL, 1)
MOST = 2**63 - 1
COMPUTED = {"reset", "datname", GONE, "entries", "changed", "sent", "coverage_rows", "coverage_time"}
NAMES = [
    'a "quoted" name',
    "it's; -- \\ %s %(x)s $1 {}",
    "two\nlines\tand\r\n a tab",
    "\U0001f600" * 15,
    "\u00e9" * 31 + "x",
    "cut in the middle \ufffd",
    "\u202e=1+1",
    "<script>\x1b[31m",
]
VALUES: dict[str, list[Any]] = {
    "long": [MOST, 0, 1, MOST - 1, 2**53 + 1, 2**32, 2**31, 7],
    "double": [float("inf"), 0.0, 1e308, 5e-324, 0.1, float("inf"), 1e-300, 2.0**53],
    "string": NAMES,
    "boolean": [True, False] * 4,
}
SMALL: dict[str, Any] = {"long": [-MOST, -1], "double": [float("-inf"), -1e308]}
"""What gauges may be, and counters are never."""


def table(fields: Sequence[Field], rows: int, *, empty: bool = False, begin: bool = False) -> Table:
    """Rows that differ by their keys; `empty`: all that may be NULL is; `begin`: all counters are zero."""

    def cell(field: Field, row: int) -> Any:
        if field.role is FieldRole.KEY:
            return {"long": MOST - row, "boolean": bool(row % 2), "string": f"{NAMES[row]} {row}"}[field.primitive]
        if empty and field.null is not None:
            return None
        if field.role is FieldRole.COUNTER:
            return type(VALUES[field.primitive][0])(0) if begin else VALUES[field.primitive][row]
        choices = SMALL.get(field.primitive, []) + VALUES[field.primitive]
        return choices[row % len(choices)]

    columns = [field for field in fields if field.name not in COMPUTED or (field.name == "datname" and field.is_array)]
    return Table([field.name for field in columns], [tuple(cell(field, row) for field in columns) for row in range(rows)])


def context(schema: MetricSchema, *, empty: bool = False, begin: bool = False) -> Table:
    of_record = table(schema.scalars, 1, empty=empty, begin=begin)
    server = dict.fromkeys(sorted(CONTEXT), 5) | {"system_identifier": "7", "lineage": None, "crash": None}
    marks = {name: None for name in of_record.names if name.endswith("stats_reset")}
    row = dict(zip(of_record.names, of_record.rows[0], strict=True)) | (marks if schema.counts else {})
    row |= server if schema.counts else {}
    return Table(list(row), [tuple(row.values())])


def answer(schema: MetricSchema, *, empty: bool = False, begin: bool = False) -> Answer:
    said = context(schema, empty=empty, begin=begin)
    groups = {name: table(fields, len(NAMES), empty=empty, begin=begin) for name, fields in schema.groups.items()}
    return Answer(10, 20, said, groups, said)


def emitted(schema: MetricSchema, said: Answer) -> dict[str, Any]:
    """The record as a reader has it."""
    layout, own = layout_of(schema), {"datname": "d"}
    if schema.counts:
        begin = answer(schema, begin=True)
        first, second = reading_of(layout, begin), reading_of(layout, said)
        assert first is not None
        assert second is not None
        kept = emit_counters(layout, None, first, begin, own, limit=None).after
        emission = emit_counters(layout, kept, second, said, own, limit=None)  # type: ignore[arg-type]
    elif schema.send is Send.NEW:
        emission = emit_new(layout, None, said, own, Redaction.NONE)
    elif schema.send is Send.CHANGED:
        emission = emit_changed(layout, None, said, own, Redaction.NONE, database="d", sent_before=dict)
    else:
        emission = emit_gauges(schema, said, own, had_rows=True, redaction=Redaction.NONE)
    assert emission.values is not None
    codec = RecordCodec(schema)
    return codec.decode(codec.assemble(WHO, codec.encode_rest(emission.values)))


def sent_rows(schema: MetricSchema, group: str, record: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: list(cells) for name, cells in fill(schema.groups[group], record).items()}


def sent_as(field: Field, value: Any) -> Any:
    """NULL is what the schema says. An infinite counter has moved by nobody knows how much: a sum must not be spoilt by it."""
    if value is None:
        return field.null
    return 0.0 if field.role is FieldRole.COUNTER and value == float("inf") else value


@pytest.mark.parametrize("empty", [False, True], ids=["extremes", "nulls"])
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_what_is_read_is_what_is_sent(schema: MetricSchema, empty: bool) -> None:
    said = answer(schema, empty=empty)
    record = emitted(schema, said)
    for group, fields in schema.groups.items():
        given = said.groups[group]
        wanted = dict(zip(given.names, map(list, zip(*given.rows, strict=True)), strict=True))
        got = sent_rows(schema, group, record)
        keys = [field.name for field in fields if field.role is FieldRole.KEY]
        places = {key: row for row, key in enumerate(zip(*(wanted[name] for name in keys), strict=True))}
        order = [places[key] for key in zip(*(got[name] for name in keys), strict=True)] if keys else range(len(NAMES))
        if not (schema.counts and schema.send is Send.CHANGED):
            assert sorted(order) == list(range(len(NAMES)))
        for field in fields:
            if field.name in wanted:
                cells = [sent_as(field, wanted[field.name][row]) for row in order]
                assert same(got[field.name], cells), field.name
    row = dict(zip(said.before.names, said.before.rows[0], strict=True)) if said.before is not None else {}
    for field in schema.scalars:
        if field.name in row and field.name not in COMPUTED and not field.name.endswith("stats_reset"):
            assert same(record[field.name], sent_as(field, row[field.name])), field.name
