"""What a producer of ours reports as delivered is in the log, also when the partition was made a moment ago."""

import secrets
from collections.abc import Iterator
from itertools import count

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.runtime.kafka import admin, producer_config
from pganalytics.runtime.settings import Kafka
from pganalytics.sink.log_ends import log_ends

PARTITIONS = 150
EACH = 8
ROUNDS = 12
CONTROL_ROUNDS = 120


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """Compiled in two steps, it opens partitions late enough: with five requests in flight every sixth round loses something. A
    broker that is compiled in one step lost nothing in 145."""
    with KafkaBroker.start(tmp_path_factory.mktemp("broker"), java_options=["-XX:TieredStopAtLevel=4"]) as started:
        yield started


def make(client: AdminClient, name: str, partitions: int) -> None:
    """Returns when the controller has decided it; brokers open the partitions a little later."""
    client.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1)])[name].result(timeout=30)


def lost(kafka: Kafka, **options: object) -> int:
    """Of one round: how many records a new producer reports as delivered and the log does not have.

    Its first requests, several for each partition, go out as soon as the partitions are known.
    """
    client, name = admin(kafka), f"t{secrets.token_hex(6)}"
    producer = Producer(
        producer_config(
            kafka, name="test", linger_ms=0, batch_num_messages=1, message_timeout_ms=0, retry_backoff_ms=5, **options
        )
    )
    make(client, f"{name}.known", 1)
    producer.produce(f"{name}.known", b"it has its number now")
    assert producer.flush(30) == 0
    delivered = 0

    def report(error: KafkaError | None, message: object) -> None:
        nonlocal delivered
        assert error is None, error
        delivered += 1

    making = client.create_topics([NewTopic(name, num_partitions=PARTITIONS, replication_factor=1)])[name]
    while True:
        topic = producer.list_topics(timeout=30).topics.get(name)
        if (
            topic is not None
            and len(topic.partitions) == PARTITIONS
            and all(one.leader >= 0 for one in topic.partitions.values())
        ):
            break
    for _ in range(EACH):
        for number in range(PARTITIONS):
            producer.produce(name, b"body", partition=number, on_delivery=report)
    assert producer.flush(60) == 0
    making.result(timeout=30)
    ends = sum(log_ends(client, [(name, number) for number in range(PARTITIONS)], 30).values())
    for each in client.delete_topics([name, f"{name}.known"]).values():
        each.result(timeout=30)
    assert delivered == EACH * PARTITIONS
    return delivered - ends


def test_what_is_reported_is_there(broker: KafkaBroker) -> None:
    settings = Kafka(bootstrap=broker.bootstrap)
    assert [lost(settings) for _ in range(ROUNDS)] == [0] * ROUNDS


def test_control_five_in_flight_lose_what_they_report(broker: KafkaBroker) -> None:
    settings = Kafka(bootstrap=broker.bootstrap)
    for tried in count(1):
        if lost(settings, max_in_flight=5):
            break
        assert tried < CONTROL_ROUNDS, "nothing was lost: does the broker refuse it now? See decision 0030"
