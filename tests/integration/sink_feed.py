"""What the streams would hand to the sink, made by hand; and a sink that runs in this process."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from integration.streams_feed import patiently
from pganalytics.runtime.kafka import client_config, producer_config
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.events import Event
from pganalytics.schemas.headers import Headers, HeartbeatFacts, Wire
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.metric import MetricSchema, builtin_schemas
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import MAX_MESSAGE_BYTES, Topics
from pganalytics.sink import service, store

EPOCH = 1024
DAY_US = 86_400_000_000


def now_us() -> int:
    return time.time_ns() // 1000


def blank(schema: MetricSchema) -> dict[str, Any]:
    """A record with all fields zero and no rows."""
    zeros = {"long": 0, "double": 0.0, "string": "", "boolean": False}
    values: dict[str, Any] = {"collected_at": now_us(), "since": now_us() - 5_000_000, "part": 1, "parts": 1}
    return values | {f.name: [] if f.is_array else zeros[f.primitive] for f in schema.fields}


@dataclass(frozen=True)
class Record:
    """One Kafka record."""

    key: bytes | None
    value: bytes | None
    headers: Wire

    def header(self, name: str, value: bytes) -> "Record":
        """The same with one header replaced."""
        return replace(self, headers=[(each, value if each == name else old) for each, old in self.headers])


def record(
    collector: str,
    seq: int,
    *,
    lane: Lane = Lane.NORMAL,
    epoch: int = EPOCH,
    schema: MetricSchema | None = None,
    appended_at_us: int | None = None,
    **values: Any,
) -> Record:
    """A record of `database` (or of `schema`) with two rows unless `values` say otherwise."""
    schema = schema or builtin_schemas()["database"]
    defaults: dict[str, Any] = {"datid": [1, 2], "datname": ["a", "\0"], "xact_commit": [seq, 0]}
    body = blank(schema) | (defaults if schema.name == "database" else {}) | values
    return _record(schema, Identity(collector, epoch, lane, seq), body, None, appended_at_us)


def heartbeat(
    collector: str,
    seq: int,
    emitted: Mapping[Lane, int],
    *,
    epoch: int = EPOCH,
    unsent: Iterable[tuple[int, Lane, int, int]] = (),
    old: Iterable[tuple[int, tuple[int, int, int], bool]] = (),
    final: bool = False,
    appended_at_us: int | None = None,
    **values: Any,
) -> Record:
    """A heartbeat. `unsent`: epoch, lane, low, high. `old`: epoch, emitted by lane, final."""
    schema = builtin_schemas()["heartbeat"]
    old, unsent = list(old), list(unsent)
    counts = {lane: emitted.get(lane, 0) for lane in LANES}
    counts[Lane.CRITICAL] = max(counts[Lane.CRITICAL], seq)
    body = blank(schema) | {f"emitted_{lane}": counts[lane] for lane in LANES} | {"final": final, "spool_id": "spool", "up": True}
    body |= {"old_epoch": [each for each, _, _ in old], "old_final": [done for _, _, done in old]}
    for place, lane in enumerate(LANES):
        body[f"old_emitted_{lane}"] = [highest[place] for _, highest, _ in old]
    for place, name in enumerate(("unsent_epoch", "unsent_lane", "unsent_low", "unsent_high")):
        body[name] = [str(each[place]) if name == "unsent_lane" else each[place] for each in unsent]
    facts = HeartbeatFacts(
        emitted=counts,
        epochs=tuple(each for each, _, _ in old),
        final=tuple([epoch] if final else []) + tuple(each for each, _, done in old if done),
        up=True,
        control=0,
    )
    return _record(schema, Identity(collector, epoch, Lane.CRITICAL, seq), body | values, facts, appended_at_us)


def _record(
    schema: MetricSchema, identity: Identity, body: dict[str, Any], facts: HeartbeatFacts | None, appended_at_us: int | None
) -> Record:
    codec = RecordCodec(schema)
    value = codec.assemble(identity, codec.encode_rest(body))
    headers = Headers(
        identity=identity,
        metric=schema.name,
        rows=schema.row_count(body),
        size=len(value),
        collected_at_us=body["collected_at"],
        schema=schema.id,
        heartbeat=facts,
        appended_at_us=appended_at_us,
        src_offset=0 if appended_at_us is not None else None,
    )
    return Record(identity.collector.encode(), value, headers.encode())


def event_record(event: Event) -> Record:
    return Record(event.collector.encode(), event.encode(), [])


@dataclass
class Feed:
    """Sends records to an installation's topics."""

    settings: Settings
    topics: Topics = field(init=False)
    _producer: Producer = field(init=False)

    def __post_init__(self) -> None:
        self.topics = Topics(self.settings.kafka.prefix, self.settings.kafka.partitions)
        self._producer = Producer(
            producer_config(self.settings.kafka, name="feed", linger_ms=5, message_max_bytes=MAX_MESSAGE_BYTES)
        )

    def send(self, topic: str, *records: Record) -> None:
        """Returns when all are acknowledged."""
        failed: list[object] = []
        for each in records:
            while True:
                try:
                    self._producer.produce(
                        topic,
                        key=each.key,
                        value=each.value,
                        headers=list(each.headers),
                        on_delivery=lambda error, _: failed.append(error) if error else None,
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        assert self._producer.flush(30) == 0
        assert not failed, failed

    def admit(self, *records: Record, lane: Lane = Lane.NORMAL) -> None:
        self.send(self.topics.admitted(lane), *records)


def commit_as_streams(settings: Settings, lanes: Iterable[Lane] = LANES) -> None:
    """The streams have finished all that is collected in these lanes."""
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    consumer = Consumer(client_config(settings.kafka, name="test", group_id=f"{topics.prefix}.streams"))
    places = [TopicPartition(topics.collected(lane), number) for lane in lanes for number in range(topics.partitions)]
    for place in places:
        place.offset = patiently(lambda place=place: consumer.get_watermark_offsets(place, timeout=10))[1]  # type: ignore[misc]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


class Store:
    """Questions to the store."""

    def __init__(self, settings: Settings) -> None:
        self.conninfo = conninfo(settings.store, connect_timeout=5)

    def ask(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            return connection.execute(text.encode(), parameters).fetchall()

    def one(self, text: str, *parameters: object) -> Any:
        return self.ask(text, *parameters)[0][0]

    def run(self, text: str, *parameters: object) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(text.encode(), parameters)

    def stored(self, collector: str | None = None) -> int:
        """Records that the ledger calls stored."""
        return int(
            self.one(
                "select coalesce(sum(upper(r) - lower(r)), 0) from pganalytics.ledger l, unnest(l.stored) r "
                "where %s::text is null or collector = %s::text",
                collector,
                collector,
            )
        )

    def seqs(self, column: str, collector: str, lane: Lane = Lane.NORMAL, epoch: int = EPOCH) -> Ranges:
        """A column of one ledger row."""
        found = self.ask(
            f"select lower(r), upper(r) - 1 from pganalytics.ledger l, unnest(l.{column}) r "
            "where (collector, epoch, lane) = (%s, %s, %s)",
            collector,
            epoch,
            lane.value,
        )
        return Ranges.of((low, high) for low, high in found)


@contextmanager
def running_sink(settings: Settings) -> Iterator[Lifecycle]:
    """A sink in this process; its failure fails the test."""
    store.set_up(settings)
    with running_services(settings) as lifecycles:
        yield lifecycles[0]


@contextmanager
def running_services(*each: Settings) -> Iterator[list[Lifecycle]]:
    """Several sinks in this process, on stores that are set up."""
    lifecycles = [Lifecycle() for _ in each]
    failures: list[BaseException] = []

    def body(settings: Settings, lifecycle: Lifecycle) -> None:
        try:
            service.run(settings, lifecycle)
        except BaseException as error:  # noqa: BLE001  (shown by the test)
            failures.append(error)

    threads = [threading.Thread(target=body, args=pair) for pair in zip(each, lifecycles, strict=True)]
    for thread in threads:
        thread.start()
    try:
        yield lifecycles
    finally:
        for lifecycle in lifecycles:
            lifecycle.request_stop("test is over")
        for thread in threads:
            thread.join(40)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures, failures
