"""A fleet read by the agent's own parts in this process, and how late each of its readings was. No broker: the spool keeps all.

Lateness is the time from when a reading was due to when the spool had committed it: waiting for a worker, for a connection, for
the answer and for the disk are all in it.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

import pytest

from pganalytics.producers import agent as real
from pganalytics.producers.collectors import Job
from pganalytics.producers.meters import Meters
from pganalytics.producers.plan import make_plan
from pganalytics.producers.results import Collected, Discovered, Failed, HeldBack, Outcome, was_asked
from pganalytics.producers.runner import Runner
from pganalytics.producers.schedule import JobKey, Schedule
from pganalytics.producers.sender import Sender
from pganalytics.producers.spool import Spool
from pganalytics.producers.workers import Workers
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.metric import builtin_schemas


@dataclass(frozen=True)
class Reading:
    """One that came to its end. Times in seconds of time.monotonic."""

    key: JobKey
    due_at: float
    ended_at: float
    outcome: Outcome

    @property
    def late_s(self) -> float:
        return self.ended_at - self.due_at


class Watch:
    """Notes when each job was due and when it ended."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self._due: dict[JobKey, float] = {}

    def due(self, key: JobKey, at: float) -> None:
        """One that still waits for its turn keeps the time of the turn that it waits for."""
        self._due.setdefault(key, at)

    def ended(self, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        now = time.monotonic()
        for job, outcome in zip(jobs, outcomes, strict=True):
            self.readings.append(Reading(job.key, self._due.pop(job.key, now), now, outcome))

    def open(self, now: float) -> list[Reading]:
        """Those that are due and have not ended."""
        return [Reading(key, at, now, HeldBack("not ended")) for key, at in list(self._due.items())]


class Fleet(AbstractContextManager["Fleet"]):
    """Reads the targets of the settings while the `with` block runs. `workers` makes the rules, other ones in controls."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch, *, workers: Callable[[int], Workers] = Workers) -> None:
        self.watch = Watch()
        self.lifecycle = Lifecycle()
        _note_due_times(patch, self.watch)
        _note_ends(patch, self.watch)
        patch.setattr(real, "Workers", workers)
        self.spool = Spool.open(settings.collect.state_dir, limit_bytes=1 << 30)
        plan = make_plan(settings, "machine")
        meters = Meters(build_measurements(Service.COLLECT))
        self._agent = real.build_agent(settings, self.lifecycle, plan, self.spool, cast(Sender, _NoSender()), meters)

    def __enter__(self) -> Self:
        self.began_at = time.monotonic()
        self._agent.dispatch.start(self.lifecycle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.lifecycle.request_stop("done")
        late = self.lifecycle.join_all(time.monotonic() + 20)
        self._agent.pools.close()
        self.spool.close()
        assert self.lifecycle.failure is None
        assert late == []

    def beat(self, collector: str) -> Mapping[str, Any]:
        """What a heartbeat made now would say of the target: up, error, and the agent's counts."""
        last, counts = self._agent.beats._states[collector].seen()
        return {"up": last.up, "error": last.error, "counts": counts}

    def first_read_s(self, collector: str) -> float | None:
        """Seconds from the start to the first reading that the spool has; None while there is none."""
        ends = [one.ended_at for one in self.read() if one.key.collector == collector]
        return min(ends) - self.began_at if ends else None

    def read(self) -> list[Reading]:
        """Readings for which the target was asked and answered."""
        wanted = (Collected, Discovered)
        return [one for one in list(self.watch.readings) if isinstance(one.outcome, wanted) and was_asked(one.outcome)]

    def statuses(self, collector: str) -> list[list[tuple[str, str]]]:
        """Of each metric_status record in the spool: metric and kind of each row."""
        schema = builtin_schemas()["metric_status"]
        told = []
        for one in self.spool.unsent(Lane.NORMAL, limit=1_000_000, exclude=(), schemas=[schema.id]):
            if one.headers.metric == schema.name and one.headers.identity.collector == collector:
                assert one.body is not None
                columns = fill(schema.groups["rows"], RecordCodec(schema).decode(one.body))
                told.append(list(zip(columns["metric"], columns["kind"], strict=True)))
        return told


class _NoSender:
    count: Callable[[str, str], None]


def _note_due_times(patch: pytest.MonkeyPatch, watch: Watch) -> None:
    due = Schedule.due

    def noted(self: Schedule, now: float) -> list[JobKey]:
        times = {key: at for at, key in self._heap if at <= now}
        ready = due(self, now)
        for key in ready:
            watch.due(key, times[key])
        return ready

    patch.setattr(Schedule, "due", noted)


def _note_ends(patch: pytest.MonkeyPatch, watch: Watch) -> None:
    run = Runner.run

    def noted(self: Runner, jobs: Sequence[Job], go_on: Callable[[], bool]) -> list[Outcome]:
        outcomes = run(self, jobs, go_on)
        watch.ended(jobs[: len(outcomes)], outcomes)
        return outcomes

    patch.setattr(Runner, "run", noted)


def p99(readings: Collection[Reading]) -> float:
    """Nearest rank, in seconds."""
    late = sorted(one.late_s for one in readings)
    return late[max(0, -(-len(late) * 99 // 100) - 1)]


def failures_of(readings: Collection[Reading]) -> set[str]:
    return {f"{one.key.collector} {one.outcome.kind}" for one in readings if isinstance(one.outcome, Failed)}
