"""Targets that come, go and change under a running scheduler. No server; real threads."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.dispatch import Dispatch
from pganalytics.producers.knocks import Done
from pganalytics.producers.meters import Meters
from pganalytics.producers.pauses import Pauses
from pganalytics.producers.results import Collected, Failed, Outcome
from pganalytics.producers.schedule import JobKey, Schedule
from pganalytics.producers.target_state import TargetState
from pganalytics.producers.turnover import Turnover
from pganalytics.producers.workers import Workers
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings, Target
from pganalytics.schemas.metric import builtin_schemas
from waiting import until

DOWN = Failed("refused", "", "", of_target=True)


def jobs_of(*names: str, **target: Any) -> list[Job]:
    """One job of each."""
    targets = [{"name": name, "preset": "minimal", **target} for name in names]
    jobs = resolve_jobs(Settings.model_validate({"targets": targets}), builtin_schemas(), "machine")
    return [replace(job, interval_s=0.2) for job in jobs if job.key.metric == "statements"]


def test_nobody_begins_anew_before_the_last_of_the_old_has_ended() -> None:
    turnover, a, b = Turnover(), jobs_of("a"), jobs_of("b")
    turnover.put({"a": a, "b": b})
    assert set(turnover.take()) == {"a", "b"}
    assert set(turnover.take()) == set()
    assert turnover.ready([a[0].key]) == {"b": b}
    assert ("a" in turnover, "b" in turnover) == (True, False)
    turnover.put({"a": []})
    assert set(turnover.take()) == {"a"}
    assert turnover.ready([]) == {"a": []}, "the newest word counts"
    assert "a" not in turnover


class Scene:
    """A scheduler, a runner and a door. Readings of `hanging` last until they are let go."""

    def __init__(self, *names: str, knocks: bool = True) -> None:
        self.lifecycle = Lifecycle()
        self.states = {name: TargetState() for name in ("a", "b", "c")}
        self.ran: list[tuple[float, str, int]] = []
        self.running = 0
        self.hanging: set[str] = set()
        self.left: list[tuple[str, int, int]] = []
        self.knocked: list[tuple[Target, Done]] = []
        self.answers = knocks
        self.outcome: Outcome = Collected(1)
        self.dispatch = Dispatch(
            jobs_of(*names),
            Workers(4),
            Pauses(3600),
            self,
            self,
            self.states,
            Meters(build_measurements(Service.COLLECT)),
            left=lambda collector, before, after: self.left.append((collector, len(before), len(after))),
        )

    def start(self, lifecycle: Lifecycle) -> None:
        """The door needs nothing."""

    def knock(self, target: Target, done: Done) -> None:
        self.knocked.append((target, done))
        if self.answers:
            done(None)

    def forget(self, keys: Collection[JobKey]) -> None:
        """Nothing is remembered."""

    def run(self, jobs: Sequence[Job], go_on: Callable[[], bool]) -> list[Outcome]:
        self.ran += [(time.monotonic(), job.key.collector, job.target.port) for job in jobs]
        while any(job.key.collector in self.hanging for job in jobs) and not self.lifecycle.stopping:
            time.sleep(0.01)
        return [self.outcome for _ in jobs]

    def runs_of(self, collector: str, port: int = 5432) -> list[float]:
        return [at for at, who, where in self.ran if (who, where) == (collector, port)]


@pytest.fixture
def scene() -> Iterator[Callable[..., Scene]]:
    made: list[Scene] = []

    def build(*names: str, **how: bool) -> Scene:
        made.append(Scene(*names, **how))
        made[0].dispatch.start(made[0].lifecycle)
        return made[0]

    yield build
    made[0].lifecycle.request_stop("test is over")
    assert made[0].lifecycle.join_all(time.monotonic() + 10) == []
    assert made[0].lifecycle.failure is None


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, JobKey]]:
    """When jobs were due, as the schedule had it."""
    noted: list[tuple[float, JobKey]] = []
    original = Schedule.due

    def note(self: Schedule, now: float) -> list[JobKey]:
        noted.extend((at, key) for at, key in self._heap if at <= now)
        return original(self, now)

    monkeypatch.setattr(Schedule, "due", note)
    return noted


def test_who_comes_is_read_who_goes_is_not_and_who_stays_notices_nothing(
    due: list[tuple[float, JobKey]], scene: Callable[..., Scene]
) -> None:
    one = scene("a", "b")
    until(lambda: len(one.runs_of("a")) >= 2 and len(one.runs_of("b")) >= 1)
    one.dispatch.change({"b": [], "c": jobs_of("c")})
    until(lambda: len(one.left) == 2)
    gone = len(one.runs_of("b"))
    until(lambda: len(one.runs_of("c")) >= 3)
    assert len(one.runs_of("b")) == gone
    assert sorted(one.left) == [("b", 1, 0), ("c", 0, 1)]
    turns = [at for at, key in due if key.collector == "a"]
    assert [(at - turns[0] + 0.1) % 0.2 for at in turns] == pytest.approx([0.1] * len(turns)), "its turns are where they were"


def test_who_hangs_is_waited_for_and_holds_up_nobody_else(scene: Callable[..., Scene]) -> None:
    one = scene("a", "b")
    one.hanging = {"a"}
    until(lambda: one.runs_of("a") and one.runs_of("b"))
    one.dispatch.change({"a": jobs_of("a", port=6000), "b": jobs_of("b", port=6000)})
    until(lambda: one.runs_of("b", 6000))
    assert one.left == [("b", 1, 1)]
    assert one.runs_of("a", 6000) == []
    one.hanging = set()
    until(lambda: one.runs_of("a", 6000))
    assert len(one.runs_of("a")) == 1, "nothing of the old has begun meanwhile"


def test_who_was_down_is_tried_at_once_where_he_is_now(scene: Callable[..., Scene]) -> None:
    """Its back-off of an hour was that of the wrong address."""
    one = scene("a")
    one.outcome = DOWN
    until(lambda: one.states["a"].seen()[1].get("skipped.backoff", 0) > 1, 20)
    one.outcome = Collected(1)
    one.dispatch.change({"a": jobs_of("a", port=6000)})
    until(lambda: len(one.runs_of("a", 6000)) > 1)


def test_an_answer_to_a_knock_at_the_old_door_says_nothing_of_the_new_one(scene: Callable[..., Scene]) -> None:
    one = scene("a", knocks=False)
    until(lambda: len(one.knocked) == 1)
    one.dispatch.change({"a": jobs_of("a", port=6000)})
    until(lambda: len(one.knocked) == 2)
    one.knocked[0][1](DOWN)
    one.knocked[0][1](None)
    time.sleep(0.5)  # longer than two turns of the scheduler
    assert one.ran == []
    assert one.states["a"].seen()[0].error == "not_read"
    one.knocked[1][1](None)
    until(lambda: one.runs_of("a", 6000))
