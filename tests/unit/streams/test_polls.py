"""From which partitions a poll takes how many records, and when it is made."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaError
from faust.transport.conductor import ConductorCompiler
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.streams.overrides import ConsumerThread
from pganalytics.streams.positions import Positions
from unit.streams.arrivals import TOPICS
from unit.streams.faust_consumer import HERE, message, with_consumer

Pouring = tuple[Any, Callable[[], Awaitable[None]]]
"""The agent's queue, and what puts the next record of HERE into it as Faust does."""


def _pouring(consumer: Any) -> Pouring:
    app = consumer.app
    app.consumer = consumer
    app.flow_control.resume()
    consumer._set_active_tps({HERE})
    channel = app.topic(HERE.topic, key_serializer="raw", value_serializer="raw").__aiter__()
    put = ConductorCompiler().build(app.topics, HERE, {channel})

    async def pour() -> None:
        await put(message(consumer, channel.queue.qsize()))

    return channel.queue, pour


async def _left_out(consumer: Any, _: Positions) -> bool:
    """Whether a partition is left out of the next poll when its records nearly fill the queue."""
    queue, pour = _pouring(consumer)
    while queue.qsize() < queue.maxsize * 0.9:
        await pour()
    return HERE not in consumer._get_active_partitions()


def test_a_partition_with_a_backlog_stays_in_every_poll() -> None:
    assert not with_consumer(_left_out)


def test_control_faust_itself_leaves_out_the_partitions_with_a_backlog() -> None:
    assert with_consumer(_left_out, driver.Consumer)


async def _queued_when_polled(consumer: Any, _: Positions) -> tuple[int, int]:
    """How many records wait in the agent's queue at the next poll, which an agent empties meanwhile; and its size."""
    queue, pour = _pouring(consumer)
    found = []

    async def getmany(**_: Any) -> dict[TP, list[Any]]:
        found.append(queue.qsize())
        return {}

    async def take() -> None:
        while queue.qsize():
            await asyncio.sleep(0)
            queue.get_nowait()

    consumer.flow_active = True
    consumer._getmany = getmany
    while queue.qsize() < queue.maxsize * 0.9:
        await pour()
    consumer._set_active_tps({HERE})  # Faust left it out
    taking = asyncio.create_task(take())
    await consumer._wait_next_records(1.0)
    taking.cancel()
    return found[0], queue.maxsize


def test_a_poll_is_made_when_the_queue_has_room_for_all_of_it() -> None:
    queued, size = with_consumer(_queued_when_polled)
    assert queued + Settings().streams.poll_records <= size


def test_control_faust_itself_polls_into_a_full_queue() -> None:
    queued, size = with_consumer(_queued_when_polled, driver.Consumer)
    assert queued + Settings().streams.poll_records > size


class Buffers:
    """The fetcher of a client: records of each partition in the order in which they came, as aiokafka hands them out."""

    def __init__(self, **waiting: int) -> None:
        self.waiting = {TP(TOPICS.collected(Lane(lane)), 0): number for lane, number in waiting.items()}
        self.raises: set[TP] = set()
        self._closed = False
        self._subscriptions = self
        self.reassignment_in_progress = False

    def fetch_context(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def fetched_records(self, partitions: set[TP], timeout: float = 0, max_records: int = 0) -> dict[TP, list[int]]:
        drained: dict[TP, list[int]] = {}
        for tp, number in self.waiting.items():
            if tp in self.raises & partitions and not drained:
                raise KafkaError
            if tp in partitions and (taken := min(number, max_records)):
                drained[tp] = [0] * taken
                self.waiting[tp] -= taken
                max_records -= taken
        return drained


def polled(buffers: Buffers, thread: type[Any] = ConsumerThread, most: int = 500) -> dict[str, int]:
    """Records of one poll, by lane."""

    async def use(consumer: Any, positions: Positions) -> dict[TP, list[int]]:
        consumer.flow_active = True
        client = SimpleNamespace(_fetcher=buffers, _closed=False)
        made = thread(consumer, loop=consumer.loop, beacon=consumer.beacon)
        found: dict[TP, list[int]] = await made._fetch_records(client, set(buffers.waiting), timeout=1.0, max_records=most)
        return found

    return {tp.topic.rpartition(".")[2]: len(records) for tp, records in with_consumer(use).items()}


def test_critical_records_do_not_wait_for_the_others_buffers_and_do_not_starve_them() -> None:
    assert polled(Buffers(bulk=9000, normal=9000, critical=30)) == {"critical": 30, "bulk": 470}
    assert polled(Buffers(bulk=9000, critical=9000)) == {"critical": 468, "bulk": 32}
    assert polled(Buffers(bulk=9000, critical=0)) == {"bulk": 500}
    assert polled(Buffers(critical=9000)) == {"critical": 500}
    assert polled(Buffers(bulk=9000, critical=9000), most=2) == {"critical": 1, "bulk": 1}


def test_control_aiokafka_itself_hands_out_the_oldest_buffer_to_its_end() -> None:
    assert polled(Buffers(bulk=9000, normal=9000, critical=30), driver.AIOKafkaConsumerThread) == {"bulk": 500}


def test_critical_records_that_were_taken_are_not_skipped_whatever_becomes_of_the_others() -> None:
    broken = Buffers(bulk=9000, critical=30)
    broken.raises = {TP(TOPICS.collected(Lane.BULK), 0)}
    assert polled(broken) == {"critical": 30}
    moving = Buffers(bulk=9000, critical=30)
    moving.reassignment_in_progress = True
    assert polled(moving) == {"critical": 30}
