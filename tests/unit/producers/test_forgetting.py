"""What the scheduler remembers of jobs, and that it forgets those of databases that are gone."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import pytest

from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.dispatch import Dispatch
from pganalytics.producers.knocks import Doors
from pganalytics.producers.meters import Meters
from pganalytics.producers.pauses import Pauses
from pganalytics.producers.results import Collected, Discovered, Failed, Outcome
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.statuses import METRIC_STATUS
from pganalytics.producers.target_state import TargetState
from pganalytics.producers.workers import Workers
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas
from waiting import until

BROKEN = Failed("sqlstate:XX001", "", "", of_target=False, of_database=True)


class Server:
    """Has these databases, none of which can be read."""

    def __init__(self) -> None:
        self.databases: set[str] = set()
        self.asked: list[str] = []
        self.forgotten: list[JobKey] = []

    def run(self, jobs: Sequence[Job], go_on: Callable[[], bool]) -> Sequence[Outcome]:
        return [self._one(job) for job in jobs]

    def forget(self, keys: Collection[JobKey]) -> None:
        self.forgotten += keys

    def _one(self, job: Job) -> Outcome:
        if job.key.metric == METRIC_STATUS:
            return Discovered(frozenset(self.databases), {})
        if not job.key.database:
            return Collected(0)
        self.asked.append(job.key.database)
        return BROKEN


def test_a_database_that_comes_again_is_not_taken_for_the_one_that_went(
    lifecycle: Lifecycle, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read at once, although the failures of the other one had paused it for an hour; and that it fails too is told."""
    caplog.set_level(logging.INFO)
    server, states = Server(), {"one": TargetState()}
    settings = Settings.model_validate({"targets": [{"name": "one"}], "collect": {"preset": "minimal"}})
    sizes = Settings.model_validate(settings.model_dump() | {"metrics": {"sizes": {"enabled": True}}})
    jobs = [replace(job, interval_s=0.02) for job in resolve_jobs(sizes, builtin_schemas(), "machine")]
    pauses = Pauses(3600.0)
    for _ in range(12):
        pauses.note(JobKey("one", "sizes", "shop"), BROKEN, time.monotonic(), jitter=1.0)
    dispatch = Dispatch(jobs, Workers(2), pauses, server, doors, states, Meters(build_measurements(Service.COLLECT)))
    dispatch.start(lifecycle)
    server.databases = {"shop"}
    until(lambda: states["one"].seen()[1].get("skipped.backoff", 0) > 2)
    assert server.asked == []
    for times in (1, 2, 3):
        server.databases = set()
        until(lambda times=times: len(server.forgotten) == times)  # type: ignore[misc]
        server.databases = {"shop"}
        until(lambda times=times: len(told(caplog)) == times)  # type: ignore[misc]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.message for one in caplog.records if one.message == "database cannot be read"]
