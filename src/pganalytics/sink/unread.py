"""What lies in Kafka and is not dealt with yet: identities, counts of heartbeats, ranges of events. Reads and commits nothing."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.kafka import reader_config
from pganalytics.runtime.settings import Kafka
from pganalytics.schemas.errors import ContractError
from pganalytics.schemas.events import EventKind, decode_event
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.sink.beats import Beat, ImplausibleBeat, read_beat
from pganalytics.sink.consumer import as_message
from pganalytics.sink.intake import Known
from pganalytics.sink.multiranges import MOST_SEQ
from pganalytics.sink.records import KnownSchema, Message, Partition, Span

STALL_S = 30.0


@dataclass(slots=True)
class Unread:
    """What was found, by stream. For the fold of `note`."""

    seqs: dict[Stream, set[int]] = field(default_factory=dict)
    shed: dict[Stream, Ranges] = field(default_factory=dict)
    beats: list[Beat] = field(default_factory=list)

    def note(self, message: Message, known: Known, *, topics: Topics, ends: Mapping[Partition, int]) -> None:
        """Take one record into account. One that cannot be read has no identity to find."""
        try:
            if message.place.topic == topics.events:
                self._note_event(message)
            else:
                self._note_record(message, known, topics, ends)
        except (ContractError, ImplausibleBeat):
            return

    def _note_event(self, message: Message) -> None:
        event = decode_event(message.value or b"")
        if event.kind is EventKind.SHED and event.lane is not None:
            stream = Stream(event.collector, event.epoch, event.lane)
            self.shed[stream] = self.shed.get(stream, Ranges()) | event.ranges

    def _note_record(self, message: Message, known: Known, topics: Topics, ends: Mapping[Partition, int]) -> None:
        headers = Headers.decode(message.headers)
        if message.key != headers.identity.collector.encode() or headers.identity.seq > MOST_SEQ:
            return
        self.seqs.setdefault(headers.identity.stream, set()).add(headers.identity.seq)
        if headers.heartbeat is not None and _is_covered(message, headers, topics, ends):
            entry = known.get(headers.schema)
            if isinstance(entry, KnownSchema):
                self.beats.append(read_beat(entry.schema, entry.codec.decode(message.value or b"")))


def _is_covered(message: Message, headers: Headers, topics: Topics, ends: Mapping[Partition, int]) -> bool:
    """Whether all that a heartbeat calls sent lies before the ends of the collected topics, so that it is looked for.

    The ends of the critical lane were asked first: a heartbeat before them was sent after everything that it counts. One
    that the streams have passed on since then may count records that nobody looks for.
    """
    critical = topics.collected(Lane.CRITICAL)
    if headers.identity.lane is not Lane.CRITICAL:
        return False
    if message.place.topic == critical:
        return True
    return headers.src_offset is not None and headers.src_offset < ends.get((critical, message.place.partition), 0)


def read_spans(kafka: Kafka, spans: Mapping[Partition, Span]) -> Iterator[Message]:
    """Every record of these spans; raises Unreachable when Kafka stalls. What retention removes meanwhile is not there."""
    wanted = {partition: span.following for partition, span in spans.items() if span.first < span.following}
    if not wanted:
        return
    reading = {"auto_offset_reset": "earliest", "isolation_level": "read_uncommitted"}
    consumer = Consumer(reader_config(kafka, name="audit", **reading))
    try:
        consumer.assign([TopicPartition(topic, number, spans[topic, number].first) for topic, number in wanted])
        yield from _read(consumer, wanted)
    finally:
        consumer.close()


def _read(consumer: Consumer, wanted: dict[Partition, int]) -> Iterator[Message]:
    heard = time.monotonic()
    while wanted:
        for got in consumer.consume(num_messages=1000, timeout=0.5):
            heard = time.monotonic()
            partition = str(got.topic()), int(got.partition() or 0)
            error, following = got.error(), int(got.offset() or 0)
            if error is None:
                message = as_message(got)
                if message.place.offset < wanted.get(partition, 0):
                    yield message
                following += 1
            elif error.code() != KafkaError._PARTITION_EOF:
                _check(error)
                continue
            if following >= wanted.get(partition, following + 1):
                del wanted[partition]
        if time.monotonic() - heard > STALL_S:
            raise Unreachable(f"kafka: nothing was read for {STALL_S:g} s, {len(wanted)} partitions are not at their ends")


def _check(error: KafkaError) -> None:
    if error.fatal():
        raise KafkaException(error)
