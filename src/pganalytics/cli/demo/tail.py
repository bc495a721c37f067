"""Counts what passes through the topics, by reading headers as any consumer may: no group, no influence on the services."""

import threading
from collections import Counter
from contextlib import suppress

from confluent_kafka import Consumer, TopicPartition

from pganalytics.runtime.kafka import client_config
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.errors import HeaderError
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Role, Topics

COLLECTED, ADMITTED = "collected", "admitted"


class TopicTail:
    """Records and rows seen so far, by stage; and the offsets reached. One thread reads, any may ask."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
        self._stages = {self._topics.collected(lane): COLLECTED for lane in LANES}
        self._stages |= {self._topics.admitted(lane): ADMITTED for lane in LANES} | {self._topics.deferred: ADMITTED}
        self._lock = threading.Lock()
        self._records: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._reached: dict[tuple[str, int], int] = {}

    def start(self, lifecycle: Lifecycle) -> None:
        """Read until the lifecycle stops."""
        lifecycle.spawn("demo-tail", lambda: self._read(lifecycle))

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Records and rows by stage."""
        with self._lock:
            return dict(self._records), dict(self._rows)

    def reached(self) -> dict[tuple[str, int], int]:
        """Next offset by (topic, partition); the events topic is among them."""
        with self._lock:
            return dict(self._reached)

    def _read(self, lifecycle: Lifecycle) -> None:
        consumer = Consumer(client_config(self._settings.kafka, name="demo-tail", group_id="demo-tail", enable_auto_commit=False))
        wanted = [topic for topic in self._topics.table() if topic.role not in (Role.COMPACTED, Role.DEAD_LETTER)]
        consumer.assign([TopicPartition(topic.name, part, 0) for topic in wanted for part in range(topic.partitions)])
        while not lifecycle.stopping:
            for message in consumer.consume(500, timeout=0.2):
                if message.error() is None:
                    self._count(
                        str(message.topic()), int(message.partition() or 0), int(message.offset() or 0), message.headers()
                    )
        consumer.close()

    def _count(self, topic: str, partition: int, offset: int, wire: object) -> None:
        rows = 0
        with suppress(HeaderError):
            rows = Headers.decode(wire).rows  # type: ignore[arg-type]  # the client says list | dict
        with self._lock:
            self._reached[topic, partition] = offset + 1
            if topic in self._stages:
                self._records[self._stages[topic]] += 1
                self._rows[self._stages[topic]] += rows
