"""The scheduler's thread and the workers: who reads what, when. Decisions are `schedule`, `workers` and `pauses`."""

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from pganalytics.producers.collectors import Job
from pganalytics.producers.control import Controls
from pganalytics.producers.knocks import Doors
from pganalytics.producers.meters import Meters
from pganalytics.producers.pauses import Pauses
from pganalytics.producers.reports import Reports
from pganalytics.producers.results import Discovered, Failed, Outcome, was_asked
from pganalytics.producers.schedule import JobKey, Schedule
from pganalytics.producers.target_state import TargetState
from pganalytics.producers.turnover import Left, Turnover, nothing_left
from pganalytics.producers.turns import candidates, taken_with
from pganalytics.producers.workers import Candidate, Workers
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Target

TICK_S = 0.2
_Mailbox = queue.SimpleQueue[tuple[JobKey, ...] | None]
"""Of one worker: what it takes, or None at the end."""


@dataclass(frozen=True, slots=True)
class _Finished:
    """Jobs that a worker took together, and what became of each that it began; the first one always is."""

    keys: tuple[JobKey, ...]
    outcomes: Sequence[Outcome]
    began_s: float
    elapsed_s: float
    mailbox: _Mailbox

    @property
    def begun(self) -> list[tuple[JobKey, Outcome]]:
        """Each with its outcome."""
        return list(zip(self.keys, self.outcomes, strict=False))

    @property
    def left(self) -> tuple[JobKey, ...]:
        """Those that were not begun."""
        return self.keys[len(self.outcomes) :]


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came of a knock at a target: what is wrong, or None."""

    key: JobKey
    target: Target
    wrong: Failed | None


class JobRunner(Protocol):
    """What is done with jobs; workers call it, and the scheduler when jobs end for good."""

    def run(self, jobs: Sequence[Job], go_on: Callable[[], bool]) -> Sequence[Outcome]:
        """Jobs of one target to their ends, database by database; `go_on` is asked before each but the first. The outcomes of
        those that were begun."""

    def forget(self, keys: Collection[JobKey]) -> None:
        """These jobs run no more."""


class Dispatch:
    """`start` spawns one scheduler and `workers.threads` workers; all end when the lifecycle stops."""

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: Workers,
        pauses: Pauses,
        runner: JobRunner,
        doors: Doors,
        states: Mapping[str, TargetState],
        meters: Meters,
        controls: Controls | None = None,
        left: Left = nothing_left,
    ) -> None:
        """`left`: called in the scheduler's thread, between the old jobs of a collector and its new ones."""
        self._controls = controls or Controls()
        self._jobs: dict[JobKey, Job] = {}
        self._templates: dict[str, list[Job]] = {}
        self._targets: dict[str, Target] = {}
        self._take_jobs(jobs)
        self._turnover = Turnover()
        self._left = left
        self._workers = workers
        self._pauses = pauses
        self._runner = runner
        self._doors = doors
        self._states = states
        self._meters = meters
        self._mailboxes: list[_Mailbox] = [queue.SimpleQueue() for _ in range(workers.threads)]
        self._idle = self._mailboxes[::-1]
        self._busy: set[JobKey] = set()
        self._databases: dict[str, set[str]] = {}
        self._finished: queue.SimpleQueue[_Finished | _Heard] = queue.SimpleQueue()  # at most one of each worker and target
        self._moved: queue.SimpleQueue[tuple[JobKey, float]] = queue.SimpleQueue()  # at most one of each busy database
        self._waiting: dict[JobKey, Candidate] = {}
        self._reports = Reports()
        self._threads: list[threading.Thread] = []
        self.turned_at = self.ended_at = time.monotonic()
        """When the scheduler last came round; when a job last ended, or none was to be done. Any thread may read these."""

    @property
    def open_jobs(self) -> int:
        """How many are due or running."""
        return len(self._waiting) + len(self._busy)

    def start(self, lifecycle: Lifecycle) -> None:
        """Begin to read."""
        self._doors.start(lifecycle)
        for number, mailbox in enumerate(self._mailboxes, 1):
            self._threads.append(lifecycle.spawn(f"worker-{number}", partial(self._work, lifecycle, mailbox)))
        self._threads.append(lifecycle.spawn("scheduler", lambda: self._schedule(lifecycle)))

    def change(self, jobs: Mapping[str, Sequence[Job]]) -> None:
        """All jobs that these collectors have from now on; none: it is to be read no more. Others go on untouched. Any thread."""
        self._turnover.put(jobs)

    def join(self, deadline: float) -> None:
        """Wait until nothing is read any more, at most until `deadline` (time.monotonic seconds)."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _schedule(self, lifecycle: Lifecycle) -> None:
        try:
            self._run(lifecycle)
        finally:
            for mailbox in self._mailboxes:
                mailbox.put(None)

    def _run(self, lifecycle: Lifecycle) -> None:
        schedule = Schedule.starting([(key, job.interval_s) for key, job in self._jobs.items()], time.monotonic())
        while not lifecycle.stopping:
            now = self.turned_at = time.monotonic()
            if not self.open_jobs:
                self.ended_at = now
            self._turn_over(schedule, now)
            if changed := self._controls.take_changed():
                schedule.stretch(self._factors(key for key in self._jobs if key.collector in changed), now)
            for key in schedule.due(now):
                self._offer(key, now)
            self._drop_paused(now)
            for key in self._workers.to_ask(self._waiting.values(), now):
                self._knock(key)
            self._take_moved()
            for candidate in self._workers.admit(candidates(self._waiting, self._busy, self._workers.trusted), now):
                mailbox = self._idle.pop()  # of the worker that was idle for the shortest time: its caches are warm
                mailbox.put(self._bundle(candidate))
            for done in self._take_finished(schedule.wait_s(time.monotonic(), TICK_S)):
                for key, outcome in done.begun:
                    if isinstance(outcome, Discovered) and key.collector not in self._turnover:
                        self._follow(schedule, key.collector, set(outcome.databases))

    def _take_jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Those among them that can run as they are."""
        for job in jobs:
            self._targets[job.key.collector] = job.target
            if job.is_template:
                self._templates.setdefault(job.key.collector, []).append(job)
        ready = [job for job in jobs if not job.is_template]
        self._jobs |= {job.key: job for job in ready}
        return ready

    def _turn_over(self, schedule: Schedule, now: float) -> None:
        """Other settings: nothing of the old begins any more; when the last of it has ended the new begins."""
        if taken := self._turnover.take():
            schedule.remove({key for key in schedule.intervals if key.collector in taken})
            self._waiting = {key: one for key, one in self._waiting.items() if key.collector not in taken}
        for collector, jobs in self._turnover.ready(self._busy).items():
            for known in (self._templates, self._databases, self._targets):
                known.pop(collector, None)
            old = [self._jobs.pop(key) for key in list(self._jobs) if key.collector == collector]
            for gone in {job.key for job in old} - {job.key for job in jobs}:
                self._reports.forget(gone)
            if not jobs:
                self._reports.forget_target(collector)
            self._pauses.forget_target(collector)
            self._workers.forget(collector)
            self._left(collector, old, jobs)
            new = self._take_jobs(jobs)
            schedule.begin([(job.key, job.interval_s) for job in new], now)
            schedule.stretch(self._factors(job.key for job in new), now)

    def _bundle(self, admitted: Candidate) -> tuple[JobKey, ...]:
        """What a worker takes with an admitted job."""
        taken = taken_with(admitted, self._waiting, self._busy, self._workers.trusted)
        for each in taken:
            self._waiting.pop(each, None)
        self._busy.update(taken)
        return taken

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
        schedule.add([(job.key, job.interval_s) for job in new], time.monotonic(), databases=len(databases))
        schedule.stretch(self._factors(job.key for job in new), time.monotonic())
        schedule.remove(gone)
        for key in gone:
            del self._jobs[key]
            self._waiting.pop(key, None)
            self._reports.forget(key)
        if gone:
            self._pauses.forget(gone)
            self._runner.forget(gone)

    def _factors(self, keys: Iterable[JobKey]) -> dict[JobKey, float]:
        return {key: self._controls.stretch(key.collector, self._jobs[key].schema.lane) for key in keys}

    def _as_told(self, job: Job) -> Job:
        """With as many rows in detail as the streams allow."""
        rows = self._controls.rows(job.key.collector, job.limit)
        return job if rows == job.limit else replace(job, limit=rows)

    def _offer(self, key: JobKey, now: float) -> None:
        if key.collector in self._turnover:
            return
        if key in self._waiting or key in self._busy:
            self._states[key.collector].count("skipped.running")
        elif not self._may_try(key, now):
            self._states[key.collector].count("skipped.backoff")
        else:
            job = self._jobs[key]
            self._waiting[key] = Candidate(key, job.critical, job.target.pool_max, job.asks)

    def _may_try(self, key: JobKey, now: float) -> bool:
        return not self._jobs[key].asks or self._pauses.may_try(key, now)

    def _drop_paused(self, now: float) -> None:
        """A target that failed is left alone also by those of its jobs that wait for a worker already."""
        if self._pauses.nobody:
            return
        for key in [key for key in self._waiting if not self._may_try(key, now)]:
            del self._waiting[key]
            self._states[key.collector].count("skipped.backoff")

    def _knock(self, key: JobKey) -> None:
        target = self._jobs[key].target
        self._doors.knock(target, lambda wrong: self._finished.put(_Heard(key, target, wrong)))

    def _take_finished(self, timeout_s: float) -> list[_Finished]:
        news: list[_Finished | _Heard] = []
        with contextlib.suppress(queue.Empty):
            news.append(self._finished.get(timeout=timeout_s))
            while True:
                news.append(self._finished.get_nowait())
        for one in news:
            if isinstance(one, _Heard):
                self._hear(one)
            else:
                self._note(one)
        return [one for one in news if isinstance(one, _Finished)]

    def _hear(self, heard: _Heard) -> None:
        """Nobody is there: the job has failed as if a worker had tried. Unless the settings have changed since the knock."""
        if self._targets.get(heard.key.collector) is not heard.target:
            return
        self._workers.heard(heard.key.collector, time.monotonic(), answers=heard.wrong is None)
        if heard.wrong is not None:
            self._waiting.pop(heard.key, None)
            self._states[heard.key.collector].failed(heard.wrong.kind)
            self._end(heard.key, heard.wrong, 0.0, time.monotonic())

    def _note(self, done: _Finished) -> None:
        share_s = done.elapsed_s / len(done.outcomes)
        self._take_moved()
        self._workers.finished(done.keys[0], time.monotonic(), well=_went_well(done.outcomes), elapsed_s=share_s)
        self._busy.difference_update(done.keys)
        self._idle.append(done.mailbox)
        for key, outcome in done.begun:
            self._end(key, outcome, share_s, done.began_s)
        for key in done.left:
            self._offer(key, time.monotonic())

    def _end(self, key: JobKey, outcome: Outcome, elapsed_s: float, began_s: float) -> None:
        self.ended_at = time.monotonic()
        self._pauses.note(key, outcome, self.ended_at, random.random())  # noqa: S311
        self._meters.job_ended(key, outcome, elapsed_s)
        self._reports.tell(key, outcome, began_s, self.ended_at)

    def _work(self, lifecycle: Lifecycle, mailbox: _Mailbox) -> None:
        while (keys := mailbox.get()) is not None and not lifecycle.stopping:
            began = time.monotonic()
            outcomes = self._runner.run(
                [self._as_told(self._jobs[key]) for key in keys], partial(self._go_on, lifecycle, keys[0])
            )
            self._finished.put(_Finished(keys, outcomes, began, time.monotonic() - began, mailbox))

    def _go_on(self, lifecycle: Lifecycle, key: JobKey) -> bool:
        """A worker has read a database, and is about to read the next one."""
        self._moved.put((key, time.monotonic()))
        return not lifecycle.stopping and key.collector not in self._turnover

    def _take_moved(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                key, self.ended_at = self._moved.get_nowait()
                self._workers.moved(key, self.ended_at)


def _went_well(outcomes: Sequence[Outcome]) -> bool | None:
    """Whether the target answered, of jobs that ran together; None when nothing had to be asked."""
    if any(isinstance(outcome, Failed) and outcome.of_target for outcome in outcomes):
        return False
    return True if any(was_asked(outcome) for outcome in outcomes) else None


def _place(key: JobKey) -> tuple[str, str]:
    return key.collector, key.database
