"""Packed rows are what PostgreSQL's own decoder reads: checked with psycopg's binary loaders."""

import json
import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import pq
from psycopg.adapt import Transformer

from contract.strategies import IDENTITIES, records, same
from pganalytics.schemas.identity import Identity
from pganalytics.schemas.metric import COMMON, Field, MetricSchema, builtin_schemas, load_schema
from pganalytics.sink.packing import LEAST_TIME_US, NotStorable, RowPacker

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OIDS = {"long": 20, "double": 701, "string": 25, "boolean": 16}
ARRAY_OIDS = {"long": 1016, "double": 1022, "string": 1009, "boolean": 1000}
HEARTBEAT = builtin_schemas()["heartbeat"]


def odd_schema() -> MetricSchema:
    """Every type, nullable and not, alone and in arrays."""
    fields = list(HEARTBEAT.avro["fields"][:8])
    nulls: dict[str, Any] = {"long": -(2**63), "double": "NaN", "string": "\0"}
    for primitive in OIDS:
        for array in (False, True):
            kind: Any = {"type": "array", "items": primitive} if array else primitive
            base = {"type": kind, "role": "label", "doc": "d"}
            fields.append({"name": f"{primitive}_{int(array)}", **base})
            if primitive in nulls:
                fields.append({"name": f"{primitive}_{int(array)}_null", **base, "null": nulls[primitive]})
    return load_schema(json.dumps({**HEARTBEAT.avro, "name": "odd", "fields": fields}))


SCHEMA = odd_schema()
PACKER = RowPacker(SCHEMA)
FIELDS = {field.name: field for field in SCHEMA.fields}


def unpack(row: bytes, packer: RowPacker) -> dict[str, bytes | None]:
    """The cells of one row of a binary COPY."""
    (count,) = struct.unpack_from(">h", row)
    at, cells = 2, []
    for _ in range(count):
        (size,) = struct.unpack_from(">i", row, at)
        at += 4
        cells.append(None if size < 0 else row[at : at + size])
        at += max(0, size)
    assert at == len(row)
    return dict(zip(packer.names, cells, strict=True))


def load(field: Field, cell: bytes | None) -> Any:
    if cell is None:
        return None
    oid = ARRAY_OIDS[field.primitive] if field.is_array else OIDS[field.primitive]
    transformer = Transformer()
    return transformer.get_loader(oid, pq.Format.BINARY).load(cell)


def expected(field: Field, value: Any) -> Any:
    if isinstance(value, list):
        return [expected(field, each) for each in value]
    if field.null is not None and (value == field.null or (field.primitive == "double" and math.isnan(value))):
        return None
    return value


def storable(value: Any, field: Field) -> bool:
    if isinstance(value, list):
        return all(storable(each, field) for each in value)
    return not isinstance(value, str) or "\0" not in value or value == field.null


@given(IDENTITIES, records(SCHEMA))
def test_every_value_arrives_as_it_is(identity: Identity, record: dict[str, Any]) -> None:
    whole = {"collector": identity.collector, "epoch": identity.epoch, "lane": identity.lane.value, "seq": identity.seq, **record}
    if record["collected_at"] < LEAST_TIME_US or record["since"] < LEAST_TIME_US:
        whole |= {"collected_at": 0, "since": 0}
    if not all(storable(record[name], field) for name, field in FIELDS.items()):
        with pytest.raises(NotStorable, match=r"field string_\d"):
            PACKER.pack(whole)
        return
    cells = unpack(PACKER.pack(whole), PACKER)
    for name, field in FIELDS.items():
        assert same(load(field, cells[name]), expected(field, whole[name])), name
    assert cells["collector"] == identity.collector.encode()
    assert struct.unpack(">q", cells["seq"] or b"") == (identity.seq,)


@pytest.mark.parametrize("at", [datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), EPOCH, datetime(1900, 1, 1, tzinfo=UTC)])
def test_times_are_microseconds_since_2000(at: datetime) -> None:
    us = (at - EPOCH) // timedelta(microseconds=1)
    cells = unpack(PACKER.pack(blank(collected_at=us)), PACKER)
    loader = Transformer().get_loader(psycopg.adapters.types["timestamptz"].oid, pq.Format.BINARY)
    assert loader.load(cells["collected_at"] or b"") == at


def blank(**values: Any) -> dict[str, Any]:
    zeros: dict[str, Any] = {"long": 0, "double": 0.0, "string": "", "boolean": False}
    whole = {name: zeros[kind] for name, kind in COMMON}
    whole |= {field.name: [] if field.is_array else zeros[field.primitive] for field in SCHEMA.fields}
    return whole | values


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"collected_at": LEAST_TIME_US - 1}, "collected_at"),
        ({"since": -(2**63)}, "since"),
        ({"string_0": "a\0b"}, "string_0"),
        ({"string_0": "\0"}, "string_0"),
        ({"string_0_null": "\0\0"}, "string_0_null"),
        ({"string_1": ["fine", "\0"]}, "string_1"),
    ],
)
def test_what_no_column_can_hold_is_named(values: dict[str, Any], field: str) -> None:
    with pytest.raises(NotStorable, match=f"field {field}:"):
        PACKER.pack(blank(**values))


def test_times_in_arrays_may_be_null_and_are_checked() -> None:
    schema = builtin_schemas()["database"]
    packer = RowPacker(schema)
    zeros: dict[str, Any] = {"long": 0, "string": ""}
    base = {name: zeros[kind] for name, kind in COMMON} | {
        field.name: [] if field.is_array else zeros[field.primitive] for field in schema.fields
    }
    cells = unpack(packer.pack(base | {"stats_reset": [0, -(2**63)]}), packer)
    loader = Transformer().get_loader(1185, pq.Format.BINARY)
    assert loader.load(cells["stats_reset"] or b"") == [EPOCH, None]
    with pytest.raises(NotStorable, match="field stats_reset"):
        packer.pack(base | {"stats_reset": [LEAST_TIME_US - 1]})


@given(st.lists(st.one_of(st.just(-(2**63)), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=50))
def test_nulls_take_no_room(values: list[int]) -> None:
    cell = unpack(PACKER.pack(blank(long_1_null=values)), PACKER)["long_1_null"] or b""
    nulls = values.count(-(2**63))
    assert len(cell) == 20 + 12 * (len(values) - nulls) + 4 * nulls
    assert struct.unpack_from(">i", cell, 4) == (int(nulls > 0),)
