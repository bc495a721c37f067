"""Bodies mean what their schema says, to us and to any other Avro reader."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.golden import EXAMPLES, GoldenExample, event_of, load_examples
from contract.strategies import IDENTITIES, PRIMITIVES, records, same
from pganalytics.schemas.codec import PREFIX_BYTES, RecordCodec, elide, fill, identity_of
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.events import decode_event
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import MetricSchema, builtin_schemas, load_schema

SCHEMAS = list(builtin_schemas().values())
ALL_TYPES = load_schema(
    json.dumps(
        {
            **SCHEMAS[0].avro,
            "name": "all_types",
            "fields": [
                *SCHEMAS[0].avro["fields"][:8],
                *[{"name": f"s_{kind}", "type": kind, "role": "label", "doc": "x"} for kind in PRIMITIVES],
                *[
                    {"name": f"a_{kind}", "type": {"type": "array", "items": kind}, "role": "label", "doc": "x"}
                    for kind in PRIMITIVES
                ],
                {"name": "other", "type": {"type": "array", "items": "long"}, "group": "more", "role": "key", "doc": "x"},
            ],
        }
    )
)
IDENTITY = Identity("db1.example:5432", 1, Lane.NORMAL, 1)


@pytest.mark.parametrize("schema", [*SCHEMAS, ALL_TYPES], ids=lambda schema: schema.name)
def test_decode_inverts_encode(schema: MetricSchema) -> None:
    """decode(encode(x)) = x for any record that the schema allows, and for Apache Avro's reader too."""
    codec = RecordCodec(schema)
    reader = avro.io.DatumReader(avro.schema.parse(schema.text))

    @given(values=records(schema), identity=IDENTITIES)
    def check(values: dict[str, Any], identity: Identity) -> None:
        body = codec.assemble(identity, codec.encode_rest(values))
        decoded = codec.decode(body)
        assert identity_of(decoded) == identity
        assert same({key: decoded[key] for key in values}, values)
        theirs = reader.read(avro.io.BinaryDecoder(io.BytesIO(body[PREFIX_BYTES:])))
        assert same(theirs, decoded)

    check()


@given(body=st.binary(max_size=300), truncated=st.integers(0, 200), extra=st.binary(min_size=1, max_size=4))
def test_no_bytes_crash_the_decoder(body: bytes, truncated: int, extra: bytes) -> None:
    """Whatever the bytes, a decoder answers with a record or with BodyError; cut or lengthened bodies are refused."""
    for schema in SCHEMAS:
        codec = RecordCodec(schema)
        for hostile in (body, codec.prefix + body):
            try:
                codec.decode(hostile)
            except BodyError:
                continue
    example = load_examples()[0]
    with pytest.raises(BodyError):
        RecordCodec(builtin_schemas()[example.metric]).decode(example.body[: min(truncated, len(example.body) - 1)])
    with pytest.raises(BodyError):
        RecordCodec(builtin_schemas()[example.metric]).decode(example.body + extra)


def test_another_schema_is_refused() -> None:
    """A body of one metric is not decoded as another."""
    example = load_examples()[0]
    other = next(schema for schema in SCHEMAS if schema.name != example.metric)
    with pytest.raises(BodyError, match="fingerprint"):
        RecordCodec(other).decode(example.body)


def test_columns_of_unequal_length_are_refused() -> None:
    """A column is full or empty."""
    codec = RecordCodec(ALL_TYPES)
    values: dict[str, Any] = {"collected_at": 1, "since": 1, "part": 1, "parts": 1}
    values |= {"s_long": 1, "s_double": 1.0, "s_string": "", "s_boolean": True, "other": []}
    values |= {"a_long": [1, 2], "a_double": [1.0], "a_string": [], "a_boolean": []}
    with pytest.raises(BodyError, match="a_double has 1 values, group rows has 2"):
        codec.decode(codec.assemble(IDENTITY, codec.encode_rest(values)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"s_long": "1"}, "cannot encode"),
        ({"s_long": 2**63}, "cannot encode"),
        ({"nonsense": 1}, "no field nonsense"),
        ({"a_string": [None]}, "cannot encode"),
    ],
)
def test_wrong_values_are_not_encoded(change: dict[str, Any], says: str) -> None:
    """A value of the wrong type, out of range or of no field is an error, never a wrong byte."""
    values: dict[str, Any] = {"collected_at": 1, "since": 1, "part": 1, "parts": 1}
    values |= {"s_long": 1, "s_double": 1.0, "s_string": "", "s_boolean": True, "other": []}
    values |= {"a_long": [], "a_double": [], "a_string": [], "a_boolean": []}
    codec = RecordCodec(ALL_TYPES)
    codec.encode_rest(values)
    with pytest.raises(BodyError, match=says):
        codec.encode_rest(values | change)
    with pytest.raises(BodyError, match="cannot encode"):
        codec.encode_rest({key: value for key, value in values.items() if key != "since"})


def test_elide_and_fill() -> None:
    """A column of zeros is sent empty, the first one never; filling gives it back."""
    columns = ALL_TYPES.groups["rows"]
    values: dict[str, list[Any]] = {"a_long": [0, 0], "a_double": [0.0, 0.0], "a_string": ["", "x"], "a_boolean": [False, False]}
    sent = elide(columns, values)
    assert sent == {"a_long": [0, 0], "a_double": [], "a_string": ["", "x"], "a_boolean": []}
    assert fill(columns, sent) == values


@pytest.mark.parametrize("example", load_examples(), ids=lambda example: example.path.stem)
def test_golden_example(example: GoldenExample) -> None:
    """Every example keeps its bytes, and means the same to Apache Avro's reader."""
    if example.metric == "event":
        event = event_of(example)
        assert event.encode() == example.body
        assert decode_event(example.body) == event
        schema_text = Path(EXAMPLES).parent.joinpath("event.avsc").read_text(encoding="utf-8")
        decoded: Any = None
    else:
        codec = RecordCodec(builtin_schemas()[example.metric])
        decoded = codec.decode(example.body)
        rest = {key: value for key, value in example.values.items() if key not in ("collector", "epoch", "lane", "seq")}
        assert codec.assemble(identity_of(example.values), codec.encode_rest(rest)) == example.body
        assert same(decoded, example.values)
        schema_text = codec.schema.text
    reader = avro.io.DatumReader(avro.schema.parse(schema_text))
    theirs = reader.read(avro.io.BinaryDecoder(io.BytesIO(example.body[PREFIX_BYTES:])))
    assert same(theirs, example.values)


def test_every_schema_has_an_example() -> None:
    """The examples cover all metrics and the event."""
    assert {example.metric for example in load_examples()} == {*builtin_schemas(), "event"}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_fingerprint_is_the_standard_one(schema: MetricSchema) -> None:
    """The prefix carries CRC-64-AVRO in little-endian order, as the Avro specification says."""
    theirs = avro.schema.parse(schema.text)
    crc = _crc64(json.dumps(theirs.to_canonical_json(), separators=(",", ":"), ensure_ascii=False).encode())
    assert RecordCodec(schema).prefix == b"\xc3\x01" + struct.pack("<Q", crc)


def _crc64(data: bytes) -> int:
    """Rabin fingerprint by the definition in the Avro specification, bit by bit."""
    empty = 0xC15D213AA4D7A795
    value = empty
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (empty if value & 1 else 0)
    return value
