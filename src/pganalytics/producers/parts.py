"""A snapshot that is too large for one record becomes parts: each has some of the rows, and all of the rest. Pure.

Sums over all parts are those of the snapshot: counters that a record has once, and groups beside `rows`, are in the first part
alone. Gauges and labels are in each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pganalytics.schemas.codec import RecordCodec, elide, fill, zero_of
from pganalytics.schemas.metric import FieldRole, MetricSchema

PART_BYTES = 1 << 20
"""Size of an encoded body above which it is split: far below what a topic takes, so that batches stay small as well."""


@dataclass(frozen=True, slots=True)
class Part:
    """What `RecordCodec.encode_rest` made of one part, and its rows."""

    rest: bytes
    rows: int


def encode_parts(codec: RecordCodec, values: Mapping[str, Any], *, limit_bytes: int = PART_BYTES) -> list[Part]:
    """The snapshot as one part or more, each below the limit unless a single row is above it. Raises BodyError."""
    schema = codec.schema
    rows = schema.row_count(values)
    whole = codec.encode_rest(values)
    if len(whole) <= limit_bytes or rows < 2 or "rows" not in schema.groups:
        return [Part(whole, rows)]
    columns = fill(schema.groups["rows"], values)
    spans = _fitting(codec, values, columns, (0, rows), limit_bytes)
    numbered = enumerate(spans, 1)
    return [
        Part(codec.encode_rest(_part(schema, values, columns, span) | {"part": number, "parts": len(spans)}), span[1] - span[0])
        for number, span in numbered
    ]


def _fitting(
    codec: RecordCodec, values: Mapping[str, Any], columns: Mapping[str, list[Any]], span: tuple[int, int], limit_bytes: int
) -> list[tuple[int, int]]:
    """The rows of a span, halved until each piece fits or is a single row."""
    low, high = span
    if high - low < 2 or len(codec.encode_rest(_part(codec.schema, values, columns, span))) <= limit_bytes:
        return [span]
    middle = (low + high) // 2
    halves = ((low, middle), (middle, high))
    return [piece for half in halves for piece in _fitting(codec, values, columns, half, limit_bytes)]


def _part(
    schema: MetricSchema, values: Mapping[str, Any], columns: Mapping[str, list[Any]], span: tuple[int, int]
) -> dict[str, Any]:
    low, high = span
    part = dict(values) | elide(schema.groups["rows"], {name: cells[low:high] for name, cells in columns.items()})
    if low == 0:
        return part
    part |= {field.name: zero_of(field) for field in schema.scalars if field.role is FieldRole.COUNTER}
    return part | {field.name: [] for field in schema.fields if field.is_array and field.group != "rows"}
