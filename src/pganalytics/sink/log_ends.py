"""Where the logs of Kafka begin and end, and how far a group has committed."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.settings import Kafka
from pganalytics.sink.records import Partition

RETRY_S = 0.1
PASSING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""A leader is being elected, or the client has not heard of the new one yet."""


def log_starts(admin: AdminClient, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, int]:
    """The first offset of each; raises Unreachable."""
    return _offsets(admin, partitions, OffsetSpec.earliest(), timeout_s)  # type: ignore[no-untyped-call]


def log_ends(admin: AdminClient, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, int]:
    """The offset after the last of each; raises Unreachable."""
    return _offsets(admin, partitions, OffsetSpec.latest(), timeout_s)  # type: ignore[no-untyped-call]


def log_offsets_at(admin: AdminClient, partitions: Iterable[Partition], *, at_ms: int, timeout_s: float) -> dict[Partition, int]:
    """The first offset appended at this time or later; nothing for partitions that have none. Raises Unreachable."""
    spec = OffsetSpec.for_timestamp(max(0, at_ms))
    return {where: offset for where, offset in _offsets(admin, partitions, spec, timeout_s).items() if offset >= 0}


def commits(kafka: Kafka, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """What a group has committed; nothing for partitions that it never did. Raises Unreachable."""
    offsets = GroupOffsets(kafka, group, name="audit-commits")
    try:
        found = offsets.committed(partitions)
    except KafkaException as error:
        raise Unreachable(f"kafka: the commits of group {group} cannot be asked: {_reason(error)}") from error
    finally:
        offsets.close()
    return {partition: offset for partition, offset in found.items() if offset is not None}


def _offsets(admin: AdminClient, partitions: Iterable[Partition], spec: OffsetSpec, timeout_s: float) -> dict[Partition, int]:
    """Asks again, until the time is up, for partitions whose leader has changed.

    The admin client asks by the leaders that it remembers, and would go on so for ever: after a restart of the broker each
    answer is that the leader's epoch is too old. Reading the metadata makes it forget them.
    """
    left = set(partitions)
    found: dict[Partition, int] = {}
    deadline = time.monotonic() + timeout_s
    while left:
        asked: Mapping[TopicPartition, Future[Any]] = admin.list_offsets(
            {TopicPartition(topic, number): spec for topic, number in sorted(left)}, request_timeout=timeout_s
        )
        for where, future in asked.items():
            try:
                found[where.topic, where.partition] = int(future.result(timeout_s + 1).offset)
            except (KafkaException, TimeoutError) as error:
                if not _is_passing(error) or time.monotonic() > deadline:
                    raise Unreachable(f"kafka: the ends of {where.topic} cannot be asked: {_reason(error)}") from error
        left -= set(found)
        if left:
            time.sleep(RETRY_S)
            _refresh(admin, timeout_s)
    return found


def _refresh(admin: AdminClient, timeout_s: float) -> None:
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise Unreachable(f"kafka: no broker answers: {_reason(error)}") from error


def _is_passing(error: Exception) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in PASSING


def _reason(error: Exception) -> str:
    return str(error.args[0].str()) if isinstance(error, KafkaException) else "no answer"
