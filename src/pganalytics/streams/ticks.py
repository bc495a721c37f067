"""Time where nothing comes: asks the broker whether anything is unread in a quiet partition, and if not, moves its time on.

Our own lag must never look like somebody's silence. So the time of a partition in which nothing comes is moved only when the
broker says that its log ends where we are, and at most to the append time of its last record plus what has passed since we
knew of it: the broker's clock shows at least that. The wall clock is not used, and a broker that does not answer moves nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from confluent_kafka import KafkaException

from pganalytics.runtime.logs import OnChange
from pganalytics.streams.partition_time import PartitionTime
from pganalytics.streams.records import Partition

logger = logging.getLogger(__name__)

TICK_S = 1.0
LOOK_S = 0.1
"""How soon a stop is noticed."""


@dataclass(frozen=True, slots=True)
class End:
    """The log of a partition ended at this offset when it was at least this late at the broker."""

    partition: Partition
    offset: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """At `clock_us` by our own monotonic clock it was at least `at_us` at the broker."""

    at_us: int
    clock_us: int


class Watched(Protocol):
    """What was read."""

    @property
    def times(self) -> Mapping[Partition, PartitionTime]:
        """Every partition of which something was read."""


class LogEnds(Protocol):
    """What the broker knows. Blocks and raises KafkaException."""

    def limits(self, topic: str, number: int) -> tuple[int, int]:
        """The log's start and end."""


class Quiet:
    """Which partitions are quiet, and how late it is there. Pure but for what it remembers of the last look."""

    def __init__(self) -> None:
        self._anchors: dict[Partition, Anchor] = {}

    def look(self, times: Mapping[Partition, PartitionTime], clock_us: int) -> dict[Partition, int]:
        """The partitions to ask about, each with the least time at its broker: there is a deadline, and half a step passed."""
        quiet = {}
        for partition, here in times.items():
            anchor = self._anchors.get(partition)
            if anchor is None or anchor.at_us < here.at_us - (clock_us - anchor.clock_us):
                anchor = self._anchors[partition] = Anchor(here.at_us, clock_us)
            at_us = anchor.at_us + clock_us - anchor.clock_us
            if here.deadlines and at_us - here.at_us >= here.step_us // 2:
                quiet[partition] = at_us
        return quiet


class Ticks:
    """The loop of ticks, in the event loop of the worker; `tick` tells what is due. An exception must end the process."""

    def __init__(self, ends: LogEnds, watched: Watched, tick: Callable[[Sequence[End]], Awaitable[None]]) -> None:
        self._ends = ends
        self._watched = watched
        self._tick = tick
        self._quiet = Quiet()
        self._news = OnChange()

    async def run(self, stopping: Callable[[], bool]) -> None:
        """Tick until the process stops; a question that is out then is waited for."""
        due_s = time.monotonic()
        while not stopping():
            await asyncio.sleep(LOOK_S)
            if time.monotonic() >= due_s:
                await self.once(time.monotonic_ns() // 1000, stopping)
                due_s = time.monotonic() + TICK_S

    async def once(self, clock_us: int, stopping: Callable[[], bool] = lambda: False) -> None:
        """One tick at this time of our monotonic clock, which was read before anything is asked."""
        quiet = self._quiet.look(self._watched.times, clock_us)
        if not quiet:
            return
        try:
            offsets = await asyncio.get_running_loop().run_in_executor(
                None, partial(find_ends, self._ends, list(quiet), stopping)
            )
        except KafkaException as error:
            if self._news.is_news("ends", error.args[0].name()):
                logger.warning("ends of logs cannot be asked; silence is not judged", extra={"error": error.args[0].str()})
            return
        self._news.is_news("ends", "")
        await self._tick([End(partition, offset, quiet[partition]) for partition, offset in offsets.items()])


def find_ends(ends: LogEnds, partitions: Iterable[Partition], stopping: Callable[[], bool]) -> dict[Partition, int]:
    """Where these logs end; of as many as could be asked before the process stops."""
    return {partition: ends.limits(*partition)[1] for partition in partitions if not stopping()}
