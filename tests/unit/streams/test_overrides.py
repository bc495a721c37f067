"""Faust is what the overrides were written for. When one of these fails, read what changed before touching the numbers."""

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.app.base import App as FaustApp
from faust.app.base import BootStrategy
from faust.transport.conductor import ConductorCompiler
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message
from mode.services import Service
from mode.utils.queues import FlowControlQueue

from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import Settings
from pganalytics.streams.app import build_app
from pganalytics.streams.overrides import PINNED, App, Consumer, check_versions
from pganalytics.streams.positions import Positions
from unit.streams.arrivals import TOPICS, arrival
from unit.streams.faust_consumer import HERE, fail, message, nothing, with_consumer

ROOT = Path(__file__).parents[3]


def fingerprint(function: Any) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12]


FINGERPRINTS = {
    FaustConsumer.ack: "5fcf41cf4515",
    FaustConsumer.force_commit: "cc094614d22c",
    FaustConsumer._commit_tps: "a20e230b05ae",
    FaustConsumer._commit_offsets: "1a6979904118",
    FaustConsumer._filter_committable_offsets: "dc5e9baf5d99",
    FaustConsumer._filter_tps_with_pending_acks: "f6f923977423",
    FaustConsumer._new_offset: "1d2c7ea89a7a",
    FaustConsumer._should_commit: "5ce941793947",
    FaustConsumer._add_gap: "4df2573ded7c",
    FaustConsumer._drain_messages: "44a2500309e8",
    FaustConsumer._wait_next_records: "6218e1969a63",
    FaustConsumer._get_active_partitions: "b24897f3c7af",
    FaustConsumer.on_buffer_full: "c8961679e0bc",
    FaustConsumer.on_buffer_drop: "4b57e8a418d5",
    ConductorCompiler.build: "837cf521368c",
    FlowControlQueue.in_pressure_high_state: "3165f1488019",
    Service.wait_first: "feade6a31f8a",
    FaustConsumer.wait_empty: "e4662fe24f09",
    FaustConsumer.on_partitions_revoked: "d04b7ae72c6f",
    FaustConsumer.on_partitions_assigned: "29ce96596f05",
    driver.AIOKafkaConsumerThread._create_worker_consumer: "c2701bfc3e6f",
    driver.AIOKafkaConsumerThread._fetch_records: "39a2c6c79fc1",
    Fetcher.fetched_records: "be4348896b9b",
    driver.Consumer._new_consumer_thread: "0870ec53dea7",
    FaustApp._create_directories: "a9f571c3b04a",
    BootStrategy.kafka_producer: "54a789df64f6",
    BootStrategy.web_server: "3caebb79a3b3",
}
"""What our overrides replace, and what calls them: first digits of the SHA-256 of the source."""


@pytest.mark.parametrize(("function", "known"), FINGERPRINTS.items(), ids=lambda each: getattr(each, "__qualname__", ""))
def test_the_source_that_was_read_is_the_source_that_runs(function: Any, known: str) -> None:
    assert fingerprint(function) == known


def test_one_version_is_pinned_everywhere() -> None:
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    project = (ROOT / "pyproject.toml").read_text()
    for name, version in PINNED.items():
        assert metadata.version(name) == version
        assert f"{name}=={version}" in constraints
        assert f'"{name}=={version}"' in project


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    with pytest.raises(SettingsError, match=r"faust-streaming 9\.9 is installed, the streams need"):
        check_versions()


class Commits:
    """Catches what a consumer would commit."""

    def __init__(self, consumer: Any) -> None:
        self.told: list[dict[TP, int]] = []
        consumer._commit = self._commit
        consumer.assignment = lambda: {HERE}
        consumer.app.producer.flush = nothing

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        self.told.append(dict(offsets))
        return True


async def _acked_with_a_gap(consumer: Any, positions: Positions) -> list[dict[TP, int]]:
    """Records 0 to 2 and 7 to 9 came and were acked; Faust was told that 3 to 6 are a gap. Our agent finished 0 to 1."""
    commits = Commits(consumer)
    positions.begin(HERE, 0)
    positions.finish(positions.take([arrival(offset=0), arrival(offset=1)])[0])
    for offset in (0, 1, 2, 7, 8, 9):
        consumer.ack(message(consumer, offset))
    await consumer._add_gap(HERE, 3, 6)
    await consumer.force_commit()
    await consumer.force_commit()
    return commits.told


def test_commits_are_what_our_agent_finished() -> None:
    assert with_consumer(_acked_with_a_gap) == [{HERE: 2}]


def test_control_faust_itself_commits_across_the_gap() -> None:
    """The fault that the override is there for. When Faust mends it, this fails, and the override may go."""
    told = with_consumer(_acked_with_a_gap, driver.Consumer)
    assert told[-1] == {HERE: 10}


def test_a_position_may_go_back() -> None:
    """A topic made anew ends below the committed offset; what is committed follows the agent there."""

    async def use(consumer: Any, positions: Positions) -> list[dict[TP, int]]:
        commits = Commits(consumer)
        consumer._committed_offset[HERE] = 100
        positions.begin(HERE, 0)
        positions.finish(positions.take([arrival(offset=0)])[0])
        await consumer.force_commit()
        return commits.told

    assert with_consumer(use) == [{HERE: 1}]


def test_nothing_is_committed_after_a_revocation() -> None:
    async def use(consumer: Any, positions: Positions) -> list[dict[TP, int]]:
        commits = Commits(consumer)
        positions.begin(HERE, 0)
        positions.finish(positions.take([arrival(offset=0)])[0])
        positions.forget()
        await consumer.force_commit()
        return commits.told

    assert with_consumer(use) == []


def _drained(cls: type[Any]) -> list[int]:
    """What reaches the agent when Faust has read up to 50 and the log begins anew at 0."""

    async def use(consumer: Any, positions: Positions) -> list[int]:
        got: list[int] = []

        async def take(each: Message) -> None:
            got.append(each.offset)

        async def getmany(timeout: float) -> Any:
            for offset in (0, 1, 2):
                yield HERE, message(consumer, offset)
            consumer._stopped.set()

        consumer.callback = take
        consumer.getmany = getmany
        consumer._read_offset[HERE] = 50
        await consumer._drain_messages(consumer)
        return got

    return with_consumer(use, cls)


def test_no_record_is_dropped_for_its_offset() -> None:
    assert _drained(Consumer) == [0, 1, 2]


def test_control_faust_itself_drops_what_lies_below_its_offset() -> None:
    assert _drained(driver.Consumer) == []


async def _told(consumer: Any, awaited: Awaitable[Any]) -> tuple[Any, str]:
    """What a wait for something, or for the flow to be suspended, says; and how many tasks it leaves behind."""
    before = asyncio.all_tasks()
    try:
        got = await asyncio.wait_for(consumer.wait_first(awaited, consumer.suspend_flow.wait()), 5)
        told: Any = got.results, got.stopped
    except LookupError as error:
        told = repr(error)
    await asyncio.sleep(0)
    return told, f"{len(asyncio.all_tasks() - before)} left"


async def _at_once(consumer: Any, _: Positions) -> Any:
    async def put() -> int:
        return 7

    return await _told(consumer, put())


async def _later(consumer: Any, _: Positions) -> Any:
    async def put() -> int:
        await asyncio.sleep(0.01)
        return 7

    return await _told(consumer, put())


async def _failing(consumer: Any, _: Positions) -> Any:
    async def put() -> int:
        raise LookupError("put")

    return await _told(consumer, put())


async def _suspended(consumer: Any, _: Positions) -> Any:
    asyncio.get_running_loop().call_later(0.01, consumer.suspend_flow.set)
    return await _told(consumer, asyncio.sleep(600))


async def _stopped(consumer: Any, _: Positions) -> Any:
    asyncio.get_running_loop().call_later(0.01, consumer._stopped.set)
    return await _told(consumer, asyncio.sleep(600))


async def _stopped_before(consumer: Any, _: Positions) -> Any:
    consumer._stopped.set()
    return await _told(consumer, asyncio.sleep(0))


async def _cancelled(consumer: Any, _: Positions) -> Any:
    """The record is put at most half-way, and nothing stays behind."""
    done = []

    async def put() -> None:
        await asyncio.sleep(0.02)
        done.append(1)

    waiting = asyncio.create_task(consumer.wait_first(put(), consumer.suspend_flow.wait()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await asyncio.sleep(0.05)
    return waiting.cancelled(), done


CASES = (_at_once, _later, _failing, _suspended, _stopped, _stopped_before, _cancelled)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.strip("_"))
def test_a_record_is_put_as_faust_puts_it(case: Callable[[Any, Positions], Awaitable[Any]]) -> None:
    told = with_consumer(case)
    assert told == with_consumer(case, driver.Consumer)


def test_a_record_is_put_with_one_task() -> None:
    async def use(consumer: Any, positions: Positions) -> int:
        made: list[Any] = []
        loop = asyncio.get_running_loop()

        def make(loop: asyncio.AbstractEventLoop, coro: Any, **how: Any) -> "asyncio.Task[Any]":
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **how)

        loop.set_task_factory(make)
        await consumer.wait_first(nothing(), consumer.suspend_flow.wait())
        return len(made)

    assert with_consumer(use) == 1
    assert with_consumer(use, driver.Consumer) == 4


def test_the_client_is_made_as_we_need_it() -> None:
    async def use(consumer: Any, positions: Positions) -> tuple[Any, Any, Any]:
        client = consumer._new_consumer_thread()._create_worker_consumer(consumer.transport)
        made = client._fetch_max_wait_ms, client._partition_assignment_strategy, client._isolation_level
        await client.stop()
        return made

    assert with_consumer(use) == (100, (RangePartitionAssignor,), "read_uncommitted")


def test_an_acked_record_is_not_waited_for() -> None:
    async def use(consumer: Any, positions: Positions) -> tuple[int, bool, int, bool]:
        came = message(consumer, 0)
        consumer.track_message(came)
        before = len(consumer._unacked_messages)
        first = consumer.ack(came)
        return before, first, len(consumer._unacked_messages), consumer.ack(came)

    assert with_consumer(use) == (1, True, 0, False)


def test_the_app_makes_no_folder_no_producer_and_no_web_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAUST_DATADIR", str(tmp_path / "from-the-environment"))

    async def body() -> tuple[list[Any], list[Any]]:
        app: App = build_app(Settings(), TOPICS, Positions(), credentials=None, process=nothing, fail=fail)
        app._create_directories()
        boot = app.BootStrategy(app)
        return list(boot.kafka_producer()), list(boot.web_server())

    assert asyncio.run(body()) == ([], [])
    assert list(tmp_path.iterdir()) == []
