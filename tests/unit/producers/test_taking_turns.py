"""Databases of one server are read by one worker in turn, and what goes wrong in one leaves the others alone."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pganalytics.producers.answers import Answer, Questions, Reply
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.dispatch import Dispatch
from pganalytics.producers.knocks import Doors
from pganalytics.producers.meters import Meters
from pganalytics.producers.pauses import Pauses
from pganalytics.producers.records import Snapshot
from pganalytics.producers.results import Collected, Discovered, Failed, Outcome
from pganalytics.producers.runner import LINGER_S, Runner
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.spool import Spool
from pganalytics.producers.statuses import METRIC_STATUS
from pganalytics.producers.tables import Table
from pganalytics.producers.target_state import TargetState
from pganalytics.producers.turns import MOST_TOGETHER, candidates, taken_with
from pganalytics.producers.workers import Candidate, Workers
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings, Target
from pganalytics.schemas.identity import Identity
from pganalytics.schemas.metric import GONE, builtin_schemas
from waiting import until

DATABASES = [f"db{number:02}" for number in range(40)]
SEQUENCES = builtin_schemas()["sequences"]
LOCKED = Failed("lock", "", "", of_target=False)


def jobs_of(interval_s: float) -> list[Job]:
    settings = Settings.model_validate(
        {"targets": [{"name": "one", "pool_max": 1}], "collect": {"preset": "minimal"}, "metrics": {"sizes": {"enabled": True}}}
    )
    return [replace(job, interval_s=interval_s) for job in resolve_jobs(settings, builtin_schemas(), "machine")]


class Server:
    """Has these databases, of which some are locked; notes which were read together."""

    def __init__(self, locked: Collection[str] = ()) -> None:
        self.turns: list[list[str]] = []
        self.locked = set(locked)

    def run(self, jobs: Sequence[Job], go_on: Callable[[], bool]) -> Sequence[Outcome]:
        names = [job.key.database for job in jobs]
        if not names[0]:
            return [Discovered(frozenset(DATABASES), {}) if job.key.metric == METRIC_STATUS else Collected(0) for job in jobs]
        outcomes: list[Outcome] = []
        for name in names:
            if outcomes and not go_on():
                break
            outcomes.append(LOCKED if name in self.locked else Collected(1))
            if name in self.locked:
                break
        self.turns.append(names[: len(outcomes)])
        return outcomes

    def forget(self, keys: Collection[JobKey]) -> None:
        """Nothing is remembered."""


def begin(lifecycle: Lifecycle, doors: Doors, server: Server) -> TargetState:
    state = TargetState()
    meters = Meters(build_measurements(Service.COLLECT))
    Dispatch(jobs_of(0.5), Workers(2), Pauses(0.01), server, doors, {"one": state}, meters).start(lifecycle)
    return state


def test_databases_that_are_due_together_are_read_in_turn_and_nobody_for_longer_than_that(
    lifecycle: Lifecycle, doors: Doors
) -> None:
    server = Server()
    begin(lifecycle, doors, server)
    until(lambda: sum(map(len, server.turns)) >= 5 * len(DATABASES))
    assert {name for turn in server.turns for name in turn} == set(DATABASES)
    assert max(map(len, server.turns)) <= MOST_TOGETHER
    assert len(server.turns) < 2 * len(DATABASES), "most come together with others"


def test_who_waits_behind_a_locked_database_is_read_by_the_next_worker(lifecycle: Lifecycle, doors: Doors) -> None:
    """The reading that failed ends the turn. The rest of it waits again at once, and is not counted as skipped."""
    server = Server(locked=DATABASES[::5])
    state = begin(lifecycle, doors, server)
    until(lambda: sum(map(len, server.turns)) >= 5 * len(DATABASES))
    read = [name for turn in server.turns for name in turn if name not in server.locked]
    assert set(read) == set(DATABASES) - server.locked
    assert all(name not in server.locked for turn in server.turns for name in turn[:-1])
    assert state.seen()[1].get("skipped.running", 0) == 0


class Paper(Questions):
    """Answers of a server that is none: some databases fail, and each takes a while."""

    def __init__(self, locked: str = "", takes_s: float = 0.0) -> None:
        self.locked, self.takes_s = locked, takes_s

    def ask_together(self, jobs: Sequence[Job]) -> list[Reply]:
        time.sleep(self.takes_s)
        return [LOCKED if job.key.database == self.locked else answer_of(job) for job in jobs]


def answer_of(job: Job) -> Answer:
    names = [field.name for field in SEQUENCES.groups["rows"] if field.name != GONE]
    zeros = {"long": 1, "string": job.key.database, "boolean": False, "double": 0.0}
    row = tuple(zeros[field.primitive] for field in SEQUENCES.groups["rows"] if field.name != GONE)
    return Answer(1_000, 1_001, None, {"rows": Table(names, [row])}, None)


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many snapshots each commit of a spool had; `spool_of` has the spool."""
    opened = Spool.open(tmp_path)
    opened.start_epoch("one", 1)
    sizes: list[int] = []
    append = opened.append_many

    def counting(snapshots: Sequence[Snapshot]) -> list[Identity | None]:
        sizes.append(len(snapshots))
        return append(snapshots)

    monkeypatch.setattr(opened, "append_many", counting)
    monkeypatch.setattr(Paper, "spool", opened, raising=False)
    yield sizes
    opened.close()


def run(paper: Paper, go_on: Callable[[], bool] = lambda: True) -> list[Outcome]:
    spool: Spool = paper.spool  # type: ignore[attr-defined]
    runner = Runner(paper, spool, {"one": 1}, {"one": TargetState()})
    job = Job(JobKey("one", SEQUENCES.name), Target(user="nobody"), SEQUENCES, 60.0, 1.0, None, {})
    return runner.run([job.in_database(name) for name in DATABASES[:5]], go_on)


def test_what_is_read_in_one_turn_is_committed_together(commits: list[int]) -> None:
    assert [type(one) for one in run(Paper())] == [Collected] * 5
    assert commits == [5]


def test_a_reading_waits_only_so_long_for_the_next_ones(commits: list[int]) -> None:
    assert [type(one) for one in run(Paper(takes_s=LINGER_S * 0.6))] == [Collected] * 5
    assert commits == [2, 2, 1]


def test_a_failure_ends_the_turn_and_what_was_read_before_is_committed(commits: list[int]) -> None:
    assert [type(one) for one in run(Paper(locked=DATABASES[2]))] == [Collected, Collected, Failed]
    assert commits == [2]


def test_who_is_told_to_stop_finishes_the_database_at_hand(commits: list[int]) -> None:
    asked = iter([True, False])
    assert [type(one) for one in run(Paper(), lambda: next(asked))] == [Collected, Collected]
    assert commits == [2]


def waiting(*keys: JobKey, critical: bool = False) -> dict[JobKey, Candidate]:
    return {key: Candidate(key, critical, 2) for key in keys}


A, B, C, OTHER = (
    JobKey("one", "tables", "a"),
    JobKey("one", "tables", "b"),
    JobKey("one", "sizes", "a"),
    JobKey("two", "tables", "a"),
)


def test_who_comes_together_is_one_candidate() -> None:
    wait = waiting(A, B, C, OTHER, JobKey("one", "database"))
    assert [one.key for one in candidates(wait, (), {"one"})] == [A, OTHER, JobKey("one", "database")]
    assert taken_with(wait[A], wait, (), {"one"}) == (A, C, B)
    assert taken_with(wait[JobKey("one", "database")], wait, (), {"one"}) == (JobKey("one", "database"),)


def test_who_is_not_proven_reads_one_database() -> None:
    wait = waiting(A, B, C)
    assert [one.key for one in candidates(wait, (), ())] == [A, B, C]
    assert taken_with(wait[A], wait, (), ()) == (A, C)


def test_critical_jobs_wait_for_nobody_else_s_database() -> None:
    wait = waiting(B) | waiting(A, critical=True)
    assert [one.key for one in candidates(wait, (), {"one"})] == [B, A]
    assert taken_with(wait[A], wait, (), {"one"}) == (A,)


def test_a_database_that_is_read_already_is_not_taken_again() -> None:
    wait = waiting(A, B)
    assert [one.key for one in candidates(wait, (C,), {"one"})] == [B]
    assert taken_with(wait[B], wait, (C,), {"one"}) == (B,)
