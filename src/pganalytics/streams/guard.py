"""Asks the broker where each partition must begin, so that nothing is sent, let alone committed, after a jump."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from confluent_kafka import KafkaException

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.logs import OnChange
from pganalytics.streams.positions import Bounds, Positions, Start, start_of
from pganalytics.streams.records import Arrival, Partition

logger = logging.getLogger(__name__)


class Offsets(Protocol):
    """What the broker knows. Both calls block and raise KafkaException."""

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        """The group's committed offsets; None where there is none."""

    def limits(self, topic: str, number: int) -> tuple[int, int]:
        """The log's start and end."""


class Guard:
    """Finds the starts of partitions that were just assigned. For the event loop's thread; asks in another one."""

    def __init__(self, offsets: Offsets, positions: Positions, *, stopping: Callable[[], bool]) -> None:
        self._offsets = offsets
        self._positions = positions
        self._stopping = stopping
        self._news = OnChange()

    async def begin(self, arrivals: Iterable[Arrival]) -> dict[Partition, Start] | None:
        """Set the starts of all partitions that are new in this batch, and return them.

        None when the assignment changed meanwhile or the process stops: the batch is nobody's, and nothing may come of it.
        An outage of the broker is waited for.
        """
        first = self._positions.unknown(arrivals)
        if not first:
            return {}
        generation = self._positions.generation
        backoff = Backoff(first_s=0.2, most_s=5.0)
        while not self._stopping():
            try:
                starts = await asyncio.get_running_loop().run_in_executor(None, find_starts, self._offsets, first)
            except KafkaException as error:
                backoff = backoff.failed()
                if self._news.is_news("offsets", error.args[0].name()):
                    logger.warning("committed offsets cannot be asked", extra={"error": error.args[0].str()})
                await asyncio.sleep(backoff.delay_s(1.0))
                continue
            if generation != self._positions.generation:
                return None
            for partition, start in starts.items():
                self._positions.begin(partition, start.offset)
            self._news.is_news("offsets", "")
            return starts
        return None


def find_starts(offsets: Offsets, first: Mapping[Partition, int]) -> dict[Partition, Start]:
    """Where each partition must begin; `first` is where it began. The log's limits are asked only where the two differ."""
    starts = {}
    for partition, committed in offsets.committed(first).items():
        if committed == first[partition]:
            starts[partition] = Start(committed)
        else:
            low, high = offsets.limits(*partition)
            starts[partition] = start_of(Bounds(committed, low, high))
    return starts
