"""Reads the admitted topics as any consumer may: in no group, committing nothing, from a moment in the past. For one thread.

The broker is spared: one pass over what was admitted in that time, bounded in records, and what comes from then on.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pganalytics.cli.top.records import SHOWN, Decoder, Seen
from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.kafka import UNREACHABLE, admin, reader_config, topic_problems
from pganalytics.runtime.settings import Kafka
from pganalytics.schemas.errors import HeaderError
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import MAX_MESSAGE_BYTES, Topics
from pganalytics.sink.catalogue import texts
from pganalytics.sink.log_ends import log_ends, log_offsets_at
from pganalytics.sink.records import Partition

MOST_BACK = 500_000
"""Records of the past that are read, over all partitions."""
BATCH = 500
SCHEMAS_S = 3.0
STALL_S = 5.0
"""When nothing was read for longer (the process slept), what comes in as long again is taken to have waited in the topic."""
NOT_READABLE = ("`pganalytics setup`", "kafka.partitions")
"""Parts of what is said of topics that are not there, or have another number of partitions."""
ASK_S, ASK_EVERY_S = 0.5, 3.0
REFUSED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART})


class Reader:
    """`away_since`: since when Kafka does not answer (time.monotonic), None while it does. `shortened`: more lies in the past
    that was asked for than what is read."""

    def __init__(self, kafka: Kafka, *, since_ms: int) -> None:
        """Raises Unreachable."""
        self.away_since: float | None = None
        topics = Topics(kafka.prefix, kafka.partitions)
        names = [*(topics.admitted(lane) for lane in LANES), topics.deferred]
        wanted = [topic for topic in topics.table() if topic.name in names]
        problems = topic_problems(kafka, wanted)
        if wrong := [problem for problem in problems if any(cure in problem for cure in NOT_READABLE)]:
            raise Unreachable("\n".join(wrong))
        partitions = [(topic.name, number) for topic in wanted for number in range(topic.partitions)]
        starts, ends, self.shortened = _span(kafka, partitions, since_ms)
        self._behind = {where: end for where, end in ends.items() if starts[where] < end}
        self._decoder = Decoder()
        self._schemas = CompactedReader(kafka, topics.schemas, name="top-schemas")
        self._asked_at = 0.0
        self._polled_at, self._late_until = time.monotonic(), 0.0
        self._consumer = Consumer(self._config(kafka))
        self._consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in starts.items()])

    @property
    def caught_up(self) -> bool:
        """Whether all was read that there was when reading began."""
        return not self._behind

    def read(self, timeout_s: float) -> list[Seen]:
        """What has come, once `timeout_s` has passed or there is much of it. Raises Unreachable, KafkaException."""
        found = []
        now = time.monotonic()
        if now - self._polled_at > STALL_S:
            self._late_until = now + STALL_S
        self._polled_at = now
        for message in self._consumer.consume(num_messages=BATCH, timeout=timeout_s):
            if (error := message.error()) is not None:
                self._heed(message, error)
                continue
            self.away_since = None
            if (seen := self._seen(message)) is not None:
                found.append(seen)
            self._reached(message, int(message.offset() or 0) + 1)
        self._ask_whether_it_is_back()
        return found

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
        self._schemas.close()

    def _config(self, kafka: Kafka) -> dict[str, Any]:
        config = reader_config(
            kafka,
            name="top",
            auto_offset_reset="latest",
            isolation_level="read_uncommitted",
            fetch_message_max_bytes=MAX_MESSAGE_BYTES,
            queued_min_messages=1000,
            queued_max_messages_kbytes=16 * 1024,
        )
        return config | {"error_cb": _first(self._hear, config["error_cb"])}

    def _hear(self, error: KafkaError) -> None:
        if error.code() in UNREACHABLE and self.away_since is None:
            self.away_since = time.monotonic()

    def _heed(self, message: Message, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._reached(message, int(message.offset() or 0))
        elif error.fatal():
            raise KafkaException(error)
        elif error.code() in REFUSED:
            raise Unreachable(f"topic {message.topic()}: {error.str()}") from KafkaException(error)

    def _reached(self, message: Message, following: int) -> None:
        where = str(message.topic()), int(message.partition() or 0)
        if following >= self._behind.get(where, following + 1):
            del self._behind[where]

    def _seen(self, message: Message) -> Seen | None:
        wire: Any = message.headers()
        try:
            headers = Headers.decode(wire)
        except HeaderError:
            return None
        key, value = message.key(), message.value()
        if headers.metric not in SHOWN or key != headers.identity.collector.encode() or not isinstance(value, bytes):
            return None
        self._learn(headers.schema)
        now_us, appended_us = time.time_ns() // 1000, max(0, message.timestamp()[1]) * 1000
        waited = (str(message.topic()), int(message.partition() or 0)) in self._behind or self._polled_at < self._late_until
        heard_us = min(now_us, appended_us) if waited else now_us
        return self._decoder.decode(headers, value, appended_us=appended_us, heard_us=heard_us)

    def _learn(self, schema: str) -> None:
        """Agents publish a schema before its first record, so what the topic lacks now it will not get for this record."""
        if not self._decoder.wants(schema):
            return
        try:
            found = self._schemas.read_to_end(SCHEMAS_S)
        except Unreachable:  # the next record asks again
            return
        self._decoder.learn(texts(found), [schema])

    def _ask_whether_it_is_back(self) -> None:
        """A client tells that the broker went away, never that it is back; where nothing comes somebody has to ask."""
        now = time.monotonic()
        if self.away_since is None or now - self._asked_at < ASK_EVERY_S:
            return
        self._asked_at = now
        where = self._consumer.assignment()[0]
        try:
            if self._consumer.get_watermark_offsets(where, timeout=ASK_S) is not None:
                self.away_since = None
        except KafkaException:
            return


def _span(
    kafka: Kafka, partitions: Iterable[Partition], since_ms: int
) -> tuple[dict[Partition, int], dict[Partition, int], bool]:
    """From where to read, the ends as they were before that was asked, and whether the past was shortened."""
    client = admin(kafka)
    ends = log_ends(client, partitions, kafka.timeout_s)
    found = log_offsets_at(client, ends, at_ms=since_ms, timeout_s=kafka.timeout_s)
    most = max(1, MOST_BACK // len(ends))
    starts = {where: min(end, max(found.get(where, end), end - most)) for where, end in ends.items()}
    return starts, ends, any(found.get(where, start) < start for where, start in starts.items())


def _first(own: Callable[[KafkaError], None], then: Callable[[KafkaError], None]) -> Callable[[KafkaError], None]:
    def both(error: KafkaError) -> None:
        own(error)
        then(error)

    return both
