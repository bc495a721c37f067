"""From a real server's answer to the spool: held back, restored, torn, damaged. No broker."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from integration.producers_feed import Watched, watched, with_targets
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.answers import Answer, Questions
from pganalytics.producers.catalogue import load_catalogue
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.pools import Pools
from pganalytics.producers.results import Collected, Failed, Gone, HeldBack, Outcome, Unavailable
from pganalytics.producers.runner import Runner
from pganalytics.producers.spool import Spool
from pganalytics.producers.spool_file import FILE
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.metric import builtin_schemas

SCHEMA = builtin_schemas()["statements"]


class Agent:
    """The workers' part of an agent, run by hand, over a spool that is never sent but read back."""

    def __init__(self, target: Watched, folder: Path, *, limit_bytes: int = 1 << 30) -> None:
        self.state = TargetState()
        self.pools = Pools(5, 5, lambda: float("inf"))
        self.questions = Questions(self.pools, load_catalogue(builtin_schemas()))
        jobs = resolve_jobs(with_targets(Settings.model_validate({}), target.target("one")), builtin_schemas(), "machine")
        self.job = next(job for job in jobs if job.key.metric == "statements")
        self.folder, self.limit_bytes, self.epoch = folder, limit_bytes, 0
        self.calls = 0
        self.begin()

    def begin(self) -> None:
        """A start of the agent: memory gone, the spool there."""
        self.epoch += 1
        self.spool = Spool.open(self.folder, limit_bytes=self.limit_bytes)
        self.spool.start_epoch("one", self.epoch)
        self.runner = Runner(self.questions, self.spool, {"one": self.epoch}, {"one": self.state})

    def end(self) -> None:
        self.spool.close()

    def run(self, job: Job | None = None) -> Outcome:
        (outcome,) = self.runner.run([job or self.job])
        return outcome

    def take(self) -> None:
        """Acknowledge all records, and add up the calls of the workload's statement."""
        for one in self.spool.unsent(Lane.NORMAL, limit=1000, exclude=(), schemas=[SCHEMA.id]):
            assert one.body is not None
            columns = fill(SCHEMA.groups["rows"], RecordCodec(SCHEMA).decode(one.body))
            ours = zip(columns["queryid"], columns["dbid"], columns["calls"], strict=True)
            self.calls += sum(calls for queryid, dbid, calls in ours if (queryid, dbid) == self.statement)
            self.spool.acknowledge([one.id])

    statement = (0, 0)


@pytest.fixture
def target(postgres: PostgresServer, tmp_path: Path) -> Watched:
    return watched(postgres, tmp_path)


@pytest.fixture
def connection(target: Watched) -> Iterator[psycopg.Connection]:
    with psycopg.connect(target.server.conninfo(target.dbname), autocommit=True, prepare_threshold=None) as opened:
        yield opened


def work(connection: psycopg.Connection, times: int) -> tuple[int, int]:
    for _ in range(times):
        connection.execute("delete from visits where n = 1")
    row = connection.execute(
        'select queryid, d.oid::bigint from "Odd ""schema""".pg_stat_statements(true) s join pg_database d on d.oid = s.dbid '
        "where query like 'delete from visits%' and datname = current_database()"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def test_what_is_held_back_comes_with_the_next_record(target: Watched, connection: psycopg.Connection, tmp_path: Path) -> None:
    agent = Agent(target, tmp_path / "state", limit_bytes=2500)
    agent.statement = work(connection, 5)
    agent.run()
    outcomes = []
    for _ in range(12):
        work(connection, 10)
        outcomes.append(agent.run())
    held_back = outcomes.count(HeldBack("spool_soft_limit"))
    assert 3 <= held_back < 12, outcomes
    agent.take()
    assert agent.calls < 120
    agent.run()
    agent.take()
    assert agent.calls == 120
    assert agent.state.seen()[1] == {"held_back.spool_soft_limit": held_back}
    agent.end()


def test_each_start_goes_on_from_the_log(target: Watched, connection: psycopg.Connection, tmp_path: Path) -> None:
    """Ten starts with a few readings each, work before, between and after: nothing lost, nothing twice."""
    agent = Agent(target, tmp_path / "state")
    agent.statement = work(connection, 5)
    agent.run()
    for turn in range(10):
        for _ in range(turn % 4):
            work(connection, 3)
            assert isinstance(agent.run(), Collected)
        work(connection, 2)
        agent.end()
        agent.begin()
    agent.run()
    agent.take()
    assert agent.calls == 10 * 2 + 3 * sum(turn % 4 for turn in range(10))
    agent.end()


def test_control_without_the_log_a_restart_loses_the_gap(target: Watched, connection: psycopg.Connection, tmp_path: Path) -> None:
    agent = Agent(target, tmp_path / "state")
    agent.statement = work(connection, 5)
    agent.run()
    work(connection, 30)
    agent.spool.keep_baselines_of(())
    agent.end()
    agent.begin()
    agent.run()
    work(connection, 7)
    agent.run()
    agent.take()
    assert agent.calls == 7
    agent.end()


def test_a_damaged_baseline_is_told_and_counting_begins_anew(
    target: Watched, connection: psycopg.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(target, tmp_path / "state")
    agent.statement = work(connection, 5)
    agent.run()
    agent.spool._do(lambda db: db.execute("update baselines set body = x'00'").rowcount)
    agent.end()
    agent.begin()
    assert agent.run() == Collected(0)
    assert [record.message for record in caplog.records] == ["baseline lost, counting begins anew"]
    work(connection, 4)
    agent.run()
    agent.take()
    assert agent.calls == 4
    assert (tmp_path / "state" / FILE).exists()
    agent.end()


def test_a_reset_in_the_middle_of_a_reading_is_not_guessed_at(
    target: Watched, connection: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(target, tmp_path / "state")
    agent.statement = work(connection, 5)
    agent.run()
    work(connection, 4)
    ask = agent.questions.ask

    def torn(job: Job) -> Answer | Unavailable | Failed | Gone:
        answer = ask(job)
        assert isinstance(answer, Answer)
        assert answer.after is not None
        at = answer.after.names.index("lineage")
        after = list(answer.after.rows[0])
        after[at] += 1
        return replace(answer, after=replace(answer.after, rows=[tuple(after)]))

    monkeypatch.setattr(agent.questions, "ask", torn)
    outcome = agent.run()
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.of_target) == ("reset_while_reading", False)
    monkeypatch.undo()
    agent.run()
    agent.take()
    assert agent.calls == 4
    agent.end()


def test_low_coverage_is_told_when_it_begins_and_when_it_ends(
    target: Watched, connection: psycopg.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    agent = Agent(target, tmp_path / "state")
    narrow = replace(agent.job, limit=1)
    agent.run()
    for job in (narrow, narrow, agent.job, agent.job):
        for query in ("select pg_sleep(0.01)", "select pg_sleep(0.01), 1", "select pg_sleep(0.01), 1, 1"):
            connection.execute(query)
        agent.run(job)
    told = [(record.levelname, record.message) for record in caplog.records]
    assert told == [
        ("WARNING", "rows in detail cover too little time: raise the metric's limit"),
        ("INFO", "rows in detail cover enough time again"),
    ]
    agent.end()
