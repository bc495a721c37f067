"""Settings of Kafka clients, and the reading and making of topics. Knows no topic's name."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from pganalytics.runtime.errors import SettingsError, Unreachable
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.settings import Kafka

logger = logging.getLogger(__name__)

OURS = frozenset(
    "bootstrap.servers acks enable.idempotence partitioner enable.auto.commit enable.auto.offset.store isolation.level "
    "auto.offset.reset group.id allow.auto.create.topics message.max.bytes message.timeout.ms client.id "
    "request.required.acks delivery.timeout.ms metadata.broker.list max.in.flight "
    "max.in.flight.requests.per.connection".split()
)
"""Client options that correctness depends on: [kafka.options] may not set them. It may replace all others that we set."""
UNREACHABLE = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE})
"""While a broker is away a client reports these in turn, every other second: one trouble, told once."""
REFUSED_FOR_GOOD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD})
"""What no repetition mends, when it is said of a record that was alone. Missing rights are not among it: they can be granted."""
QUIET_S = 60.0
"""A client never says that it is well again; after so long without an error the next one is news."""


class WantedTopic(Protocol):
    """A topic as it must be."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def partitions(self) -> int:
        """How many partitions it has."""

    @property
    def config(self) -> Mapping[str, str]:
        """Its settings."""


def client_config(kafka: Kafka, *, name: str, **ours: object) -> dict[str, Any]:
    """librdkafka settings: ours, the operator's in their place where there are any. `name` says in log lines who speaks.

    Keyword names have underscores for dots. Raises SettingsError when an option would break a guarantee.
    """
    if clash := sorted(OURS & {option.lower() for option in kafka.options}):
        raise SettingsError(*(f"kafka.options: {option} is fixed by pganalytics; remove it" for option in clash))
    news = OnChange()
    last = float("-inf")

    def on_error(error: KafkaError) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > QUIET_S:
            news.forget("client")
        last = now
        if news.is_news("client", "unreachable" if error.code() in UNREACHABLE else error.name()):
            logger.warning("kafka client", extra={"client": name, "error": error.name(), "reason": error.str()})

    config: dict[str, Any] = {"log_level": 2, "reconnect.backoff.max.ms": 2000}
    config |= {option.replace("_", "."): value for option, value in ours.items()} | kafka.options
    return config | {"bootstrap.servers": kafka.bootstrap, "client.id": f"{kafka.prefix}-{name}", "error_cb": on_error}


def producer_config(kafka: Kafka, *, name: str, **ours: object) -> dict[str, Any]:
    """A producer that loses nothing while it lives, and co-partitions with Java clients and Faust.

    One request in flight to each broker: with more, librdkafka reports a request that was refused as delivered when a later one
    is accepted, and a broker accepts any request as the first of a producer it does not know (decision 0030).
    """
    settings = {
        "acks": "all",
        "enable_idempotence": True,
        "max_in_flight": 1,
        "partitioner": "murmur2_random",
        "compression_type": "zstd",
        "linger_ms": 50,
        "queue_buffering_max_messages": 5000,
        "queue_buffering_max_kbytes": 65536,
    }
    return client_config(kafka, name=name, **settings | ours)


def reader_config(kafka: Kafka, *, name: str, **ours: object) -> dict[str, Any]:
    """A consumer that reads what it is assigned and commits nothing. librdkafka wants a group, which is never joined."""
    settings = {
        "group_id": f"{kafka.prefix}.{name}.reader",
        "enable_auto_commit": False,
        "enable_auto_offset_store": False,
        "enable_partition_eof": True,
    }
    return client_config(kafka, name=name, **settings | ours)


def admin(kafka: Kafka) -> AdminClient:
    """An admin client."""
    return AdminClient(client_config(kafka, name="admin"))


def topic_problems(kafka: Kafka, wanted: Sequence[WantedTopic]) -> list[str]:
    """What is missing or wrong, one line each; raises Unreachable when no broker answers."""
    client = admin(kafka)
    found = _metadata(kafka, client)
    problems = []
    for topic in wanted:
        if topic.name not in found:
            problems.append(f"topic {topic.name} is missing: run `pganalytics setup`")
        elif found[topic.name][0] != topic.partitions:
            problems.append(
                f"topic {topic.name} has {found[topic.name][0]} partitions, kafka.partitions is {topic.partitions}: "
                f"set it to the topic's count, or choose another kafka.prefix"
            )
        elif found[topic.name][1] < 3 and not kafka.development:
            problems.append(
                f"topic {topic.name} has {found[topic.name][1]} replicas, fewer than 3: "
                f"raise them, or set kafka.development = true if you may lose data"
            )
    present = [topic for topic in wanted if topic.name in found]
    return problems + _config_problems(kafka, client, present)


def make_topics(kafka: Kafka, wanted: Sequence[WantedTopic]) -> list[str]:
    """Create what is missing; the names of the topics made. Raises Unreachable that names the topic refused."""
    client = admin(kafka)
    found = _metadata(kafka, client)
    new = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=kafka.replication_factor,
            config={**topic.config, "min.insync.replicas": str(kafka.min_insync_replicas)},
        )
        for topic in wanted
        if topic.name not in found
    ]
    if not new:
        return []
    made = []
    for name, future in client.create_topics(new, operation_timeout=kafka.timeout_s).items():
        try:
            future.result(timeout=kafka.timeout_s * 2)
            made.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Unreachable(f"topic {name} could not be made: {error.args[0].str()}") from error
    return made


def _metadata(kafka: Kafka, client: AdminClient) -> dict[str, tuple[int, int]]:
    """Partition and replica counts by topic."""
    try:
        topics = client.list_topics(timeout=kafka.timeout_s).topics
    except KafkaException as error:
        raise Unreachable(
            f"kafka {kafka.bootstrap}: no broker answers within {kafka.timeout_s:g} s ({error.args[0].str()}): "
            f"start it, or set kafka.bootstrap"
        ) from error
    return {
        name: (len(topic.partitions), min((len(part.replicas) for part in topic.partitions.values()), default=0))
        for name, topic in topics.items()
        if topic.error is None
    }


def _config_problems(kafka: Kafka, client: AdminClient, wanted: Iterable[WantedTopic]) -> list[str]:
    wanted = list(wanted)
    if not wanted:
        return []
    asked = client.describe_configs(
        [ConfigResource(ResourceType.TOPIC, topic.name) for topic in wanted], request_timeout=kafka.timeout_s
    )
    problems = []
    for topic, future in zip(wanted, asked.values(), strict=True):
        try:
            found = {name: entry.value for name, entry in future.result(timeout=kafka.timeout_s * 2).items()}
        except KafkaException as error:
            raise Unreachable(f"topic {topic.name}: its settings cannot be read: {error.args[0].str()}") from error
        problems += [
            f"topic {topic.name}: {name} is {found.get(name)}, not {value}: change it with your Kafka tools"
            for name, value in topic.config.items()
            if found.get(name) != value
        ]
        if int(found.get("min.insync.replicas") or 1) < 2 and not kafka.development:
            problems.append(f"topic {topic.name}: min.insync.replicas is below 2: raise it, or set kafka.development = true")
    return problems
