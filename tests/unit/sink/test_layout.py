"""Tables and views follow from schemas; a table only grows."""

import json
from typing import Any

import pytest

from pganalytics.schemas.metric import Field, FieldRole, MetricSchema, builtin_schemas, load_schema
from pganalytics.sink.layout import Conflict, Layout, add_columns, column_type, create_table, create_views, layout_of

COMMON = builtin_schemas()["database"].avro["fields"][:8]


def column(name: str, kind: str = "long", *, array: bool = False, **attributes: Any) -> dict[str, Any]:
    whole: Any = {"type": "array", "items": kind} if array else kind
    return {"name": name, "type": whole, "role": "label", "doc": "d", **attributes}


def schema(*fields: dict[str, Any], name: str = "m") -> MetricSchema:
    base = {key: value for key, value in builtin_schemas()["database"].avro.items() if key != "fields"}
    return load_schema(json.dumps({**base, "name": name, "fields": [*COMMON, *fields]}))


def layout(*schemas: MetricSchema) -> Layout:
    made = layout_of("m", schemas)
    assert isinstance(made, Layout)
    return made


@pytest.mark.parametrize(
    ("primitive", "unit", "group", "expected"),
    [
        ("long", None, None, "bigint"),
        ("long", "timestamp_us", None, "timestamptz"),
        ("long", "ns", "rows", "bigint[]"),
        ("long", "timestamp_us", "rows", "timestamptz[]"),
        ("double", None, "rows", "double precision[]"),
        ("string", None, None, "text"),
        ("boolean", None, "rows", "boolean[]"),
    ],
)
def test_types(primitive: str, unit: str | None, group: str | None, expected: str) -> None:
    assert column_type(Field("f", primitive, group, FieldRole.LABEL, unit, None, "d")) == expected


def test_a_table_has_the_identity_and_is_partitioned_by_day() -> None:
    table, index = create_table(layout(schema(column("a"), column("b", array=True))), lz4=True)
    assert table.startswith('create table metrics."m" ("collector" text collate "C" not null, "epoch" bigint not null')
    assert '"a" bigint, "b" bigint[] compression lz4' in table
    assert table.endswith("partition by range (collected_at)")
    assert index == 'create index on metrics."m" (collector, collected_at)'


def test_without_lz4_nothing_is_said_of_compression() -> None:
    assert "compression" not in create_table(layout(schema(column("b", array=True))), lz4=False)[0]


def test_new_fields_come_last_in_the_table_and_in_the_views() -> None:
    """Else `create or replace view` would be refused, and views of users would stand in the way."""
    first = schema(column("a"), column("k", array=True))
    second = schema(column("new"), column("a"), column("k", array=True), column("l", array=True))
    before, after = layout(first), layout(first, second)
    assert [field.name for field in after.fields] == ["a", "k", "new", "l"]
    assert add_columns("m", after.fields[2:], lz4=False) == [
        'alter table metrics."m" add column "new" bigint, add column "l" bigint[]'
    ]
    (old,), (new,) = create_views(before), create_views(after)
    shown = [text.partition(" as select ")[2].partition(" from metrics.")[0] for text in (old, new)]
    assert shown[1].startswith(shown[0] + ", ")


def test_a_field_that_is_left_out_keeps_its_column() -> None:
    assert layout(schema(column("a"), column("b")), schema(column("b"))) == layout(schema(column("a"), column("b")))


@pytest.mark.parametrize(
    "changed",
    [
        column("a", "string"),
        column("a", array=True),
        column("a", unit="timestamp_us"),
    ],
)
def test_a_field_that_changes_is_refused_by_name(changed: dict[str, Any]) -> None:
    conflict = layout_of("m", [schema(column("a", unit="bytes")), schema(changed)])
    assert isinstance(conflict, Conflict)
    assert "metric m: field a" in conflict.detail


def test_a_field_that_changes_its_group_is_refused() -> None:
    conflict = layout_of("m", [schema(column("a", array=True)), schema(column("a", array=True, group="others"))])
    assert isinstance(conflict, Conflict)


def test_the_first_column_of_a_group_stays_the_first() -> None:
    """The views count the rows of a record by it: it alone is never elided."""
    a, b = column("a", array=True), column("b", array=True)
    conflict = layout_of("m", [schema(a, b), schema(b, a)])
    assert isinstance(conflict, Conflict)
    assert "must stay a" in conflict.detail


def test_a_view_name_that_postgresql_would_cut_is_refused() -> None:
    conflict = layout_of("m" * 40, [schema(column("a", array=True, group="g" * 30), name="m" * 40)])
    assert isinstance(conflict, Conflict)
    assert "longer than 63 bytes" in conflict.detail


def test_policy_and_docs_may_change() -> None:
    assert layout(schema(column("a")), schema({**column("a"), "doc": "other", "role": "key"})) == layout(schema(column("a")))


def test_one_view_per_group() -> None:
    made = layout(schema(column("a", array=True), column("b", array=True, group="others"), column("c")))
    assert made.view_names() == ("m_rows", "m_others")
    rows, others = create_views(made)
    assert '"b"' not in rows
    assert '"a"' not in others
    assert 't."c"' in rows
    assert 't."c"' in others
