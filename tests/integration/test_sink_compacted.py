"""A compacted topic is read to its end, each time only what is new."""

import secrets
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from integration.sink_feed import Feed, Record
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.kafka import admin
from pganalytics.runtime.settings import Settings
from waiting import until


@pytest.fixture
def topic(settings: Settings) -> str:
    name = f"{settings.kafka.prefix}.compacted.{secrets.token_hex(3)}"
    make(settings, name)
    return name


def make(settings: Settings, name: str) -> None:
    """Create the topic; one that the broker is still deleting is waited for."""
    client = admin(settings.kafka)
    new = NewTopic(name, num_partitions=1, replication_factor=1, config={"cleanup.policy": "compact"})
    for _ in range(100):
        error = client.create_topics([new])[name].exception(20)
        if not isinstance(error, KafkaException) or error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            break
        time.sleep(0.1)
    assert error is None


@pytest.fixture
def reader(settings: Settings, topic: str) -> Iterator[CompactedReader]:
    with CompactedReader(settings.kafka, topic, name="test") as opened:
        yield opened


def test_the_newest_value_of_each_key(settings: Settings, topic: str, reader: CompactedReader) -> None:
    feed = Feed(settings)
    assert reader.read_to_end(10) == {}
    feed.send(topic, Record(b"a", b"1", []), Record(b"b", b"2", []), Record(b"a", b"3", []))
    assert reader.read_to_end(10) == {b"a": b"3", b"b": b"2"}
    feed.send(topic, Record(b"b", None, []), Record(b"c", b"4", []))
    assert reader.read_to_end(10) == {b"a": b"3", b"c": b"4"}
    assert reader.read_to_end(10) == {b"a": b"3", b"c": b"4"}


def test_an_answer_is_a_copy(settings: Settings, topic: str, reader: CompactedReader) -> None:
    Feed(settings).send(topic, Record(b"a", b"1", []))
    first = reader.read_to_end(10)
    Feed(settings).send(topic, Record(b"a", b"2", []))
    reader.read_to_end(10)
    assert first == {b"a": b"1"}


def test_what_is_refused_counts_as_not_written(settings: Settings, topic: str) -> None:
    """Values and deletions; the last one that was accepted stays, whether they were read together or one by one."""
    records = [Record(b"a", value, []) for value in (b"1", b"bad", b"2", b"bad", None, b"bad")]
    with CompactedReader(settings.kafka, topic, name="test", accept=lambda key, value: value != b"bad") as reader:
        told = []
        for each in records:
            Feed(settings).send(topic, each)
            told.append(reader.read_to_end(10))
    assert told == [{b"a": b"1"}, {b"a": b"1"}, {b"a": b"2"}, {b"a": b"2"}, {}, {}]
    with CompactedReader(settings.kafka, topic, name="test", accept=lambda key, value: value is not None) as reader:
        assert reader.read_to_end(10) == {b"a": b"bad"}


def test_a_topic_that_is_made_anew_is_read_anew(settings: Settings, topic: str, reader: CompactedReader) -> None:
    Feed(settings).send(topic, *(Record(b"old%d" % number, b"1", []) for number in range(5)))
    assert len(reader.read_to_end(10)) == 5
    client = admin(settings.kafka)
    client.delete_topics([topic])[topic].result(20)
    make(settings, topic)
    Feed(settings).send(topic, Record(b"new", b"1", []))
    until(lambda: reader.read_to_end(10) == {b"new": b"1"})


def test_a_broker_that_is_gone_is_unreachable(settings: Settings, kafka: KafkaBroker) -> None:
    gone = settings.kafka.model_copy(update={"bootstrap": "127.0.0.1:1"})
    with CompactedReader(gone, "t", name="test") as reader, pytest.raises(Unreachable, match="topic t: its end cannot be asked"):
        reader.read_to_end(1)
