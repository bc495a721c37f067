"""Records as rows of PostgreSQL's binary COPY. Pure.

Arrays are packed by numpy: a Python list as a parameter costs 17 us per element row, this about 0.1 us per element.
A value that PostgreSQL cannot hold is found here, before it can spoil a batch: NotStorable names the field.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pganalytics.schemas.metric import COMMON, Field, FieldRole, MetricSchema, Send
from pganalytics.sink.layout import TIMESTAMP

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970."""
LEAST_TIME_US = -210_866_803_200_000_000
"""4714-11-24 BC, the first instant of timestamptz. Its last one lies beyond any 64-bit number of microseconds since 1970."""

MOST_KEY_BYTES = 2_000
"""Of all texts in the key of a dictionary together: an entry of an index holds 2,700."""

_NULL = struct.pack(">i", -1)
_LONG = struct.Struct(">iq")
_DOUBLE = struct.Struct(">id")
_BOOLEAN = struct.Struct(">i?")
_SIZE = struct.Struct(">i")
_ARRAY = struct.Struct(">iiIii")
_EMPTY = struct.Struct(">iiiI")
_OIDS = {"long": 20, "double": 701, "string": 25, "boolean": 16}
_TIMESTAMPTZ_OID = 1184
_VALUE_TYPES = {"long": ">i8", "double": ">f8", "boolean": ">u1"}

Pack = Callable[[Any], bytes]


class NotStorable(ValueError):
    """A value that no column can hold. The message names the field and the reason."""


class RowPacker:
    """Packs the records of one schema: the common fields, then the schema's own. Immutable; any thread may use it."""

    def __init__(self, schema: MetricSchema) -> None:
        own = [(field.name, _packer(field)) for field in schema.fields]
        self._columns = tuple([(name, _scalar(_common(name, kind))) for name, kind in COMMON] + own)
        self._count = struct.pack(">h", len(self._columns))
        self.names = tuple(name for name, _ in self._columns)
        self._keys = _texts_of_key(schema) if schema.send is Send.NEW else ()

    def pack(self, record: Mapping[str, Any]) -> bytes:
        """One row with all sizes; raises NotStorable."""
        parts = [self._count]
        for name, pack in self._columns:
            try:
                parts.append(pack(record[name]))
            except NotStorable as error:
                raise NotStorable(f"field {name}: {error}") from error
        for key in zip(*(record[name] for name in self._keys), strict=False):
            if sum(len(text.encode()) for text in key) > MOST_KEY_BYTES:
                raise NotStorable(f"fields {', '.join(self._keys)}: a key of more than {MOST_KEY_BYTES} bytes")
        return b"".join(parts)


def _texts_of_key(schema: MetricSchema) -> tuple[str, ...]:
    """The texts in the key of a dictionary, which has an index on it."""
    return tuple(f.name for f in schema.groups["rows"] if f.role is FieldRole.KEY and f.primitive == "string")


def _common(name: str, kind: str) -> Field:
    unit = TIMESTAMP if name in ("collected_at", "since") else None
    return Field(name, kind, None, FieldRole.KEY, unit, None, "")


def _packer(field: Field) -> Pack:
    return _array(field) if field.is_array else _scalar(field)


def _scalar(field: Field) -> Pack:
    match field.primitive:
        case "long":
            return lambda value: _NULL if value == field.null else _LONG.pack(8, _moved(field, value))
        case "double":
            return lambda value: _NULL if field.null is not None and value != value else _DOUBLE.pack(8, value)
        case "boolean":
            return lambda value: _BOOLEAN.pack(1, value)
        case _:
            return lambda value: _NULL if value == field.null else _text(value)


def _moved(field: Field, value: int) -> int:
    if field.unit != TIMESTAMP:
        return value
    if value < LEAST_TIME_US:
        raise NotStorable(f"{value} us is before the first timestamp")
    return value - POSTGRES_EPOCH_US


def _text(value: str) -> bytes:
    if "\0" in value:
        raise NotStorable("a text with U+0000 inside")
    data = value.encode()
    return _SIZE.pack(len(data)) + data


def _array(field: Field) -> Pack:
    oid = _TIMESTAMPTZ_OID if field.unit == TIMESTAMP else _OIDS[field.primitive]
    empty = _EMPTY.pack(12, 0, 0, oid)
    cells = _texts if field.primitive == "string" else _numbers

    def pack(values: Sequence[Any]) -> bytes:
        if not values:
            return empty
        data, nulls = cells(field, values)
        return _SIZE.pack(20 + len(data)) + _ARRAY.pack(1, int(nulls), oid, len(values), 1) + data

    return pack


def _texts(field: Field, values: Sequence[str]) -> tuple[bytes, bool]:
    packed = [_NULL if value == field.null else _text(value) for value in values]
    return b"".join(packed), any(cell is _NULL for cell in packed)


def _numbers(field: Field, values: Sequence[Any]) -> tuple[bytes, bool]:
    kind = _VALUE_TYPES[field.primitive]
    numbers: NDArray[Any] = np.array(values, dtype=kind[1:])
    nulls = _nulls(field, numbers)
    if field.unit == TIMESTAMP:
        if bool(np.any(numbers[~nulls] < LEAST_TIME_US)):
            raise NotStorable("a time before the first timestamp")
        numbers = np.where(nulls, 0, numbers - POSTGRES_EPOCH_US)
    cells = np.empty(len(numbers), dtype=[("size", ">i4"), ("value", kind)])
    cells["size"] = cells.dtype["value"].itemsize
    cells["value"] = numbers
    if not nulls.any():
        return cells.tobytes(), False
    cells["size"][nulls] = -1
    used = np.ones((len(cells), cells.dtype.itemsize), dtype=bool)
    used[nulls, 4:] = False  # a NULL has a size and no value
    return cells.view(np.uint8).reshape(len(cells), -1)[used].tobytes(), True


def _nulls(field: Field, numbers: NDArray[Any]) -> NDArray[np.bool_]:
    if field.null is None:
        return np.zeros(len(numbers), dtype=bool)
    nulls: NDArray[np.bool_] = np.isnan(numbers) if field.primitive == "double" else np.equal(numbers, field.null)
    return nulls
