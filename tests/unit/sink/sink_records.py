"""Records for the tests of the pure parts, without Kafka."""

from typing import Any

from integration.sink_feed import Record
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.sink.beats import Beat
from pganalytics.sink.catalogue import known_schema
from pganalytics.sink.layout import Conflict
from pganalytics.sink.records import KnownSchema, Message, Place, Poison, Reason, Row

KNOWN: dict[str, KnownSchema | Conflict] = {schema.id: known_schema(schema) for schema in builtin_schemas().values()}
NORMAL = "t.admitted.normal"


def message(record: Record | None = None, *, topic: str = NORMAL, offset: int = 0, at_us: int = 0, **changes: Any) -> Message:
    place = Place(topic, 0, offset, at_us)
    if record is None:
        return Message(place, b"c", b"", ())
    got = {"key": record.key, "value": record.value, "headers": tuple(record.headers)} | changes
    return Message(place, got["key"], got["value"], got["headers"])


def row(
    seq: int, *, collector: str = "c", epoch: int = 1, lane: Lane = Lane.NORMAL, offset: int = 0, beat: Beat | None = None
) -> Row:
    return Row(message(offset=offset), Identity(collector, epoch, lane, seq), "database", "0" * 16, 0, b"", beat)


def poison(seq: int | None, *, offset: int = 0, beat: Beat | None = None) -> Poison:
    identity = None if seq is None else Identity("c", 1, Lane.NORMAL, seq)
    return Poison(message(offset=offset), Reason.DAMAGED, "", identity, "database", beat)
