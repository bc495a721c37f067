"""What the sink reads, and what it makes of it: values that a batch is made of. Pure data."""

from dataclasses import dataclass
from enum import StrEnum

from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.events import Event
from pganalytics.schemas.identity import Identity
from pganalytics.schemas.metric import MetricSchema
from pganalytics.sink.beats import Beat
from pganalytics.sink.packing import RowPacker

Partition = tuple[str, int]
"""Topic and number."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies. `at_us` is the broker's append time."""

    topic: str
    partition: int
    offset: int
    at_us: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Message:
    """A Kafka record as it was read."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def size(self) -> int:
        """Bytes that it holds in memory, roughly."""
        return len(self.value or b"") + 500


class Reason(StrEnum):
    """Why a record is a dead letter. A closed list."""

    HEADERS_UNREADABLE = "headers_unreadable"
    KEY_DISAGREES = "key_disagrees"
    UNKNOWN_SCHEMA = "unknown_schema"
    REFUSED_SCHEMA = "refused_schema"
    DAMAGED = "damaged"
    BODY_DISAGREES = "body_disagrees"
    IMPLAUSIBLE = "implausible"
    TOO_OLD = "too_old"
    FUTURE = "future"
    NOT_STORABLE = "not_storable"
    EVENT_UNREADABLE = "event_unreadable"
    STUB = "stub"


@dataclass(frozen=True, slots=True)
class Row:
    """A record that can be stored, packed for COPY. `day` counts from 1970-01-01 in UTC."""

    message: Message
    identity: Identity
    metric: str
    schema: str
    day: int
    packed: bytes
    beat: Beat | None


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that cannot be stored.

    `identity` only when headers and key agree on it: headers that lie must not mark another collector's seq as dead.
    `beat`: the counts of a heartbeat hold even when its row cannot be stored.
    """

    message: Message
    reason: Reason
    detail: str
    identity: Identity | None = None
    metric: str | None = None
    beat: Beat | None = None


@dataclass(frozen=True, slots=True)
class Noticed:
    """An event that was read."""

    message: Message
    event: Event


Reading = Row | Poison | Noticed


@dataclass(frozen=True, slots=True)
class KnownSchema:
    """A schema with what is needed to decode and store its records. `retention_us` is the metric's."""

    schema: MetricSchema
    codec: RecordCodec
    packer: RowPacker
    retention_us: int


@dataclass(frozen=True, slots=True)
class Span:
    """What a batch covers of one partition: offsets from `first` to before `following`."""

    first: int
    following: int
