"""Asks the broker where each partition must begin and what a jump is, so that nothing is committed over skipped records."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from confluent_kafka import KafkaException

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.logs import OnChange
from pganalytics.streams.errors import Skipped
from pganalytics.streams.positions import Bounds, Jump, Positions, Start, start_of
from pganalytics.streams.records import Arrival, Partition

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Offsets(Protocol):
    """What the broker knows. All calls block and raise KafkaException."""

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        """The group's committed offsets; None where there is none."""

    def limits(self, topic: str, number: int) -> tuple[int, int]:
        """The log's start and end."""

    def first_from(self, topic: str, number: int, offset: int) -> int | None:
        """The offset of the first record at or after this one; None when this one lies outside the log."""


class Guard:
    """Asks where partitions begin and what lies in a jump. For the event loop's thread; the questions go out in another one.

    Answers are None, or False, when the assignment changed meanwhile or the process stops: the batch is nobody's, and nothing
    may come of it. An outage of the broker is waited for.
    """

    def __init__(self, offsets: Offsets, positions: Positions, *, stopping: Callable[[], bool]) -> None:
        self._offsets = offsets
        self._positions = positions
        self._stopping = stopping
        self._news = OnChange()

    async def begin(self, arrivals: Iterable[Arrival]) -> dict[Partition, Start] | None:
        """Set the starts of all partitions that are new in this batch, and return them."""
        first = self._positions.unknown(arrivals)
        if not first:
            return {}
        starts = await self._ask(partial(find_starts, self._offsets, first))
        if starts is not None:
            for partition, start in starts.items():
                self._positions.begin(partition, start.offset)
        return starts

    async def explain(self, jumps: Sequence[Jump]) -> bool:
        """Whether to go on: there is no record inside these jumps. Raises Skipped when there is one."""
        if not jumps:
            return True
        skipped = await self._ask(partial(find_skipped, self._offsets, jumps))
        if skipped:
            (topic, number), expected, offset = skipped[0].partition, skipped[0].expected, skipped[0].offset
            raise Skipped(f"{topic}/{number}: offset {expected} must come next, {offset} came")
        return skipped is not None

    async def _ask(self, question: Callable[[], Answer]) -> Answer | None:
        generation = self._positions.generation
        backoff = Backoff(first_s=0.2, most_s=5.0)
        while not self._stopping():
            try:
                answer = await asyncio.get_running_loop().run_in_executor(None, question)
            except KafkaException as error:
                backoff = backoff.failed()
                if self._news.is_news("offsets", error.args[0].name()):
                    logger.warning("offsets cannot be asked", extra={"error": error.args[0].str()})
                await asyncio.sleep(backoff.delay_s(1.0))
                continue
            self._news.is_news("offsets", "")
            return answer if generation == self._positions.generation else None
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


def find_skipped(offsets: Offsets, jumps: Iterable[Jump]) -> list[Jump]:
    """The jumps over records; the others are over nothing but markers of somebody's transactions."""
    return [jump for jump in jumps if offsets.first_from(*jump.partition, jump.expected) != jump.offset]
