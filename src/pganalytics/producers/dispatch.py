"""The scheduler's thread and the workers: who reads what, when. Decisions are `schedule`, `workers` and `pauses`."""

import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pganalytics.producers.collectors import Job
from pganalytics.producers.control import Controls
from pganalytics.producers.meters import Meters
from pganalytics.producers.pauses import Pauses
from pganalytics.producers.results import Collected, Discovered, Failed, Gone, HeldBack, Kind, Outcome, Unavailable
from pganalytics.producers.schedule import JobKey, Schedule
from pganalytics.producers.target_state import TargetState
from pganalytics.producers.workers import Candidate, Workers
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import OnChange

logger = logging.getLogger(__name__)
TICK_S = 0.2


@dataclass(frozen=True, slots=True)
class _Finished:
    """Jobs that a worker took together, and what became of each."""

    keys: tuple[JobKey, ...]
    outcomes: Sequence[Outcome]
    elapsed_s: float


class JobRunner(Protocol):
    """What is done with jobs; workers call it, and the scheduler when jobs end for good."""

    def run(self, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """Jobs of one target and database, to their ends."""

    def forget(self, keys: Collection[JobKey]) -> None:
        """These jobs run no more."""


class Dispatch:
    """`start` spawns one scheduler and `workers.count` workers; all end when the lifecycle stops."""

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: Workers,
        pauses: Pauses,
        runner: JobRunner,
        states: Mapping[str, TargetState],
        meters: Meters,
        controls: Controls | None = None,
    ) -> None:
        self._controls = controls or Controls()
        self._jobs = {job.key: job for job in jobs if not job.is_template}
        self._templates: dict[str, list[Job]] = {}
        for job in jobs:
            if job.is_template:
                self._templates.setdefault(job.key.collector, []).append(job)
        self._workers = workers
        self._pauses = pauses
        self._runner = runner
        self._states = states
        self._meters = meters
        self._inbox: queue.Queue[tuple[JobKey, ...]] = queue.Queue(workers.count)
        self._busy: set[JobKey] = set()
        self._databases: dict[str, set[str]] = {}
        self._finished: queue.Queue[_Finished] = queue.Queue()  # bounded by the number of workers
        self._waiting: dict[JobKey, Candidate] = {}
        self._news = OnChange()
        self._unavailable: dict[JobKey, str] = {}
        self._threads: list[threading.Thread] = []

    def start(self, lifecycle: Lifecycle) -> None:
        """Begin to read."""
        for number in range(1, self._workers.count + 1):
            self._threads.append(lifecycle.spawn(f"worker-{number}", lambda: self._work(lifecycle)))
        self._threads.append(lifecycle.spawn("scheduler", lambda: self._schedule(lifecycle)))

    def join(self, deadline: float) -> None:
        """Wait until nothing is read any more, at most until `deadline` (time.monotonic seconds)."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _schedule(self, lifecycle: Lifecycle) -> None:
        schedule = Schedule.starting([(key, job.interval_s) for key, job in self._jobs.items()], time.monotonic())
        while not lifecycle.stopping:
            now = time.monotonic()
            if changed := self._controls.take_changed():
                schedule.stretch(self._factors(key for key in self._jobs if key.collector in changed), now)
            for key in schedule.due(now):
                self._offer(key, now)
            self._drop_paused(now)
            for candidate in self._workers.admit(list(self._waiting.values())):
                self._inbox.put_nowait(self._bundle(candidate.key))
            for done in self._take_finished(schedule.wait_s(time.monotonic(), TICK_S)):
                for key, outcome in zip(done.keys, done.outcomes, strict=True):
                    if isinstance(outcome, Discovered):
                        self._follow(schedule, key.collector, set(outcome.databases))

    def _bundle(self, key: JobKey) -> tuple[JobKey, ...]:
        """What a worker takes with an admitted job: all that waits for the same database goes in one round trip."""
        same = [other for other in self._waiting if key.database and other != key and _place(other) == _place(key)]
        for each in (key, *same):
            self._waiting.pop(each, None)
        self._busy.update((key, *same))
        return (key, *same)

    def _follow(self, schedule: Schedule, collector: str, databases: set[str]) -> None:
        """Jobs for the databases that are there now, none for those that are not."""
        templates = self._templates.get(collector, [])
        known = self._databases.get(collector, set())
        new = [template.in_database(name) for name in sorted(databases - known) for template in templates]
        busy = {key.database for key in self._busy if key.collector == collector}
        left = known - databases - busy
        gone = [template.in_database(name).key for name in left for template in templates]
        self._databases[collector] = (known | databases) - left
        self._jobs |= {job.key: job for job in new}
        schedule.add([(job.key, job.interval_s) for job in new], time.monotonic())
        schedule.stretch(self._factors(job.key for job in new), time.monotonic())
        schedule.remove(gone)
        for key in gone:
            del self._jobs[key]
            self._waiting.pop(key, None)
            self._unavailable.pop(key, None)
        if gone:
            self._runner.forget(gone)

    def _factors(self, keys: Iterable[JobKey]) -> dict[JobKey, float]:
        return {key: self._controls.stretch(key.collector, self._jobs[key].schema.lane) for key in keys}

    def _as_told(self, job: Job) -> Job:
        """With as many rows in detail as the streams allow."""
        rows = self._controls.rows(job.key.collector, job.limit)
        return job if rows == job.limit else replace(job, limit=rows)

    def _offer(self, key: JobKey, now: float) -> None:
        if key in self._waiting or key in self._busy:
            self._states[key.collector].count("skipped.running")
        elif not self._pauses.may_try(key, now):
            self._states[key.collector].count("skipped.backoff")
        else:
            job = self._jobs[key]
            self._waiting[key] = Candidate(key, job.critical, job.target.pool_max)

    def _drop_paused(self, now: float) -> None:
        """A target that failed is left alone also by those of its jobs that wait for a worker already."""
        for key in [key for key in self._waiting if not self._pauses.may_try(key, now)]:
            del self._waiting[key]
            self._states[key.collector].count("skipped.backoff")

    def _take_finished(self, timeout_s: float) -> list[_Finished]:
        finished = []
        with contextlib.suppress(queue.Empty):
            finished.append(self._finished.get(timeout=timeout_s))
            while True:
                finished.append(self._finished.get_nowait())
        for done in finished:
            self._note(done)
        return finished

    def _note(self, done: _Finished) -> None:
        of_target = any(isinstance(outcome, Failed) and outcome.of_target for outcome in done.outcomes)
        share_s = done.elapsed_s / len(done.keys)
        self._workers.finished(done.keys[0], well=not of_target, elapsed_s=share_s)
        self._busy.difference_update(done.keys)
        for key, outcome in zip(done.keys, done.outcomes, strict=True):
            self._pauses.note(key, outcome, time.monotonic(), random.random())  # noqa: S311
            self._meters.job_ended(key, outcome, share_s)
            self._report(key, outcome)

    def _report(self, key: JobKey, outcome: Outcome) -> None:
        """One line when something starts to fail, changes or ends."""
        who = {"collector": key.collector}
        which = {**who, "metric": key.metric}
        which |= {"database": key.database} if key.database else {}
        one = f"{key.collector} {key.metric} {key.database}"
        if isinstance(outcome, Gone) or (isinstance(outcome, Failed) and outcome.kind == "stopping"):
            return
        if isinstance(outcome, Failed) and outcome.of_database:
            if self._news.is_news(f"{key.collector}\n{key.database}", outcome.kind):
                facts = {**who, "database": key.database, "error": outcome.kind, "reason": outcome.reason, "cure": outcome.cure}
                logger.warning("database cannot be read", extra=facts)
            return
        if isinstance(outcome, Failed) and outcome.of_target:
            if self._news.is_news(key.collector, outcome.kind):
                facts = {**who, "error": outcome.kind, "reason": outcome.reason, "cure": outcome.cure}
                logger.warning("target cannot be read", extra=facts)
            return
        if isinstance(outcome, Failed | Collected | Unavailable | Discovered) and self._news.is_news(key.collector, ""):
            logger.info("target is read again", extra=who)
        if key.database and isinstance(outcome, Collected) and self._news.is_news(f"{key.collector}\n{key.database}", ""):
            logger.info("database is read again", extra={**who, "database": key.database})
        if isinstance(outcome, Failed):
            if self._news.is_news(one, outcome.kind):
                facts = {**which, "error": outcome.kind, "reason": outcome.reason, "cure": outcome.cure}
                logger.warning("metric cannot be read", extra=facts)
        elif isinstance(outcome, Unavailable):
            if self._is_first(key, outcome.reason):
                level = logging.INFO if outcome.kind is Kind.VERSION else logging.WARNING
                facts = {**which, "reason": outcome.reason, "cure": outcome.cure}
                logger.log(level, "metric is not available", extra=facts)
        elif isinstance(outcome, Collected | Discovered):
            was_unavailable = self._unavailable.pop(key, None) is not None
            if self._news.is_news(one, "") or was_unavailable:
                logger.info("metric is read again", extra=which)
        elif isinstance(outcome, HeldBack) and self._news.is_news(one, outcome.why):
            logger.warning("readings are held back", extra={**which, "reason": outcome.why})

    def _is_first(self, key: JobKey, reason: str) -> bool:
        """Whether no metric of this target was unavailable for this reason: one cure is told once."""
        told = {why for other, why in self._unavailable.items() if other.collector == key.collector}
        self._unavailable[key] = reason
        return reason not in told

    def _work(self, lifecycle: Lifecycle) -> None:
        while not lifecycle.stopping:
            try:
                keys = self._inbox.get(timeout=TICK_S)
            except queue.Empty:
                continue
            began = time.monotonic()
            outcomes = self._runner.run([self._as_told(self._jobs[key]) for key in keys])
            self._finished.put(_Finished(keys, outcomes, time.monotonic() - began))


def _place(key: JobKey) -> tuple[str, str]:
    return key.collector, key.database
