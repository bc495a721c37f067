"""A snapshot in parts says the same as one record: every row once, every counter once."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contract.strategies import records
from pganalytics.producers.parts import encode_parts
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import FieldRole, builtin_schemas

SCHEMAS = builtin_schemas()
WHO = Identity("a", 1, Lane.NORMAL, 1)


def decoded(codec: RecordCodec, values: dict[str, Any], limit_bytes: int) -> list[tuple[dict[str, Any], int, int]]:
    """(record, rows as told, size) of each part."""
    parts = encode_parts(codec, values, limit_bytes=limit_bytes)
    return [(codec.decode(codec.assemble(WHO, part.rest)), part.rows, len(part.rest)) for part in parts]


@settings(max_examples=60)
@given(st.data(), st.sampled_from(["activity", "statements", "query_text", "database"]), st.sampled_from([60, 200, 100_000]))
def test_rows_and_counters_of_all_parts_are_those_of_the_snapshot(data: st.DataObject, metric: str, limit: int) -> None:
    schema, codec = SCHEMAS[metric], RecordCodec(SCHEMAS[metric])
    values = data.draw(records(schema)) | {"part": 1, "parts": 1}
    parts = decoded(codec, values, limit)
    assert [record["part"] for record, _, _ in parts] == list(range(1, len(parts) + 1))
    assert {record["parts"] for record, _, _ in parts} == {len(parts)}
    whole = codec.decode(codec.assemble(WHO, codec.encode_rest(values)))
    for group, columns in schema.groups.items():
        wanted = fill(columns, whole)
        got = [fill(columns, record) for record, _, _ in parts]
        for column in columns:
            assert repr([cell for part in got for cell in part[column.name]]) == repr(wanted[column.name]), (group, column.name)
    for field in schema.scalars:
        cells = [record[field.name] for record, _, _ in parts]
        if field.role is FieldRole.COUNTER:
            assert repr(cells) == repr([whole[field.name]] + [0] * (len(parts) - 1))
        else:
            assert repr(cells) == repr([whole[field.name]] * len(parts))
    assert sum(rows for _, rows, _ in parts) == schema.row_count(whole)
    assert all(size <= limit or rows == 1 for _, rows, size in parts) or len(parts) == 1


def test_what_fits_is_one_record_and_a_single_large_row_is_not_split() -> None:
    codec = RecordCodec(SCHEMAS["query_text"])
    values = {
        "collected_at": 1,
        "since": 1,
        "part": 1,
        "parts": 1,
        "queryid": [1, 2],
        "query": ["a" * 500, "b"],
        "length": [500, 1],
    }
    assert [(rows, record["parts"]) for record, rows, _ in decoded(codec, values, 1000)] == [(2, 1)]
    parts = decoded(codec, values, 400)
    assert [(record["queryid"], record["part"], record["parts"]) for record, _, _ in parts] == [([1], 1, 2), ([2], 2, 2)]
