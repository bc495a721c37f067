"""The topic `events`, read by a plain consumer without a group: works while the store is away, and disturbs nobody."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.kafka import admin, reader_config
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.events import Event, decode_event
from pganalytics.schemas.topics import Topics
from pganalytics.sink.log_ends import log_ends, log_offsets_at, log_starts
from pganalytics.sink.records import Partition, Span
from pganalytics.sink.unread import read_spans

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which events; None is any."""

    kind: str | None = None
    collector: str | None = None

    def takes(self, event: Event) -> bool:
        """Whether it is one of these."""
        return (self.kind is None or event.kind == self.kind) and (self.collector is None or event.collector == self.collector)


def past_events(settings: Settings, chosen: Chosen, since: datetime | None) -> tuple[list[Event], dict[Partition, int]]:
    """Those in the topic now, each once, in the order of their times; and where reading goes on. Raises Unreachable."""
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    partitions = [(topics.events, number) for number in range(topics.partitions)]
    client, timeout_s = admin(settings.kafka), settings.kafka.timeout_s
    ends = log_ends(client, partitions, timeout_s)
    if since is None:
        starts = log_starts(client, partitions, timeout_s)
    else:
        found = log_offsets_at(client, partitions, at_ms=int(since.timestamp() * 1000), timeout_s=timeout_s)
        starts = {where: found.get(where, ends[where]) for where in partitions}
    spans = {where: Span(starts[where], ends[where]) for where in partitions}
    events: dict[str, Event] = {}
    for message in read_spans(settings.kafka, spans):
        if (event := _decoded(message.value)) is not None and chosen.takes(event):
            events.setdefault(event.id, event)
    return sorted(events.values(), key=lambda event: (event.at_us, event.id)), ends


def follow_events(settings: Settings, chosen: Chosen, starts: dict[Partition, int], over: Callable[[], bool]) -> Iterator[Event]:
    """Those that come from here on, until `over`; a broker that is away is waited for."""
    reading = {"auto_offset_reset": "earliest", "enable_partition_eof": False}
    consumer = Consumer(reader_config(settings.kafka, name="events", **reading))
    try:
        consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in starts.items()])
        while not over():
            message = consumer.poll(POLL_S)
            if message is None:
                continue
            if (error := message.error()) is not None:
                _check(error)
            elif (event := _decoded(message.value())) is not None and chosen.takes(event):
                yield event
    finally:
        consumer.close()


def _decoded(value: bytes | str | None) -> Event | None:
    """None for what is no event: the sink dead-letters it."""
    try:
        return decode_event(value) if isinstance(value, bytes) else None
    except BodyError:
        return None


def _check(error: KafkaError) -> None:
    if error.fatal() or error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART):
        raise Unreachable(f"topic of events: {error.str()}") from KafkaException(error)
