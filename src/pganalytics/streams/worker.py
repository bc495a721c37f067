"""One worker: the Faust app and everything that it is put together from, in one event loop."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from aiokafka.errors import KafkaConnectionError

from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.lag import LagWatch, lag_meter
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import Measurements
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.settings import Control, Settings
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Topics
from pganalytics.streams.app import build_app, group_of
from pganalytics.streams.control import Policy
from pganalytics.streams.controller import Controller
from pganalytics.streams.failstop import fail_stop
from pganalytics.streams.guard import Guard
from pganalytics.streams.meters import LAG, Meters
from pganalytics.streams.orders import Orders
from pganalytics.streams.outputs import build_outputs
from pganalytics.streams.overrides import App, check_versions
from pganalytics.streams.pipeline import Pipeline
from pganalytics.streams.positions import Positions
from pganalytics.streams.processor import Processor
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.repeats import quieten
from pganalytics.streams.rule_file import RuleFile
from pganalytics.streams.rules import Rules, build_rules
from pganalytics.streams.security import credentials_of
from pganalytics.streams.sink_lag import SinkLag
from pganalytics.streams.ticks import Ticks
from pganalytics.streams.watch import Terms

logger = logging.getLogger(__name__)

LOOK_S = 0.1
TICK_END_S = 15.0
"""For the answer to a question that is out when the process stops."""


class Worker:
    """Reads, decides, sends. Raises SettingsError when it cannot be made of these settings.

    `config`: the settings file, which is read again for other rules when it changes.
    """

    def __init__(self, settings: Settings, measurements: Measurements, *, quotas: Quotas, config: Path | None = None) -> None:
        check_versions()
        self._settings = settings
        self._config = config
        self._credentials = credentials_of(settings.kafka.options)
        self._topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
        self._positions = Positions()
        self._measurements = measurements
        self._meters = Meters(measurements, self._topics, self._positions)
        self._meters.watch(quotas)
        self._controller = Controller(self._topics, _policy(settings.streams.control))
        self._meters.read_control(self._controller)
        rules, terms = build_rules(settings.streams.rules), Terms.of(settings.streams.gaps)
        self._processor = Processor(self._topics, quotas, terms, rules=rules, controller=self._controller)
        self.outputs = build_outputs(settings.kafka)
        self.turned_at = time.monotonic()
        """When the event loop last came round (time.monotonic)."""

    def watch(self, lifecycle: Lifecycle) -> None:
        """Start the threads that look at what decisions depend on beside the records."""
        if self._settings.streams.control.enabled:
            lifecycle.spawn("streams-sink-lag", lambda: self._watch_sink(lifecycle.stop))
        if self._config is not None:
            file = RuleFile(self._config, self._settings.streams.rules, self._take_rules)
            lifecycle.spawn("streams-rules", lambda: file.run(lifecycle.stop))

    def lag_watch(self) -> LagWatch:
        """For a thread of its own, beside the event loop."""
        lanes = {self._topics.collected(lane): str(lane) for lane in LANES}
        tell = lag_meter(self._measurements, LAG, lanes, kept_s=self._topics.kept_s())
        return LagWatch(
            self._settings.kafka,
            group_of(self._topics),
            tuple(lanes),
            known=self._positions.known,
            tell=tell,
            own=lambda: self._positions.assigned,
        )

    async def run(self, stop: threading.Event) -> None:
        """Work until `stop`; returns when everything is committed and the group is left.

        Raises Unreachable when the broker went away while Faust started, else what broke Faust.
        """
        quieten()
        kafka, topics, positions = self._settings.kafka, self._topics, self._positions
        offsets = GroupOffsets(kafka, group_of(topics), name="streams-guard")
        ends = GroupOffsets(kafka, group_of(topics), name="streams-ends")
        reader = CompactedReader(kafka, topics.control, name="streams-orders")
        orders = Orders(reader, self._controller, timeout_s=kafka.timeout_s, stopping=stop.is_set)
        pipeline = Pipeline(
            topics,
            positions,
            guard=Guard(offsets, positions, stopping=stop.is_set),
            processor=self._processor,
            outputs=self.outputs,
            meters=self._meters,
            catch_up=orders.catch_up,
        )
        app = build_app(
            self._settings, topics, positions, credentials=self._credentials, process=pipeline.process, fail=fail_stop
        )
        try:
            await _run(app, stop, Ticks(ends, self._processor.watch, pipeline.tick), self._turned)
        except KafkaConnectionError as error:  # only before it has ever been connected: later it tries for ever
            raise Unreachable(f"kafka {kafka.bootstrap}: no broker answers: start it, or set kafka.bootstrap") from error
        finally:
            offsets.close()
            ends.close()
            reader.close()

    def _turned(self) -> None:
        self.turned_at = time.monotonic()

    def _watch_sink(self, stop: threading.Event) -> None:
        offsets = GroupOffsets(self._settings.kafka, f"{self._topics.prefix}.sink", name="streams-sink-lag")
        try:
            SinkLag(offsets, self._topics, self._controller).run(stop)
        finally:
            offsets.close()

    def _take_rules(self, rules: Rules | None) -> None:
        self._meters.rules_read(taken=rules is not None)
        if rules is not None:
            self._processor.rules = rules


def _policy(control: Control) -> Policy | None:
    return Policy(round(control.interval_s * 1_000_000), control.most_stretch, control.ttl_s) if control.enabled else None


async def _run(app: App, stop: threading.Event, ticks: Ticks, turned: Callable[[], None]) -> None:
    starting = asyncio.create_task(app.start())
    ticking = asyncio.create_task(ticks.run(stop.is_set))
    while not stop.is_set():
        turned()
        for task in (starting, ticking):
            if task.done():
                task.result()
        if app.crashed:
            raise app.crash_reason or RuntimeError("Faust crashed")
        await asyncio.sleep(LOOK_S)
    await app.stop()
    await asyncio.wait({ticking}, timeout=TICK_END_S)
    ticking.cancel()
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
