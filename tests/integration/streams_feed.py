"""Collected records made by hand, the streams as a process of their own, and an independent reading of what they sent."""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from pganalytics.embedded.leash import Child
from pganalytics.runtime.kafka import make_topics, producer_config
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.settings import Kafka, Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.schemas.events import Event, decode_event
from pganalytics.schemas.headers import Headers, HeartbeatFacts, Wire
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.topics import Topics
from waiting import telling

TESTS = Path(__file__).parents[1]
EPOCH = 1024
SCHEMA = "0123456789abcdef"

Answer = TypeVar("Answer")


def now_us() -> int:
    return time.time_ns() // 1000


def installation(bootstrap: str, **streams: Any) -> Settings:
    """Settings of a fresh installation on this broker, whose topics exist."""
    kafka = {"bootstrap": bootstrap, "prefix": f"t{secrets.token_hex(6)}", "partitions": 4, "development": True}
    kafka |= {"replication_factor": 1, "min_insync_replicas": 1}
    settings = Settings.model_validate({"kafka": kafka, "streams": {"http_port": 0, **streams}})
    make_topics(settings.kafka, topics_of(settings).table())
    return settings


def topics_of(settings: Settings) -> Topics:
    return Topics(settings.kafka.prefix, settings.kafka.partitions)


def headers(
    collector: str,
    seq: int,
    *,
    lane: Lane = Lane.NORMAL,
    epoch: int = EPOCH,
    rows: int = 1,
    size: int = 4,
    metric: str = "database",
) -> Headers:
    """Headers as an agent writes them."""
    beat = None
    if metric == "heartbeat":
        beat = HeartbeatFacts(dict.fromkeys(LANES, seq), epochs=(), final=(), up=True, control=0)
    return Headers(Identity(collector, epoch, lane, seq), metric, rows, size, now_us(), SCHEMA, heartbeat=beat)


class Feed:
    """Sends collected records and remembers which were acknowledged."""

    def __init__(self, settings: Settings, **options: object) -> None:
        self.topics = topics_of(settings)
        self.sent: set[Identity] = set()
        config = producer_config(settings.kafka, name="feed", linger_ms=2, message_timeout_ms=0, **options)
        self._producer = Producer(config)

    def record(self, collector: str, seq: int, *, lane: Lane = Lane.NORMAL, value: bytes | None = b"body", **how: Any) -> None:
        """Send a record as an agent would."""
        got = headers(collector, seq, lane=lane, size=len(value or b""), **how)

        def report(error: KafkaError | None, message: object) -> None:
            assert error is None, error
            self.sent.add(got.identity)

        self.raw(self.topics.collected(lane), collector.encode(), value, got.encode(), report)

    def raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        wire: Sequence[tuple[str, bytes | None]],
        report: Callable[..., None] | None = None,
    ) -> None:
        """Send anything."""
        while True:
            try:
                self._producer.produce(topic, key=key, value=value, headers=list(wire), on_delivery=report)
            except BufferError:
                self._producer.poll(0.05)
            else:
                break
        self._producer.poll(0)

    def flush(self, timeout_s: float = 60) -> None:
        """Wait until all is acknowledged."""
        assert self._producer.flush(timeout_s) == 0


@dataclass(frozen=True)
class Got:
    """One record of an output topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Wire
    at_ms: int

    @property
    def decoded(self) -> Headers:
        return Headers.decode(self.headers)

    @property
    def event(self) -> Event:
        return decode_event(self.value or b"")


def read_all(kafka: Kafka, names: Sequence[str]) -> list[Got]:
    """Everything in these topics now, by a plain consumer without a group, in the order of each partition."""
    config = {"bootstrap.servers": kafka.bootstrap, "group.id": "reader", "enable.auto.commit": False}
    consumer = Consumer(config | {"auto.offset.reset": "earliest", "log_level": 0})
    ends = {where: high for where, (low, high) in limits(kafka, names).items() if high > low}
    consumer.assign([TopicPartition(name, number, 0) for name, number in ends])
    got: list[Got] = []
    deadline = time.monotonic() + 60
    while ends and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None or message.error() is not None:
            continue
        wire: Any = message.headers() or []
        key: Any = message.key()
        value: Any = message.value()
        place, offset = (str(message.topic()), int(message.partition() or 0)), int(message.offset() or 0)
        got.append(Got(*place, offset, key, value, wire, message.timestamp()[1]))
        if offset + 1 >= ends.get(place, 0):
            ends.pop(place, None)
    consumer.close()
    assert not ends, "the topics could not be read to their ends"
    return got


def outputs(settings: Settings) -> list[Got]:
    """Everything admitted or deferred."""
    topics = topics_of(settings)
    return read_all(settings.kafka, [*(topics.admitted(lane) for lane in LANES), topics.deferred])


def events(settings: Settings) -> list[Event]:
    """All events."""
    return [got.event for got in read_all(settings.kafka, [topics_of(settings).events])]


def identities(got: Sequence[Got]) -> set[Identity]:
    return {each.decoded.identity for each in got}


def patiently(ask: Callable[[], Answer], timeout_s: float = 20) -> Answer:
    """Ask again while a broker has only just made topics or elected leaders."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except KafkaException:
            assert time.monotonic() < deadline, "the broker does not answer"
            time.sleep(0.2)


def ends(settings: Settings, names: Sequence[str]) -> dict[tuple[str, int], int]:
    """Log ends that are not 0."""
    return {where: end for where, (_, end) in limits(settings.kafka, names).items() if end}


def limits(kafka: Kafka, names: Sequence[str]) -> dict[tuple[str, int], tuple[int, int]]:
    """Log starts and ends."""
    offsets = GroupOffsets(kafka, "ends", name="ends")
    where = [(name, number) for name in names for number in range(kafka.partitions)]
    found = {each: patiently(partial(offsets.limits, *each)) for each in where}
    offsets.close()
    return found


def committed(settings: Settings) -> dict[tuple[str, int], int]:
    """What the streams have committed, where that is not 0."""
    topics = topics_of(settings)
    offsets = GroupOffsets(settings.kafka, f"{settings.kafka.prefix}.streams", name="commits")
    asked = [(topics.collected(lane), number) for lane in LANES for number in range(settings.kafka.partitions)]
    found = patiently(lambda: offsets.committed(asked))
    offsets.close()
    return {where: offset for where, offset in found.items() if offset}


def caught_up(settings: Settings) -> bool:
    """Whether the streams have committed everything that was collected."""
    topics = topics_of(settings)
    return committed(settings) == ends(settings, [topics.collected(lane) for lane in LANES])


class Streams:
    """`pganalytics streams` as a user runs it; `fault` plants one of `integration.streams_faults`."""

    def __init__(self, settings: Settings, folder: Path, fault: str = "", *, workers: int | None = None) -> None:
        self.folder = folder
        self.log = folder / "streams.log"
        config = folder / "streams.toml"
        config.write_text(as_toml(settings), encoding="utf-8")
        how = ["integration.streams_faults", fault] if fault else ["pganalytics.cli"]
        several = [] if workers is None else ["--workers", str(workers)]
        self.command = [sys.executable, "-m", *how, "streams", "--config", str(config), *several]
        self._child: Child | None = None

    def start(self) -> None:
        self._child = Child.start(self.command, env=self.env(), cwd=self.folder, stdout=self.log, name="streams")

    @staticmethod
    def env() -> dict[str, str]:
        """Ours without settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PGANALYTICS_", "KAFKA_"))}
        return {**kept, "PYTHONPATH": str(TESTS)}

    @property
    def child(self) -> Child:
        assert self._child is not None
        return self._child

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM; the exit code."""
        return self.child.terminate(timeout_s)

    def kill(self) -> None:
        self.child.kill()

    @property
    def lives(self) -> bool:
        return self.child.poll() is None

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


@contextmanager
def running(settings: Settings, folder: Path, fault: str = "", *, workers: int | None = None) -> Iterator[Streams]:
    """The streams, at work until the block ends."""
    streams = Streams(settings, folder, fault, workers=workers)
    streams.start()
    try:
        with telling(streams.log):
            yield streams
    finally:
        if streams.lives:
            streams.kill()
