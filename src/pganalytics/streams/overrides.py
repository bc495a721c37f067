"""The only module that changes the insides of Faust and aiokafka. Written for the versions in PINNED and no others.

What is changed, and what goes wrong otherwise (each measured on a real broker):

- `_new_offset`, `_should_commit`, `_filter_tps_with_pending_acks`, `ack`: what is committed is what our agent has finished
  (`Positions`). Faust commits what was acked, and acks a batch whose agent raised; after a reassignment it counts records
  that it never handed over as a "compacted gap" and commits across them: records are lost. Its lists of acked offsets,
  which are then read by nobody, would grow for ever.
- `_add_gap`: there are no gaps in our topics.
- `_read_offset`: Faust drops records below the offset that it has read. When the committed offset lies beyond the log's end
  (a topic made anew) it would drop everything up to it, without a word. Our guard judges every offset instead.
- Fetches wait at most FETCH_WAIT_MS on the broker, not 1,500: a partition that had records in the buffer when a fetch went
  out has to wait for the end of that fetch.
- `wait_first`: for each record Faust makes four tasks, to put it into the agent's queue or to give that up when the flow is
  suspended. Unless the queue is full one is enough: the record is in it after one turn of the event loop, in which the three
  others only begin to wait. A sixth of a worker's processor time.
- `on_buffer_full`: a partition whose record found the agent's queue nearly full is left out of Faust's next poll. So it is just
  those with a backlog that are left out, the critical ones among them, and when the others have nothing that poll waits a
  second for them: a worker with much to do sat idle half of the time. No partition is left out here.
- `_wait_next_records`: instead, the next poll waits until the queue has room for all of it, so that none of its records has to
  wait at a full queue. While no partition is ours Faust sleeps a whole second; we look again every ROOM_WAIT_S.
- `_fetch_records`: aiokafka hands out a partition's buffer to its end before it takes the next, so a critical record waits for
  thousands of others. They come first here, with at most URGENT_SHARE of a poll, so that the others do not starve.
- Assignment by range, not round-robin: the partitions of one number of all three topics, and with them all lanes of a
  collector, stay in one worker, or each worker would grant the whole quota.
- No producer: ours is another client, and Faust's own one loops without back-off after a graceful stop of the broker.
- `_create_directories`: Faust would make a data folder in the current directory for tables that we do not have.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Any, cast

import faust
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import WaitResults
from mode.utils.futures import notify

from pganalytics.runtime.errors import SettingsError
from pganalytics.streams.positions import Positions

PINNED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0"}
FETCH_WAIT_MS = 100
ROOM_WAIT_S = 0.01
ROOM_WAITS = 100
URGENT_SHARE = 15 / 16

logger = logging.getLogger("faust")
"""Faust's chatter stays under Faust's name: it is shown from warnings on, and repeats are left out."""


def check_versions() -> None:
    """Refuse to run on other versions than these overrides were written and tested for; raises SettingsError."""
    problems = [
        f"{name} {found} is installed, the streams need {wanted}: install `pganalytics[streams]`"
        for name, wanted in PINNED.items()
        if (found := metadata.version(name)) != wanted
    ]
    if problems:
        raise SettingsError(*problems)


class NothingRead(dict[Any, Any]):
    """Offsets that Faust believes it has read: none."""

    def __getitem__(self, key: Any) -> None:
        return None

    def __setitem__(self, key: Any, value: Any) -> None:
        return


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Makes the aiokafka consumer."""

    logger = logger

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        """The urgent topic first. What was taken is returned whatever happens then: it would be skipped otherwise."""
        fetch = super()._fetch_records
        most = max_records or 1
        topic = cast(Transport, self.consumer.transport).urgent
        urgent = {tp for tp in active_partitions or () if tp.topic == topic}
        others = set(active_partitions or ()) - urgent
        if not urgent or not others:  # no partitions at all would mean all of them
            return await fetch(consumer, active_partitions, timeout=timeout, max_records=max_records)
        first = await fetch(consumer, urgent, timeout=0, max_records=max(1, int(most * URGENT_SHARE)))
        if not first:
            return await fetch(consumer, active_partitions, timeout=timeout, max_records=max_records)
        left = most - sum(map(len, first.values()))
        if left <= 0 or consumer._fetcher._subscriptions.reassignment_in_progress:
            return first
        try:
            return {**first, **await fetch(consumer, others, timeout=0, max_records=left)}
        except KafkaError:  # the partition is asked again, and says so again
            return first


class Consumer(driver.Consumer):
    """Commits the positions of our agent and judges nothing itself."""

    logger = logger

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = NothingRead()
        self._positions: Positions = cast(Transport, self.transport).positions
        self._most_queued = self.app.conf.stream_buffer_maxsize - (self.app.conf.broker_max_poll_records or 0)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def ack(self, message: Any) -> bool:
        """The record needs no more waiting for before partitions are given up. It does not move what is committed."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        tps = (TP(topic, partition) for topic, partition in self._positions.partitions())
        return (tp for tp in tps if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._positions.done((tp.topic, tp.partition))

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return bool(self._committed_offset[tp] != offset)

    def on_buffer_full(self, tp: TP) -> None:
        del tp

    async def _wait_next_records(self, timeout: float) -> Any:
        for _ in range(ROOM_WAITS):
            if not self.flow_active or self.should_stop or (self._get_active_partitions() and self._has_room()):
                break
            await asyncio.sleep(ROOM_WAIT_S)
        return await super()._wait_next_records(timeout)

    def _has_room(self) -> bool:
        return all(channel.queue.qsize() <= self._most_queued for channel in self.app.topics)

    async def wait_first(self, *awaited: Any, timeout: Any = None) -> WaitResults:
        first, others = awaited[0], awaited[1:]
        if timeout is not None or not all(asyncio.iscoroutine(one) for one in awaited):
            return await super().wait_first(*awaited, timeout=timeout)
        step = asyncio.ensure_future(first)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            step.cancel()
            _close(others)
            raise
        if not step.done():
            return await super().wait_first(step, *others)
        _close(others)
        result = step.result()
        stopped = self._stopped.is_set() or self._crashed.is_set()
        return WaitResults([], [], True) if stopped else WaitResults([first], [result], False)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        del tp, offset_from, offset_to


def _close(coroutines: Iterable[Any]) -> None:
    for one in coroutines:
        one.close()


class Transport(driver.Transport):
    """Hands our positions, and the topic that comes first, to the consumer."""

    Consumer = Consumer

    def __init__(self, url: Any, app: Any, positions: Positions, *, urgent: str) -> None:
        super().__init__(url, app)
        self.positions = positions
        self.urgent = urgent


class ConsumerOnly(BootStrategy):
    """Starts no producer and no web server."""

    enable_kafka_producer = False
    enable_web = False


class App(faust.App):
    """A Faust app that reads, and commits our positions. Its settings come from `options` alone, not from the environment."""

    logger = logger
    BootStrategy = ConsumerOnly

    def __init__(self, group: str, *, positions: Positions, urgent: str, **options: Any) -> None:
        super().__init__(group, env={}, **options)
        self.transport = Transport(self.conf.broker_consumer, self, positions, urgent=urgent)

    def _create_directories(self) -> None:
        return
