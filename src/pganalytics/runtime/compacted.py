"""A compacted topic of one partition, read whole: to its end, by a plain consumer that is in no group and commits nothing."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.kafka import reader_config
from pganalytics.runtime.settings import Kafka

Accept = Callable[[bytes, bytes | None], bool]

POLL_S = 0.2
RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class Entry:
    """The newest value of a key, and when the broker appended it, in microseconds."""

    value: bytes
    appended_us: int


class CompactedReader:
    """The newest value of every key. It remembers its position, so each read costs only what is new. For one thread.

    A topic that is shorter than the position was made anew: it is read from its start, and what it held before is forgotten.
    `accept` is asked of each record, of a deletion with None for the value. What it refuses counts as not written: the value
    before stays. Compaction does not know that, so a reader that starts later may find no value at all.
    """

    def __init__(self, kafka: Kafka, topic: str, *, name: str, accept: Accept | None = None) -> None:
        self.topic = topic
        self._accept = accept
        self._consumer = Consumer(reader_config(kafka, name=name, auto_offset_reset="earliest"))
        self._next = -1
        self._entries: dict[bytes, Entry] = {}

    def read_to_end(self, timeout_s: float) -> Mapping[bytes, bytes]:
        """All keys and values up to the end that the topic has when this is called; raises Unreachable.

        A key that was deleted (null value) is absent.
        """
        return {key: entry.value for key, entry in self.read_entries(timeout_s).items()}

    def read_entries(self, timeout_s: float) -> Mapping[bytes, Entry]:
        """The same with the times at which they were appended."""
        deadline = time.monotonic() + timeout_s
        start, end = self._bounds(deadline)
        if self._next < start or self._next > end:
            self._entries.clear()
            self._next = start
            self._consumer.assign([TopicPartition(self.topic, 0, start)])
        while self._next < end:
            if time.monotonic() > deadline:
                raise Unreachable(f"topic {self.topic}: its end was not reached within {timeout_s:g} s")
            message = self._consumer.poll(POLL_S)
            if message is not None:
                self._take(message)
        return dict(self._entries)

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _bounds(self, deadline: float) -> tuple[int, int]:
        """Start and end of the log. A topic that was made a moment ago is not known to every broker yet: asked again."""
        while True:
            left_s = max(0.1, deadline - time.monotonic())
            try:
                bounds = self._consumer.get_watermark_offsets(TopicPartition(self.topic, 0), timeout=left_s)
                reason = "no answer"
            except KafkaException as error:
                bounds, reason = None, error.args[0].str()
            if bounds is not None:
                return bounds[0], bounds[1]
            if time.monotonic() >= deadline:
                raise Unreachable(f"topic {self.topic}: its end cannot be asked: {reason}")
            time.sleep(RETRY_S)

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            key, value = message.key(), message.value()
            if isinstance(key, bytes):
                self._note(key, value if isinstance(value, bytes) else None, message.timestamp()[1] * 1000)
            self._next = int(message.offset() or 0) + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            self._next = max(self._next, int(message.offset() or 0))  # compaction may have removed the last offsets
        elif error.fatal():
            raise KafkaException(error)

    def _note(self, key: bytes, value: bytes | None, appended_us: int) -> None:
        if self._accept is not None and not self._accept(key, value):
            return
        if value is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = Entry(value, appended_us)
