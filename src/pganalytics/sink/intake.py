"""One record: stored, noticed or dead, and why. Pure: the schemas that are known and the time are arguments."""

from collections.abc import Mapping
from typing import Any

from pganalytics.schemas.codec import identity_of
from pganalytics.schemas.errors import BodyError, HeaderError
from pganalytics.schemas.events import decode_event
from pganalytics.schemas.headers import HEARTBEAT, Headers
from pganalytics.schemas.identity import LANES
from pganalytics.sink.beats import Beat, ImplausibleBeat, read_beat
from pganalytics.sink.layout import Conflict
from pganalytics.sink.multiranges import MOST_SEQ
from pganalytics.sink.packing import NotStorable
from pganalytics.sink.records import KnownSchema, Message, Noticed, Poison, Reading, Reason, Row

Known = Mapping[str, KnownSchema | Conflict]
"""Schemas by id; one that cannot have a table has the reason."""

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
MOST_LEAD_US = HOUR_US
"""How far `collected_at` may be after the broker took the record."""
MOST_EVENT_TIME_US = 2**53


class _Bad(Exception):
    """A reason to dead-letter the record at hand."""

    def __init__(self, reason: Reason, detail: str, beat: Beat | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.beat = beat


def schema_of(message: Message) -> str | None:
    """The schema id that a record names; None when it names none. Cheap, and no judgement on the other headers."""
    return next((value.decode("ascii", "replace") for name, value in message.headers if name == "schema" and value), None)


def read_record(message: Message, known: Known, now_us: int) -> Row | Poison:
    """Judge one record of an admitted topic."""
    try:
        headers = Headers.decode(message.headers)
    except HeaderError as error:
        return Poison(message, Reason.HEADERS_UNREADABLE, str(error))
    if message.key != headers.identity.collector.encode():
        return Poison(message, Reason.KEY_DISAGREES, f"header collector is {headers.identity.collector}, the key is another")
    if headers.identity.seq > MOST_SEQ:
        return Poison(message, Reason.IMPLAUSIBLE, f"seq {headers.identity.seq} cannot be counted")
    try:
        return _row(message, headers, known, now_us)
    except _Bad as bad:
        return Poison(message, bad.reason, str(bad), headers.identity, headers.metric, bad.beat)


def read_event(message: Message) -> Noticed | Poison:
    """Judge one record of the events topic."""
    try:
        event = decode_event(message.value or b"")
    except BodyError as error:
        return Poison(message, Reason.EVENT_UNREADABLE, str(error))
    if message.key != event.collector.encode():
        return Poison(message, Reason.EVENT_UNREADABLE, "event: the key is not its collector")
    spans = event.ranges.spans
    if not 0 <= event.at_us < MOST_EVENT_TIME_US or (spans and spans[-1][1] > MOST_SEQ) or "\0" in event.topic + event.detail:
        return Poison(message, Reason.EVENT_UNREADABLE, "event: a value that cannot be stored")
    return Noticed(message, event)


def read(message: Message, known: Known, *, events_topic: str, now_us: int) -> Reading:
    """Judge one record of any topic that the sink reads."""
    if message.place.topic == events_topic:
        return read_event(message)
    return read_record(message, known, now_us)


def _row(message: Message, headers: Headers, known: Known, now_us: int) -> Row:
    if headers.error is not None and not message.value:
        raise _Bad(Reason.STUB, f"Kafka refused its body for good: {headers.error}")
    entry = known.get(headers.schema)
    if entry is None:
        raise _Bad(Reason.UNKNOWN_SCHEMA, f"schema {headers.schema} of metric {headers.metric} is not in the schemas topic")
    if isinstance(entry, Conflict):
        raise _Bad(Reason.REFUSED_SCHEMA, entry.detail)
    body = message.value or b""
    try:
        record = entry.codec.decode(body)
        _agree(headers, entry, record, len(body))
    except BodyError as error:
        raise _Bad(Reason.DAMAGED, str(error)) from error
    beat = _beat(headers, entry, record)
    _check_time(message, headers, entry, now_us, beat)
    try:
        packed = entry.packer.pack(record)
    except NotStorable as error:
        raise _Bad(Reason.NOT_STORABLE, str(error), beat) from error
    return Row(message, headers.identity, headers.metric, headers.schema, headers.collected_at_us // DAY_US, packed, beat)


def _agree(headers: Headers, entry: KnownSchema, record: Mapping[str, Any], size: int) -> None:
    said = (headers.identity, headers.metric, headers.collected_at_us, headers.rows, headers.size)
    found = (identity_of(record), entry.schema.name, record["collected_at"], entry.schema.row_count(record), size)
    names = ("identity", "metric", "collected_at", "rows", "bytes")
    for name, left, right in zip(names, said, found, strict=True):
        if left != right:
            raise _Bad(Reason.BODY_DISAGREES, f"header {name}: {left}, body: {right}")


def _beat(headers: Headers, entry: KnownSchema, record: Mapping[str, Any]) -> Beat | None:
    if headers.heartbeat is None or headers.metric != HEARTBEAT:
        return None
    if any(headers.heartbeat.emitted[lane] != record[f"emitted_{lane}"] for lane in LANES):
        raise _Bad(Reason.BODY_DISAGREES, "header emitted is not what the body says")
    try:
        appended_us = headers.appended_at_us or 0
        return read_beat(entry.schema, record, appended_at_us=appended_us if 0 < appended_us < MOST_EVENT_TIME_US else 0)
    except ImplausibleBeat as error:
        raise _Bad(Reason.IMPLAUSIBLE, str(error)) from error


def _check_time(message: Message, headers: Headers, entry: KnownSchema, now_us: int, beat: Beat | None) -> None:
    """Bounds the partitions that records can ask for, whatever clocks and headers say."""
    at_us = headers.collected_at_us
    appended_us = headers.appended_at_us if headers.appended_at_us is not None else message.place.at_us
    if at_us > min(appended_us, now_us + DAY_US) + MOST_LEAD_US:
        raise _Bad(Reason.FUTURE, f"collected_at is {(at_us - appended_us) // 1_000_000} s after it was appended", beat)
    if at_us < now_us - entry.retention_us:
        raise _Bad(Reason.TOO_OLD, f"collected_at is {(now_us - at_us) // DAY_US} days ago, beyond the metric's retention", beat)
