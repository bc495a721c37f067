"""One worker: the Faust app and everything that it is put together from, in one event loop."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable

from aiokafka.errors import KafkaConnectionError

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.lag import LagWatch, lag_meter
from pganalytics.runtime.measurements import Measurements
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Topics
from pganalytics.streams.app import build_app, group_of
from pganalytics.streams.failstop import fail_stop
from pganalytics.streams.guard import Guard
from pganalytics.streams.meters import LAG, Meters
from pganalytics.streams.outputs import build_outputs
from pganalytics.streams.overrides import App, check_versions
from pganalytics.streams.pipeline import Pipeline
from pganalytics.streams.positions import Positions
from pganalytics.streams.processor import Processor
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.repeats import quieten
from pganalytics.streams.security import credentials_of
from pganalytics.streams.ticks import Ticks
from pganalytics.streams.watch import Terms

logger = logging.getLogger(__name__)

LOOK_S = 0.1
TICK_END_S = 15.0
"""For the answer to a question that is out when the process stops."""


class Worker:
    """Reads, decides, sends. Raises SettingsError when it cannot be made of these settings."""

    def __init__(self, settings: Settings, measurements: Measurements, *, quotas: Quotas) -> None:
        check_versions()
        self._quotas = quotas
        self._settings = settings
        self._measurements = measurements
        self._credentials = credentials_of(settings.kafka.options)
        self.outputs = build_outputs(settings.kafka)
        self._topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
        self._positions = Positions()
        self.turned_at = time.monotonic()
        """When the event loop last came round (time.monotonic)."""

    def lag_watch(self) -> LagWatch:
        """For a thread of its own, beside the event loop."""
        lanes = {self._topics.collected(lane): str(lane) for lane in LANES}
        tell = lag_meter(self._measurements, LAG, lanes)
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
        topics, positions = self._topics, self._positions
        offsets = GroupOffsets(self._settings.kafka, group_of(topics), name="streams-guard")
        meters = Meters(self._measurements, topics, positions)
        meters.watch(self._quotas)
        ends = GroupOffsets(self._settings.kafka, group_of(topics), name="streams-ends")
        processor = Processor(topics, self._quotas, Terms.of(self._settings.streams.gaps))
        pipeline = Pipeline(
            topics,
            positions,
            guard=Guard(offsets, positions, stopping=stop.is_set),
            processor=processor,
            outputs=self.outputs,
            meters=meters,
        )
        app = build_app(
            self._settings, topics, positions, credentials=self._credentials, process=pipeline.process, fail=fail_stop
        )
        try:
            await _run(app, stop, Ticks(ends, processor.watch, pipeline.tick), self._turned)
        except KafkaConnectionError as error:  # only before it has ever been connected: later it tries for ever
            bootstrap = self._settings.kafka.bootstrap
            raise Unreachable(f"kafka {bootstrap}: no broker answers: start it, or set kafka.bootstrap") from error
        finally:
            offsets.close()
            ends.close()

    def _turned(self) -> None:
        self.turned_at = time.monotonic()


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
