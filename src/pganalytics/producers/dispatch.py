"""The scheduler's thread and the workers: who reads what, when. Decisions are `schedule`, `workers` and `pauses`."""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pganalytics.producers.collectors import Job
from pganalytics.producers.meters import Meters
from pganalytics.producers.pauses import Pauses
from pganalytics.producers.results import Collected, Failed, Outcome, Unavailable
from pganalytics.producers.schedule import JobKey, Schedule
from pganalytics.producers.target_state import TargetState
from pganalytics.producers.workers import Candidate, Workers
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import OnChange

logger = logging.getLogger(__name__)
TICK_S = 0.2


@dataclass(frozen=True, slots=True)
class _Finished:
    key: JobKey
    outcome: Outcome
    elapsed_s: float


class Dispatch:
    """`start` spawns one scheduler and `workers.count` workers; all end when the lifecycle stops."""

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: Workers,
        pauses: Pauses,
        run_job: Callable[[Job], Outcome],
        states: Mapping[str, TargetState],
        meters: Meters,
    ) -> None:
        self._jobs = {job.key: job for job in jobs}
        self._workers = workers
        self._pauses = pauses
        self._run_job = run_job
        self._states = states
        self._meters = meters
        self._inbox: queue.Queue[JobKey] = queue.Queue(workers.count)
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
            for key in schedule.due(now):
                self._offer(key, now)
            for candidate in self._workers.admit(list(self._waiting.values())):
                del self._waiting[candidate.key]
                self._inbox.put_nowait(candidate.key)
            self._take_finished(schedule.wait_s(time.monotonic(), TICK_S))

    def _offer(self, key: JobKey, now: float) -> None:
        if key in self._waiting or key in self._workers.running:
            self._states[key.collector].count("skipped.running")
        elif not self._pauses.may_try(key, now):
            self._states[key.collector].count("skipped.backoff")
        else:
            job = self._jobs[key]
            self._waiting[key] = Candidate(key, job.critical, job.target.pool_max)

    def _take_finished(self, timeout_s: float) -> None:
        try:
            done = self._finished.get(timeout=timeout_s)
            while True:
                self._note(done)
                done = self._finished.get_nowait()
        except queue.Empty:
            return

    def _note(self, done: _Finished) -> None:
        of_target = isinstance(done.outcome, Failed) and done.outcome.of_target
        self._workers.finished(done.key, well=not of_target, elapsed_s=done.elapsed_s)
        self._pauses.note(done.key, done.outcome, time.monotonic(), random.random())  # noqa: S311
        self._meters.job_ended(done.key, done.outcome)
        self._report(done.key, done.outcome)

    def _report(self, key: JobKey, outcome: Outcome) -> None:
        """One line when something starts to fail, changes or ends."""
        who = {"collector": key.collector}
        which = {**who, "metric": key.metric}
        one = f"{key.collector} {key.metric}"
        if isinstance(outcome, Failed) and outcome.kind == "stopping":
            return
        if isinstance(outcome, Failed) and outcome.of_target:
            if self._news.is_news(key.collector, outcome.kind):
                facts = {**who, "error": outcome.kind, "reason": outcome.reason, "cure": outcome.cure}
                logger.warning("target cannot be read", extra=facts)
            return
        if isinstance(outcome, Failed | Collected | Unavailable) and self._news.is_news(key.collector, ""):
            logger.info("target is read again", extra=who)
        if isinstance(outcome, Failed):
            if self._news.is_news(one, outcome.kind):
                facts = {**which, "error": outcome.kind, "reason": outcome.reason, "cure": outcome.cure}
                logger.warning("metric cannot be read", extra=facts)
        elif isinstance(outcome, Unavailable):
            if self._is_first(key, outcome.reason):
                logger.warning("metric is not available", extra={**which, "reason": outcome.reason, "cure": outcome.cure})
        elif isinstance(outcome, Collected):
            was_unavailable = self._unavailable.pop(key, None) is not None
            if self._news.is_news(one, "") or was_unavailable:
                logger.info("metric is read again", extra=which)
        elif self._news.is_news(one, outcome.why):
            logger.warning("readings are held back", extra={**which, "reason": outcome.why})

    def _is_first(self, key: JobKey, reason: str) -> bool:
        """Whether no metric of this target was unavailable for this reason: one cure is told once."""
        told = {why for other, why in self._unavailable.items() if other.collector == key.collector}
        self._unavailable[key] = reason
        return reason not in told

    def _work(self, lifecycle: Lifecycle) -> None:
        while not lifecycle.stopping:
            try:
                key = self._inbox.get(timeout=TICK_S)
            except queue.Empty:
                continue
            began = time.monotonic()
            outcome = self._run_job(self._jobs[key])
            self._finished.put(_Finished(key, outcome, time.monotonic() - began))
