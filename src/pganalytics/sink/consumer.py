"""What the sink reads: a Kafka consumer whose places come from the store, with one bounded queue per topic.

For one thread. A full queue pauses its topic, so that a backlog of one lane neither fills the memory nor keeps the others
away. After an assignment the consumer reads nothing until `start_at` says from where: Kafka's own offsets are for lag
tools, and decide nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from pganalytics.runtime.kafka import client_config
from pganalytics.runtime.lag import Progress
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.topics import MAX_MESSAGE_BYTES, Topics
from pganalytics.sink.continuity import Continuity, Step
from pganalytics.sink.queues import BATCH_BYTES, TopicQueue
from pganalytics.sink.records import Message, Partition, Place, Span
from pganalytics.sink.shares import shares, weights

logger = logging.getLogger(__name__)

OUT_OF_RANGE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


def group_of(topics: Topics) -> str:
    """The sink's consumer group."""
    return f"{topics.prefix}.sink"


class RecordConsumer:
    """Reads the admitted topics and the events. `generation` changes whenever what was taken before is void; `progress` hears how
    far the store is."""

    def __init__(self, settings: Settings, topics: Topics, progress: Progress) -> None:
        self.generation = 0
        self.astray = False
        self._progress = progress
        self._weights = weights(topics)
        self._queues = {topic: TopicQueue(most=2 * settings.sink.batch_records) for topic in self._weights}
        self._reading: dict[Partition, Continuity] = {}
        self._taken: dict[Partition, int] = {}
        self._news = OnChange()
        self._consumer = Consumer(_config(settings, topics))
        self._consumer.subscribe(list(self._weights), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    @property
    def assignment(self) -> tuple[Partition, ...]:
        """The partitions that are this consumer's."""
        return tuple(sorted(self._reading))

    @property
    def waiting(self) -> int:
        """Records in the queues."""
        return sum(len(queue) for queue in self._queues.values())

    def poll(self, timeout_s: float) -> None:
        """Keep the membership and fill the queues, for at most `timeout_s`. Raises KafkaException when the client is broken."""
        for message in self._consumer.consume(num_messages=500, timeout=timeout_s):
            if (error := message.error()) is not None:
                self._complain(error)
            else:
                self._sort(message)
        self._pause_full()

    def start_at(self, offsets: Mapping[Partition, int]) -> None:
        """Read the whole assignment from these offsets; everything read before is dropped."""
        self._drop()
        for partition, offset in offsets.items():
            self._reading[partition] = self._reading[partition].moved(offset)
            self._taken[partition] = offset
        self._progress.begin(offsets)
        places = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        self._consumer.assign(places)
        self._consumer.resume(places)
        self.astray = False

    def stray(self) -> None:
        """What was read is void: read nothing until `start_at`."""
        self._drop()
        self.astray = bool(self._reading)
        self._consumer.assign([])

    def take(self, most: int) -> tuple[dict[Partition, Span], list[Message]]:
        """At most `most` records of all topics by weight (at least one of each that has some), with what they cover."""
        waiting = {topic: len(queue) for topic, queue in self._queues.items() if len(queue)}
        taken: list[Message] = []
        for topic, count in shares(waiting, most, self._weights).items():
            taken += self._queues[topic].take(count, BATCH_BYTES * count // most)
        self._resume_drained()
        return self._cover(taken), taken

    def commit(self, spans: Mapping[Partition, Span]) -> None:
        """Tell Kafka how far the store is, without waiting."""
        self._progress.moved({partition: span.following for partition, span in spans.items()})
        offsets = [TopicPartition(topic, number, span.following) for (topic, number), span in spans.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            if self._news.is_news("commit", error.args[0].name()):
                logger.warning("offsets not committed", extra={"error": error.args[0].name()})

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _cover(self, taken: Sequence[Message]) -> dict[Partition, Span]:
        spans: dict[Partition, Span] = {}
        for message in taken:
            partition = message.place.topic, message.place.partition
            first = spans[partition].first if partition in spans else self._taken[partition]
            spans[partition] = Span(first, message.place.offset + 1)
        self._taken |= {partition: span.following for partition, span in spans.items()}
        return spans

    def _sort(self, got: KafkaMessage) -> None:
        message = as_message(got)
        partition = message.place.topic, message.place.partition
        if self.astray or partition not in self._reading:
            return
        self._reading[partition], step = self._reading[partition].step(message.place.offset)
        if step is Step.TAKE:
            self._queues[message.place.topic].push(message)
        elif step is Step.SEEK:
            logger.warning("records were skipped", extra={"topic": partition[0], "partition": partition[1]})
            self.stray()

    def _complain(self, error: KafkaError) -> None:
        if error.fatal():
            raise KafkaException(error)
        if error.code() in OUT_OF_RANGE:
            self.stray()
        elif self._news.is_news("consumer", error.name()):
            logger.warning("kafka consumer", extra={"error": error.name(), "reason": error.str()})

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign([])  # nothing is read before the store has said from where
        self._drop()
        self._reading = {(part.topic, part.partition): Continuity(-1) for part in partitions}
        self._taken = {}
        self._progress.begin({})
        self.astray = bool(partitions)
        logger.info("partitions assigned", extra={"partitions": len(partitions)})

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        del consumer, partitions  # the eager protocol takes all of them
        self._drop()
        self._reading = {}
        self._taken = {}
        self._progress.begin({})
        self.astray = False

    def _drop(self) -> None:
        self.generation += 1
        for queue in self._queues.values():
            queue.clear()

    def _partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(name, number) for name, number in self._reading if name == topic]

    def _pause_full(self) -> None:
        for topic, queue in self._queues.items():
            if queue.is_full and not queue.paused:
                self._consumer.pause(self._partitions(topic))
                queue.paused = True

    def _resume_drained(self) -> None:
        for topic, queue in self._queues.items():
            if queue.is_half_empty and queue.paused:
                self._consumer.resume(self._partitions(topic))
                queue.paused = False


def as_message(got: KafkaMessage) -> Message:
    """A record as the pure parts want it."""
    key, value = got.key(), got.value()
    place = Place(str(got.topic()), int(got.partition() or 0), int(got.offset() or 0), max(0, got.timestamp()[1]) * 1000)
    headers: Sequence[tuple[str, Any]] = got.headers() or ()  # type: ignore[assignment]
    return Message(
        place,
        key if isinstance(key, bytes) else None,
        value if isinstance(value, bytes) else None,
        tuple((name, data if isinstance(data, bytes) else None) for name, data in headers),
    )


def _config(settings: Settings, topics: Topics) -> dict[str, Any]:
    session_ms = int(settings.sink.session_timeout_s * 1000)
    return client_config(
        settings.kafka,
        name="sink",
        group_id=group_of(topics),
        partition_assignment_strategy="range",  # one partition number of all topics together: a collector stays in one sink
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // 3,
        enable_auto_commit=False,
        enable_auto_offset_store=False,
        auto_offset_reset="error",
        isolation_level="read_uncommitted",
        fetch_message_max_bytes=MAX_MESSAGE_BYTES,
        fetch_wait_max_ms=100,
        queued_min_messages=1000,
        queued_max_messages_kbytes=32 * 1024,
    )
