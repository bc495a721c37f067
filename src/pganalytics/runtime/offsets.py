"""What a broker says of partitions: a group's committed offsets, and where the logs begin and end.

Asked by a plain consumer that is in no group. The admin client's `list_consumer_group_offsets` is not used: while the
broker still makes its offsets topic (a fresh cluster), confluent-kafka 2.16.1 crashes the process in it.
"""

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from pganalytics.runtime.kafka import client_config
from pganalytics.runtime.settings import Kafka

POLL_S = 0.1


class GroupOffsets:
    """Asks for one group. Calls block for at most `kafka.timeout_s` and raise KafkaException. For one thread at a time."""

    def __init__(self, kafka: Kafka, group: str, *, name: str) -> None:
        self._timeout_s = kafka.timeout_s
        ours = {"group_id": group, "enable_auto_commit": False, "enable_auto_offset_store": False}
        ours |= {"isolation_level": "read_uncommitted", "auto_offset_reset": "error"}
        ours |= {"fetch_message_max_bytes": 65536, "queued_min_messages": 1}  # it reads single records
        self._consumer = Consumer(client_config(kafka, name=name, **ours))

    def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
        """The group's committed offsets; None where there is none."""
        asked = [TopicPartition(topic, number) for topic, number in partitions]
        answers = self._consumer.committed(asked, timeout=self._timeout_s)
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
        return {(each.topic, each.partition): each.offset if each.offset >= 0 else None for each in answers}

    def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset after the last record of each, in one question."""
        return self._limits(partitions, OFFSET_END)

    def starts(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The first offset of each, in one question."""
        return self._limits(partitions, OFFSET_BEGINNING)

    def _limits(self, partitions: Iterable[tuple[str, int]], which: int) -> dict[tuple[str, int], int]:
        asked = [TopicPartition(topic, number, which) for topic, number in partitions]
        answers = self._consumer.offsets_for_times(asked, timeout=self._timeout_s)
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
        return {(each.topic, each.partition): each.offset for each in answers}

    def appended_s(self, offsets: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], float]:
        """When the first record at or after each offset was appended, in seconds since 1970.

        Nothing of those that lie outside the log, or did not come in time.
        """
        deadline = time.monotonic() + self._timeout_s
        found: dict[tuple[str, int], float] = {}
        outside: set[tuple[str, int]] = set()
        self._consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()])
        try:
            while len(found) + len(outside) < len(offsets) and time.monotonic() < deadline:
                if (message := self._consumer.poll(POLL_S)) is None:
                    continue
                where = str(message.topic()), int(message.partition() or 0)
                if (error := message.error()) is None:
                    found.setdefault(where, message.timestamp()[1] / 1000)
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    outside.add(where)
        finally:
            self._consumer.unassign()
        return found

    def limits(self, topic: str, number: int) -> tuple[int, int]:
        """The log's first offset and the one after its last."""
        limits = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=self._timeout_s)
        if limits is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return limits[0], limits[1]

    def since(self, partitions: Iterable[tuple[str, int]], at_us: int) -> dict[tuple[str, int], int | None]:
        """The offset of the first record that was appended at this time or later; None where there is none."""
        asked = [TopicPartition(topic, number, at_us // 1000) for topic, number in partitions]
        answers = self._consumer.offsets_for_times(asked, timeout=self._timeout_s)
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
        return {(each.topic, each.partition): each.offset if each.offset >= 0 else None for each in answers}

    def first_from(self, topic: str, number: int, offset: int) -> int | None:
        """The offset of the first record at or after `offset`, aborted ones too; markers of transactions are not records.

        None when `offset` lies outside the log.
        """
        deadline = time.monotonic() + self._timeout_s
        self._consumer.assign([TopicPartition(topic, number, offset)])
        try:
            while time.monotonic() < deadline:
                message = self._consumer.poll(POLL_S)
                if message is None:
                    continue
                if (error := message.error()) is not None:
                    if error.code() == KafkaError._AUTO_OFFSET_RESET:
                        return None
                    raise KafkaException(error)
                if (found := message.offset()) is not None:
                    return found
        finally:
            self._consumer.unassign()
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
