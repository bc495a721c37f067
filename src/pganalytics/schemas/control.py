"""Control: what the streams tell agents about one collector. The record's key is the collector's id."""

import io
import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from json import loads
from typing import Any

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from pganalytics.schemas.codec import MARKER, PREFIX_BYTES
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.identity import MAX_LONG, Lane

MOST_STRETCH = 100.0
LEAST_ROWS, MOST_ROWS = 100, 10_000
"""The bounds of a metric's limit in the settings."""


class Reason(StrEnum):
    """Why a collector reads as often as it does."""

    QUOTA = "quota"
    LAG = "lag"
    CALM = "calm"


@dataclass(frozen=True, slots=True)
class Control:
    """An order, absolute: it replaces the one before. `rows` is 0 when the settings decide."""

    version: int
    ttl_s: float
    normal: float
    bulk: float
    rows: int
    pressure: float
    reason: Reason

    def stretch(self, lane: Lane) -> float:
        """How many times longer intervals of this lane become; critical ones never do."""
        return {Lane.CRITICAL: 1.0, Lane.NORMAL: self.normal, Lane.BULK: self.bulk}[lane]

    def encode(self) -> bytes:
        """As a single-object Avro body."""
        sink = io.BytesIO()
        fastavro.schemaless_writer(sink, _schema()[0], asdict(self) | {"reason": self.reason.value}, strict=True)
        return _schema()[1] + sink.getvalue()


def decode_control(body: bytes) -> Control:
    """Read an order; raises BodyError, also when its numbers are out of bounds."""
    schema, prefix = _schema()
    if not body.startswith(prefix):
        raise BodyError("control: body does not begin with the marker and fingerprint of its schema")
    source = io.BytesIO(body)
    source.seek(PREFIX_BYTES)
    try:
        got: Any = fastavro.schemaless_reader(source, schema, None)
        control = Control(**got | {"reason": Reason(got["reason"])})
    except Exception as error:
        raise BodyError(f"control: body is damaged: {error!r}") from error
    if source.tell() != len(body):
        raise BodyError("control: bytes left over")
    if wrong := _out_of_bounds(control):
        raise BodyError(f"control: {wrong} is out of bounds")
    return control


def _out_of_bounds(control: Control) -> str:
    fits = {
        "version": 1 <= control.version <= MAX_LONG,
        "ttl_s": 0 < control.ttl_s <= 86400,
        "normal": 1 <= control.normal <= MOST_STRETCH,
        "bulk": 1 <= control.bulk <= MOST_STRETCH,
        "rows": control.rows == 0 or LEAST_ROWS <= control.rows <= MOST_ROWS,
        "pressure": control.pressure >= 1 and math.isfinite(control.pressure),
    }
    return next((name for name, well in fits.items() if not well), "")


@lru_cache(maxsize=1)
def _schema() -> tuple[Any, bytes]:
    schema = loads(resources.files("pganalytics.schemas").joinpath("control.avsc").read_text(encoding="utf-8"))
    return parse_schema(schema), MARKER + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
