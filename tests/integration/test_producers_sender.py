"""The sender on a real broker: what it refuses, what it loses when it goes away, and what the headers say."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from confluent_kafka import Producer

from integration.producers_feed import assert_contiguous, collected
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.producers.meters import Meters
from pganalytics.producers.records import Record, Snapshot
from pganalytics.producers.sender import Sender
from pganalytics.producers.spool import Spool
from pganalytics.runtime.kafka import make_topics, producer_config
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Kafka, Settings
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.topics import Topics
from waiting import until

DATABASE = builtin_schemas()["database"]
CODEC = RecordCodec(DATABASE)


def snapshot(size: int = 10) -> Snapshot:
    """A record of about `size` bytes that do not compress."""
    values: dict[str, object] = {field.name: [] for field in DATABASE.fields}
    values |= {"reset": "", "datid": [1], "datname": [secrets.token_urlsafe(size)]}
    rest = CODEC.encode_rest(values | {"collected_at": 1, "since": 1, "part": 1, "parts": 1})
    return Snapshot(Record("a", 100, DATABASE, rest, 1, 1), None)


@contextmanager
def sending(kafka: Kafka, spool: Spool, counted: list[tuple[str, str]] | None = None, **options: object) -> Iterator[None]:
    """A sender in its thread."""
    producer = Producer(producer_config(kafka, name="test", **options))
    sender = Sender(spool, Topics(kafka.prefix, kafka.partitions), producer, Meters(build_measurements(Service.COLLECT)))
    if counted is not None:
        sender.count = lambda collector, what: counted.append((collector, what))
    thread = threading.Thread(target=sender.run)
    thread.start()
    try:
        yield
    finally:
        sender.finish()
        thread.join(10)
        assert not thread.is_alive()


def test_a_record_that_the_broker_refuses_for_good_goes_as_a_stub_and_no_other(settings: Settings, tmp_path: Path) -> None:
    """Thirty records in one batch, of which one is too large: the broker refuses all of them together."""
    kafka = settings.kafka.model_copy(update={"prefix": f"{settings.kafka.prefix}.small"})
    topics = Topics(kafka.prefix, kafka.partitions)
    small = {"max.message.bytes": "4000"}
    make_topics(kafka, [replace(one, config={**one.config, **small}) if one.lane else one for one in topics.table()])
    spool = Spool.open(tmp_path / "spool")
    spool.start_epoch("a", 100)
    made = spool.append_many([snapshot(5000 if number == 11 else 10) for number in range(30)])
    counted: list[tuple[str, str]] = []
    with sending(kafka, spool, counted):
        until(lambda: spool.usage == (0, 0))
    arrived = collected(kafka)
    assert sorted((one.headers.identity for one in arrived), key=lambda who: who.seq) == made
    stubs = [(one.headers.identity.seq, one.headers.error) for one in arrived if one.headers.error is not None]
    assert stubs == [(12, "MSG_SIZE_TOO_LARGE")]
    assert counted == [("a", "stubs.MSG_SIZE_TOO_LARGE")]
    spool.close()


def test_records_through_two_deaths_of_the_broker(settings: Settings, tmp_path: Path) -> None:
    """Messages time out and are sent again with their identities: none is missing, and the spool is empty at the end."""
    with KafkaBroker.start(tmp_path / "broker") as broker:
        kafka = settings.kafka.model_copy(update={"bootstrap": broker.bootstrap})
        make_topics(kafka, Topics(kafka.prefix, kafka.partitions).table())
        spool = Spool.open(tmp_path / "spool")
        spool.start_epoch("a", 100)
        with sending(kafka, spool, message_timeout_ms=2000):
            for turn in range(3):
                spool.append_many([snapshot(200) for _ in range(500)])
                if turn < 2:
                    broker.kill()
                    spool.append(snapshot())
                    broker.start_again()
            until(lambda: spool.usage == (0, 0), 60)
        arrived = collected(kafka)
        assert list(assert_contiguous(arrived).values()) == [1502]
        spool.close()
