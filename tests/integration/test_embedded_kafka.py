"""A real Kafka broker, here for a test and gone after it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pganalytics.embedded.errors import PortInUse
from pganalytics.embedded.kafka import KafkaBroker, kafka_broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    options = {"message.max.bytes": "2000000"}
    with KafkaBroker.start(tmp_path_factory.mktemp("kafka"), options=options) as broker:
        yield broker


def create(broker: KafkaBroker, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(10)


def produce(broker: KafkaBroker, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "message.timeout.ms": 20_000})
    errors: list[object] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _message: errors.append(error))
    assert producer.flush(25) == 0
    assert errors == [None] * len(values)


def consume(broker: KafkaBroker, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "test", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = consumer.consume(count, timeout=20)
        return [message.value() for message in found if not message.error()]
    finally:
        consumer.close()


def test_records_survive_a_kill_and_a_restart_on_the_same_port(broker: KafkaBroker) -> None:
    create(broker, "kept")
    produce(broker, "kept", [b"one", b"two"])
    assert consume(broker, "kept", 2) == [b"one", b"two"]
    bootstrap, pid = broker.bootstrap, broker.pid
    broker.kill()
    assert not broker.is_running
    broker.start_again()
    assert broker.bootstrap == bootstrap
    assert broker.pid != pid
    produce(broker, "kept", [b"three"])
    broker.restart()
    assert consume(broker, "kept", 3) == [b"one", b"two", b"three"]


def test_options_replace_ours(broker: KafkaBroker) -> None:
    create(broker, "large")
    producer = Producer({"bootstrap.servers": broker.bootstrap, "message.max.bytes": 3_000_000})
    errors: list[object] = []
    producer.produce("large", b"x" * 1_900_000, on_delivery=lambda error, _message: errors.append(error))
    producer.flush(20)
    assert errors == [None]


def test_a_suspended_broker_answers_nothing_until_it_is_resumed(broker: KafkaBroker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    broker.suspend()
    try:
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=1.0)
        assert broker.is_running
    finally:
        broker.resume()
    assert admin.list_topics(timeout=20.0).brokers


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc")
def open_files(broker: KafkaBroker) -> set[str]:
    targets = set()
    for descriptor in Path(f"/proc/{broker.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            targets.add(str(descriptor.readlink()))
    return targets


def test_broker_and_controller_listen_on_loopback_only(broker: KafkaBroker) -> None:
    targets = open_files(broker)
    inodes = {target[8:-1] for target in targets if target.startswith("socket:[")}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = {row[1] for row in rows if row[3] == "0A" and row[9] in inodes}
    loopback = ("0100007F:", "0000000000000000FFFF00000100007F:")  # the second is how a JVM writes the first
    assert len(listening) == 2
    assert all(address.startswith(loopback) for address in listening)
    assert any(address.endswith(f":{broker.port:04X}") for address in listening)


def test_the_jvm_writes_nothing_outside_its_directory(broker: KafkaBroker) -> None:
    targets = open_files(broker)
    assert targets
    files = [Path(target) for target in targets if target.startswith("/") and not target.startswith("/dev/")]
    outside = [path for path in files if not path.is_relative_to(broker.directory) and path.suffix != ".jar"]
    assert not [path for path in outside if path.name != "modules"]


def test_a_port_in_use_is_refused(broker: KafkaBroker, tmp_path: Path) -> None:
    with pytest.raises(PortInUse, match=str(broker.port)):
        KafkaBroker.start(tmp_path, port=broker.port)


def test_a_broker_of_somebody_else_is_used_and_left_alone(broker: KafkaBroker, tmp_path: Path) -> None:
    with kafka_broker(tmp_path, broker.bootstrap) as handle:
        assert handle.bootstrap == broker.bootstrap
    assert broker.is_running
    assert not list(tmp_path.iterdir())
