"""The streams as a service: `pganalytics streams`."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.endpoint import serving
from pganalytics.runtime.errors import Crash, SettingsError, Unreachable
from pganalytics.runtime.follower import Follower
from pganalytics.runtime.health import Health, Problems
from pganalytics.runtime.kafka import topic_problems
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.topics import Topics
from pganalytics.streams.health import Signs, alive, ready
from pganalytics.streams.quotas import Quotas

logger = logging.getLogger(__name__)


def run(settings: Settings, lifecycle: Lifecycle, *, config: Path | None = None) -> None:
    """Admit what is collected until a stop is requested, then finish the batch at hand, commit and leave the group.

    `config` is watched for other rules of priority.

    Raises SettingsError or Unreachable, one line each, when something is not as it must be; Crash when a thread ended with
    an exception. An error in the agent ends the process at once, with the exit code of a crash.
    """
    try:
        from pganalytics.streams.worker import Worker  # noqa: PLC0415 - Faust is an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("faust", "mode", "aiokafka"):
            raise
        raise SettingsError(f"the streams need {error.name}: install `pganalytics[streams]`") from error
    measurements = build_measurements(Service.STREAMS)
    quotas = Quotas(settings.streams.quota, never_shed=settings.streams.never_shed)
    worker = Worker(settings, measurements, quotas=quotas, config=config)
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    if problems := topic_problems(settings.kafka, topics.table()):
        raise Unreachable("\n".join(problems))
    overrides = _read_overrides(settings, topics, quotas)
    delivered = threading.Event()
    lag = worker.lag_watch()

    def judged(judge: Callable[[Signs, float], Problems]) -> Problems:
        return judge(Signs(lag.last, worker.turned_at), time.monotonic())

    health = Health(lambda: judged(alive), lambda: judged(ready))
    measurements.show_health(health, alive="pganalytics_streams_alive", ready="pganalytics_streams_ready")
    with serving(measurements, lifecycle, settings.streams, section="streams", health=health):
        lifecycle.spawn("streams-quotas", lambda: overrides.run(lifecycle.stop))
        lifecycle.spawn("streams-delivery", lambda: worker.outputs.poll_until(delivered))
        worker.watch(lifecycle)
        lifecycle.spawn("streams-lag", lambda: lag.run(lifecycle.stop))
        thread = lifecycle.spawn("streams", lambda: asyncio.run(worker.run(lifecycle.stop)))
        logger.info("streams started", extra={"prefix": topics.prefix})
        lifecycle.wait()
        deadline = time.monotonic() + settings.streams.stop_timeout_s
        thread.join(settings.streams.stop_timeout_s)
        delivered.set()
        late = lifecycle.join_all(deadline + 1)
    if isinstance(lifecycle.failure, Unreachable):
        raise lifecycle.failure
    if lifecycle.failure is not None:
        raise Crash(f"streams: {lifecycle.failure!r}") from lifecycle.failure
    logger.info("streams stopped", extra={"reason": lifecycle.reason, "threads_left": ",".join(late)})


def _read_overrides(settings: Settings, topics: Topics, quotas: Quotas) -> Follower:
    """The topic `quotas`, read to its end, so that the first decision knows all of it."""
    reader = CompactedReader(settings.kafka, topics.quotas, name="streams-quotas", accept=quotas.accept)
    follower = Follower(reader, quotas.take)
    follower.read(settings.kafka.timeout_s)
    return follower
