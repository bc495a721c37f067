"""Bodies: Avro single-object encoding (C3 01, CRC-64-AVRO fingerprint in little-endian order, then the record).

A worker encodes everything but the identity (`encode_rest`); the spool puts the identity in front when it is known
(`assemble`): Avro encodes a record as its fields one after another, so the two pieces are one valid body.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form
from fastavro.validation import validate

from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import COMMON, IDENTITY_FIELDS, Field, MetricSchema

MARKER = b"\xc3\x01"
PREFIX_BYTES = len(MARKER) + 8
ZEROS: Mapping[str, int | float | str | bool] = {"long": 0, "double": 0.0, "string": "", "boolean": False}


class RecordCodec:
    """Encodes and decodes the records of one schema. Immutable; any thread may use it."""

    def __init__(self, schema: MetricSchema) -> None:
        self.schema = schema
        self._known = {name for name, _ in COMMON[IDENTITY_FIELDS:]} | {field.name for field in schema.fields}
        self._whole = parse_schema(schema.avro)
        fields = schema.avro["fields"]
        self._head = parse_schema({"type": "record", "name": "head", "fields": fields[:IDENTITY_FIELDS]})
        self._rest = parse_schema({"type": "record", "name": "rest", "fields": fields[IDENTITY_FIELDS:]})
        crc = fingerprint(to_parsing_canonical_form(schema.avro), "CRC-64-AVRO")
        self.prefix = MARKER + bytes.fromhex(crc)

    def encode_rest(self, values: Mapping[str, Any]) -> bytes:
        """Everything after the identity; `values` has every field from `collected_at` on. Raises BodyError."""
        if unknown := values.keys() - self._known:
            raise BodyError(f"metric {self.schema.name}: no field {', '.join(sorted(unknown))}")
        return self._write(self._rest, values)

    def assemble(self, identity: Identity, rest: bytes) -> bytes:
        """The whole body."""
        head = {
            "collector": identity.collector,
            "epoch": identity.epoch,
            "lane": identity.lane.value,
            "seq": identity.seq,
        }
        return self.prefix + self._write(self._head, head) + rest

    def decode(self, body: bytes) -> dict[str, Any]:
        """All fields of a body; raises BodyError on any other schema's bytes, on damage and on bytes left over."""
        if not body.startswith(MARKER):
            raise BodyError(f"body does not begin with {MARKER.hex(' ').upper()}: no Avro single-object encoding")
        if not body.startswith(self.prefix):
            raise BodyError(f"fingerprint is not that of metric {self.schema.name}, schema {self.schema.id}")
        source = io.BytesIO(body)
        source.seek(PREFIX_BYTES)
        try:
            record = fastavro.schemaless_reader(source, self._whole, None)
        except Exception as error:
            raise BodyError(f"metric {self.schema.name}: body is damaged: {error!r}") from error
        if source.tell() != len(body):
            raise BodyError(f"metric {self.schema.name}: {len(body) - source.tell()} bytes after the record")
        if not isinstance(record, dict):
            raise BodyError(f"metric {self.schema.name}: body is no record")
        self._check_columns(record)
        return record

    def _write(self, schema: Any, values: Mapping[str, Any]) -> bytes:
        sink = io.BytesIO()
        try:
            fastavro.schemaless_writer(sink, schema, dict(values), strict=True)
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError, UnicodeError) as error:
            where = "".join(f" {name}" for name in _misfits(schema, values))  # the error's own text quotes the value
            raise BodyError(f"metric {self.schema.name}: cannot encode{where}: {type(error).__name__}") from error
        return sink.getvalue()

    def _check_columns(self, record: Mapping[str, Any]) -> None:
        for group, columns in self.schema.groups.items():
            rows = len(record[columns[0].name])
            for column in columns[1:]:
                if len(record[column.name]) not in (0, rows):
                    raise BodyError(
                        f"metric {self.schema.name}: column {column.name} has {len(record[column.name])} values, "
                        f"group {group} has {rows} rows"
                    )


def _misfits(schema: Any, values: Mapping[str, Any]) -> list[str]:
    """Names of the fields whose values are not of their types."""
    return [one["name"] for one in schema["fields"] if not validate(values.get(one["name"]), one["type"], raise_errors=False)]


def identity_of(record: Mapping[str, Any]) -> Identity:
    """The identity that a decoded body carries; raises BodyError."""
    try:
        return Identity(record["collector"], record["epoch"], Lane(record["lane"]), record["seq"])
    except ValueError as error:
        raise BodyError(f"body carries lane {record['lane']!r}") from error


def zero_of(field: Field) -> int | float | str | bool:
    """The value that an empty column stands for."""
    return ZEROS[field.primitive]


def nothing_of(field: Field) -> int | float | str | bool:
    """The value that stands for none."""
    return ZEROS[field.primitive] if field.null is None else field.null


def elide(columns: Sequence[Field], values: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The columns of one group as they are sent: empty where all values are zero, the first one always full."""
    first = columns[0].name
    sent = {first: list(values[first])}
    for column in columns[1:]:
        cells = values[column.name]
        sent[column.name] = list(cells) if any(cells) else []
    return sent


def fill(columns: Sequence[Field], record: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The inverse of `elide`: all columns at full length."""
    rows = len(record[columns[0].name])
    return {column.name: list(record[column.name]) or [zero_of(column)] * rows for column in columns}
