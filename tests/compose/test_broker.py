"""The broker's variables in compose.yaml are settings that a broker knows, and each way in leads back to itself."""

from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from compose.compose_model import load_compose
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.ports import free_port

OF_THE_IMAGE = {"KAFKA_HEAP_OPTS", "KAFKA_LOG_DIRS"}
"""Variables of its start script, and its path."""
ADDRESSES = ("9092", "9093", "9094")


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """The container's ports, and those that stand for them."""
    return {port: free_port() for port in ADDRESSES}


@pytest.fixture(scope="module")
def options(ports: dict[str, int]) -> dict[str, str]:
    """Settings as the image makes them of its variables, with this machine's addresses."""
    made = {}
    for name, value in load_compose().services["kafka"].environment.items():
        if name not in OF_THE_IMAGE:
            for port, own in ports.items():
                value = value.replace(f"://:{port}", f"://127.0.0.1:{own}").replace(f":{port}", f":{own}")
            made[name.removeprefix("KAFKA_").lower().replace("_", ".")] = value.replace("kafka:", "127.0.0.1:")
    return made


@pytest.fixture(scope="module")
def broker(ports: dict[str, int], options: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker with these settings."""
    with KafkaBroker.start(tmp_path_factory.mktemp("broker"), port=ports["9092"], options=options) as running:
        yield running


def test_a_broker_knows_all_that_is_set(broker: KafkaBroker, options: dict[str, str]) -> None:
    resource = ConfigResource(ResourceType.BROKER, "1")
    client = AdminClient({"bootstrap.servers": broker.bootstrap})
    (future,) = client.describe_configs([resource]).values()
    found = {name: entry.value for name, entry in future.result(timeout=30).items()}
    assert len(options) > 12
    assert {name: found.get(name) for name in options} == options


def test_each_way_in_leads_back_to_itself(broker: KafkaBroker, ports: dict[str, int]) -> None:
    """From inside by the container's name, from the machine by the published port."""
    for port in ("9092", "9094"):
        found = AdminClient({"bootstrap.servers": f"127.0.0.1:{ports[port]}"}).list_topics(timeout=30)
        assert [f"{one.host}:{one.port}" for one in found.brokers.values()] == [f"127.0.0.1:{ports[port]}"]
