"""One batch from the agent to the brokers: guard, decide, send, and only then move the positions.

The order that nothing may change. State before output would lose what a crash interrupts; output before state can only
send something twice, and the ledger of the sink takes each record once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pganalytics.schemas.events import Event
from pganalytics.schemas.topics import Topics
from pganalytics.streams.guard import Guard
from pganalytics.streams.meters import Meters
from pganalytics.streams.outputs import Outputs
from pganalytics.streams.positions import Positions, Start
from pganalytics.streams.processor import Processor, event_record, position_outside_log
from pganalytics.streams.records import Arrival, Partition
from pganalytics.streams.ticks import End

logger = logging.getLogger(__name__)


class Pipeline:
    """Takes batches and ticks one after another, in the event loop's thread. Any exception must end the process."""

    def __init__(
        self,
        topics: Topics,
        positions: Positions,
        *,
        guard: Guard,
        processor: Processor,
        outputs: Outputs,
        meters: Meters,
        catch_up: Callable[[int], Awaitable[None]],
    ) -> None:
        """`catch_up`: learns what others decided about collectors that are ours now; called before the first decision."""
        self._topics = topics
        self._positions = positions
        self._guard = guard
        self._processor = processor
        self._outputs = outputs
        self._meters = meters
        self._catch_up = catch_up
        self._busy = asyncio.Lock()

    async def process(self, arrivals: Sequence[Arrival]) -> None:
        """Returns when everything made of these records is acknowledged, or when they are no longer ours."""
        async with self._busy:
            await self._process(arrivals)

    async def tick(self, ends: Sequence[End]) -> None:
        """Take the time into account where nothing comes. Returns when everything that it tells is acknowledged.

        The ends were asked before: a partition of which anything was read since, or is unread, has another time of its own.
        """
        async with self._busy:
            events = [event for end in ends for event in self._advance(end)]
            await self._outputs.deliver([event_record(self._topics, event) for event in events])
            self._meters.told(events)

    def _advance(self, end: End) -> list[Event]:
        watch = self._processor.watch
        return watch.advance(end.partition, end.at_us) if watch.times[end.partition].following == end.offset else []

    async def _process(self, arrivals: Sequence[Arrival]) -> None:
        generation = self._positions.generation
        starts = await self._guard.begin(arrivals)
        await self._catch_up(generation)
        if starts is None or generation != self._positions.generation:
            return
        taken, jumps = self._positions.take(arrivals)
        if not await self._guard.explain(jumps):
            return
        self._processor.begin({partition: start.offset for partition, start in starts.items()})
        decided = self._processor.process(arrivals)
        events = decided.events + self._outside(arrivals, starts)
        records = [record for record in decided.records if record is not None]
        told = [event_record(self._topics, event) for event in events]
        await self._outputs.deliver(records + told + decided.orders)
        self._meters.delivered(arrivals, decided.records, events, decided.orders)
        if generation == self._positions.generation:
            self._positions.finish(taken)

    def _outside(self, arrivals: Sequence[Arrival], starts: Mapping[Partition, Start]) -> list[Event]:
        events = []
        for partition, start in starts.items():
            if start.outside:
                first = next(arrival for arrival in arrivals if arrival.place == partition)
                facts = {"topic": first.topic, "partition": first.partition, "reason": start.outside}
                logger.warning("position outside the log", extra=facts)
                events.append(position_outside_log(self._topics, first, start.outside))
        return events
