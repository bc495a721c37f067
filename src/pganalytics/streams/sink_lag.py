"""How far the sink is behind, as a share of what Kafka retains. A thread of its own asks the broker.

The age of the oldest unread record is not read from the record: one question per partition would be needed. The broker is asked
instead, for all partitions at once, which offset came first after a time: what the sink has committed lies before it or not.
Times are the broker's: now is when the last record that the streams have seen was appended.
"""

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Protocol

from confluent_kafka import KafkaException

from pganalytics.runtime.logs import OnChange
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Topics
from pganalytics.streams.controller import Controller
from pganalytics.streams.records import Partition

logger = logging.getLogger(__name__)

LOOK_S = 5.0
SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Offsets(Protocol):
    """What the broker knows. All calls block and raise KafkaException."""

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        """The sink's committed offsets; None where there is none."""

    def limits(self, topic: str, number: int) -> tuple[int, int]:
        """The log's start and end."""

    def since(self, partitions: Iterable[Partition], at_us: int) -> dict[Partition, int | None]:
        """The first offset appended at this time or later; None where there is none."""


class SinkLag:
    """Puts the lag into a controller, by partition: the worst of the three lanes. What is deferred slows nobody else."""

    def __init__(self, offsets: Offsets, topics: Topics, controller: Controller) -> None:
        self._offsets = offsets
        self._controller = controller
        self._retention_us = min(
            int(topic.config["retention.ms"]) * 1000 for topic in topics.table() if topic.name in map(topics.admitted, LANES)
        )
        self._partitions = [(topics.admitted(lane), number) for lane in LANES for number in range(topics.partitions)]
        self._news = OnChange()

    def run(self, stop: threading.Event) -> None:
        """Ask every few seconds until `stop`. While the broker does not answer, what it said last stays."""
        while not stop.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Ask once."""
        try:
            self._controller.lag = lag_of(self._offsets, self._partitions, self._controller.now_us, self._retention_us)
        except KafkaException as error:
            if self._news.is_news("lag", error.args[0].name()):
                logger.warning("the sink's lag cannot be asked", extra={"error": error.args[0].str()})
            return
        self._news.is_news("lag", "")


def lag_of(offsets: Offsets, partitions: list[Partition], now_us: int, retention_us: int) -> Mapping[int, float]:
    """The highest of SHARES that the lag has reached, by partition number; partitions with less are absent."""
    found: dict[int, float] = {}
    if now_us <= 0:
        return found
    read = offsets.committed(partitions)
    left = partitions
    for share in SHARES:
        since = offsets.since(left, now_us - round(share * retention_us))
        left = [each for each in left if _is_behind(offsets, each, read[each], since[each])]
        found |= {number: share for _, number in left}
        if not left:
            break
    return found


def _is_behind(offsets: Offsets, partition: Partition, read: int | None, since: int | None) -> bool:
    """Whether something older than the time is unread. A sink that never read anything begins at the log's start."""
    if read is not None and since is not None and read >= since:
        return False
    low, high = offsets.limits(*partition)
    return max(read or 0, low) < (high if since is None else since)
