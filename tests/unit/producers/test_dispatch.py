"""The scheduler with real threads and knocks at loopback ports; no server."""

import threading
import time
from collections.abc import Callable, Collection, Sequence

from pganalytics.embedded.ports import free_port
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.dispatch import Dispatch
from pganalytics.producers.knocks import Knocks
from pganalytics.producers.meters import Meters
from pganalytics.producers.pauses import Pauses
from pganalytics.producers.results import Collected, Outcome
from pganalytics.producers.target_state import TargetState
from pganalytics.producers.workers import Workers
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas
from waiting import until


class Counting:
    """Reads nothing, and counts what it was asked to read."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self._lock = threading.Lock()

    def forget(self, keys: Collection[object]) -> None:
        """Nothing is remembered."""

    def run(self, jobs: Sequence[Job], go_on: Callable[[], bool]) -> list[Outcome]:
        with self._lock:
            self.ran += [job.key.metric for job in jobs]
        return [Collected(1, asked=job.asks) for job in jobs]


def test_the_machine_is_read_while_its_server_is_down() -> None:
    """No worker is spent on the server, whose error is known all the same, and stays known."""
    quick = {"host": {"interval_s": 0.5}, "heartbeat": {"interval_s": 0.5}}
    target = {"name": "one", "host": "127.0.0.1", "port": free_port(), "local": True}
    settings = Settings.model_validate({"metrics": quick, "targets": [target]})
    lifecycle, runner, state = Lifecycle(), Counting(), TargetState()
    jobs = resolve_jobs(settings, builtin_schemas(), "machine")
    meters = Meters(build_measurements(Service.COLLECT))
    Dispatch(jobs, Workers(4), Pauses(1), runner, Knocks(1), {"one": state}, meters).start(lifecycle)
    until(lambda: state.seen()[0].error == "refused")
    before = len(runner.ran)
    until(lambda: len(runner.ran) >= before + 3)
    lifecycle.request_stop("done")
    assert lifecycle.join_all(time.monotonic() + 10) == []
    assert set(runner.ran) == {"host"}
    assert state.seen()[0].error == "refused"
