"""The sink as a service: `pganalytics sink`."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.endpoint import serving
from pganalytics.runtime.errors import Crash, Unreachable
from pganalytics.runtime.health import Health, Problems
from pganalytics.runtime.kafka import admin, topic_problems
from pganalytics.runtime.lag import LagWatch, Progress
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.topics import Topics
from pganalytics.sink import store
from pganalytics.sink.accountant import Accountant
from pganalytics.sink.catalogue import Catalogue
from pganalytics.sink.consumer import RecordConsumer, group_of
from pganalytics.sink.errors import MostFail
from pganalytics.sink.health import Signs, alive, ready
from pganalytics.sink.letters import Letters
from pganalytics.sink.loop import SinkLoop
from pganalytics.sink.meters import Meters
from pganalytics.sink.shares import weights
from pganalytics.sink.upkeep import Upkeep

logger = logging.getLogger(__name__)


def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Store what is admitted until a stop is requested, then finish the batch at hand.

    Raises SettingsError or Unreachable, one line each, when topics or store are not as they must be; MostFail when it stops
    itself; Crash when a thread ended with another exception.
    """
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    if problems := topic_problems(settings.kafka, topics.table()):
        raise Unreachable("\n".join(problems))
    store.check(settings)
    measurements = build_measurements(Service.SINK)
    meters = Meters(measurements)
    with CompactedReader(settings.kafka, topics.schemas, name="sink-schemas") as schemas, ExitStack() as served:
        progress = Progress()
        loop = build_loop(settings, topics, schemas, meters, progress)
        lag = LagWatch(settings.kafka, group_of(topics), tuple(weights(topics)), known=progress.known, tell=meters.lags(topics))
        health = health_of(loop, lag)
        meters.show_health(health)
        served.enter_context(serving(measurements, lifecycle, settings.sink, section="sink", health=health))
        upkeep = Upkeep(settings, meters)
        accountant = build_accountant(settings, topics, meters)
        lifecycle.spawn("sink", lambda: loop.run(lifecycle.stop))
        lifecycle.spawn("sink-upkeep", lambda: upkeep.run(lifecycle.stop))
        lifecycle.spawn("sink-accountant", lambda: accountant.run(lifecycle.stop))
        lifecycle.spawn("sink-lag", lambda: lag.run(lifecycle.stop))
        logger.info("sink started", extra={"prefix": topics.prefix, "store": settings.store.dbname})
        lifecycle.wait()
        late = lifecycle.join_all(time.monotonic() + settings.sink.stop_timeout_s)
    if isinstance(lifecycle.failure, MostFail):
        raise lifecycle.failure
    if lifecycle.failure is not None:
        raise Crash(f"sink: {lifecycle.failure!r}") from lifecycle.failure
    logger.info("sink stopped", extra={"reason": lifecycle.reason, "threads_left": ",".join(late)})


def build_loop(settings: Settings, topics: Topics, schemas: CompactedReader, meters: Meters, progress: Progress) -> SinkLoop:
    """The working thread's parts, put together."""
    return SinkLoop(
        settings,
        topics,
        consumer=RecordConsumer(settings, topics, progress),
        catalogue=Catalogue(schemas),
        letters=Letters(settings.kafka, topics),
        admin=admin(settings.kafka),
        meters=meters,
    )


def health_of(loop: SinkLoop, lag: LagWatch) -> Health:
    """What the endpoint asks."""

    def judged(judge: Callable[[Signs, float], Problems]) -> Problems:
        return judge(Signs(lag.last, loop.turned_at, loop.waits_for, loop.went_on_at), time.monotonic())

    return Health(lambda: judged(alive), lambda: judged(ready))


def build_accountant(settings: Settings, topics: Topics, meters: Meters) -> Accountant:
    """The accountant with clients of its own."""
    return Accountant(
        settings,
        topics,
        letters=Letters(settings.kafka, topics),
        client=admin(settings.kafka),
        offsets=GroupOffsets(settings.kafka, f"{topics.prefix}.streams", name="accountant"),
        meters=meters,
    )
