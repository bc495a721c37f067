"""Sick targets and wrong settings: each is named with its cure, and harms nothing else."""

import random
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from integration.producers_feed import (
    QUICK,
    AgentProcess,
    Asker,
    Watched,
    collected,
    of_metric,
    silent_server,
    watched,
    with_targets,
)
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.answers import Answer, Questions
from pganalytics.producers.catalogue import load_catalogue
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.dispatch import Dispatch
from pganalytics.producers.knocks import Knocks
from pganalytics.producers.meters import Meters
from pganalytics.producers.pauses import Pauses
from pganalytics.producers.pools import Pools
from pganalytics.producers.results import Collected, Failed, Outcome
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.session import Session
from pganalytics.producers.target_state import TargetState
from pganalytics.producers.workers import Workers
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings, Target
from pganalytics.schemas.metric import builtin_schemas
from waiting import until


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PostgresServer]:
    with PostgresServer.start(tmp_path / "own") as server:
        yield server


def test_every_sick_target_is_named_once_with_its_cure_and_the_others_are_read(
    settings: Settings, postgres: PostgresServer, one: Watched, tmp_path: Path, log: Path
) -> None:
    bare = watched(postgres, tmp_path, extension=False)
    poor = watched(postgres, tmp_path, grant=False)
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    with silent_server() as silent:
        chosen = with_targets(
            settings,
            one.target("well"),
            bare.target("bare"),
            poor.target("poor"),
            one.target("locked-out", password_file=wrong),
            one.target("no-file", password_file=tmp_path / "absent"),
            one.target("no-database", dbname="nowhere"),
            {"name": "down", "host": "127.0.0.1", "port": free_port()},
            {"name": "nameless", "host": "nowhere.invalid"},
            {"name": "silent", "host": "127.0.0.1", "port": silent},
            connect_timeout_s=1,
        )
        with AgentProcess(chosen, log) as agent:
            names = ["locked-out", "no-file", "no-database", "down", "nameless", "silent"]
            lines = {name: agent.wait_for(f"collector={name} ") for name in names}
            lines |= {name: agent.wait_for(f"metric is not available collector={name} ") for name in ("bare", "poor")}
            until(lambda: len(of_metric(collected(chosen.kafka), "statements", "well")) >= 5)
            until(lambda: of_metric(collected(chosen.kafka), "database", "bare"))
            assert agent.stop() == 0
            for name in lines:
                told = [line for line in agent.lines(f"collector={name} ") if " WARNING " in line]
                assert len(told) == 1, told
            assert not [line for line in agent.log if "Traceback" in line]
    for name, expected in {
        "bare": "CREATE EXTENSION pg_stat_statements.*shared_preload_libraries",
        "poor": f'GRANT pg_monitor TO ""?{poor.user}',
        "locked-out": "error=authentication.*check user, password",
        "no-file": "error=password.*absent",
        "no-database": "error=sqlstate:3D000|error=authentication.*nowhere",
        "down": "error=refused.*start the server",
        "nameless": "error=dns",
        "silent": "error=timeout.*connect_timeout_s",
    }.items():
        assert re.search(expected, lines[name]), lines[name]
    beats = {name: of_metric(collected(chosen.kafka), "heartbeat", name)[-1].body for name in lines | {"well": ""}}
    assert {name for name, body in beats.items() if body["up"]} == {"well", "bare", "poor"}
    assert (beats["down"]["error"], beats["silent"]["error"]) == ("refused", "timeout")
    assert "skipped.backoff" in beats["down"]["count_name"]


def test_a_target_that_comes_back_is_read_again(
    settings: Settings, own_server: PostgresServer, tmp_path: Path, log: Path
) -> None:
    target = watched(own_server, tmp_path)
    chosen = with_targets(settings, target.target("one"), retry_max_s=1)
    with AgentProcess(chosen, log) as agent:
        until(lambda: of_metric(collected(chosen.kafka), "statements"))
        own_server.stop()
        agent.wait_for("target cannot be read")
        own_server.start_again()
        agent.wait_for("target is read again")
        until(lambda: [beat.body["up"] for beat in of_metric(collected(chosen.kafka), "heartbeat")][-1:] == [True])
        assert agent.stop() == 0


def test_a_restart_between_two_readings_is_not_an_outage(own_server: PostgresServer, tmp_path: Path) -> None:
    asker = Asker(watched(own_server, tmp_path).target("one"))
    assert isinstance(asker.ask("heartbeat"), Answer)
    own_server.restart()
    assert isinstance(asker.ask("heartbeat"), Answer)
    asker.pools.close()


def hurried(asker: Asker) -> Asker:
    """With one second for each query."""
    asker.jobs = {metric: replace(job, timeout_s=1) for metric, job in asker.jobs.items()}
    return asker


def test_a_server_that_stops_in_its_tracks_holds_a_worker_no_longer_than_the_deadline(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """SIGSTOP: an open connection gets no answer; a new one is accepted by the kernel and gets none either."""
    target = watched(own_server, tmp_path)
    asker, fresh = hurried(Asker(target.target("one"), 1)), Asker(target.target("one"), 1)
    assert isinstance(asker.ask("heartbeat"), Answer)
    own_server.suspend()
    try:
        for one, kind in ((asker, "hung"), (fresh, "timeout")):
            began = time.monotonic()
            outcome = one.ask("heartbeat")
            assert isinstance(outcome, Failed)
            assert (outcome.kind, outcome.of_target) == (kind, True)
            assert time.monotonic() - began < 4
    finally:
        own_server.resume()
    until(lambda: isinstance(asker.ask("heartbeat"), Answer))
    asker.pools.close()
    fresh.pools.close()


def test_control_without_the_deadline_a_stopped_server_holds_the_worker(
    own_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """statement_timeout and libpq's own settings do not help: the server that would obey them is stopped."""
    asker = hurried(Asker(watched(own_server, tmp_path).target("one"), 1))
    assert isinstance(asker.ask("heartbeat"), Answer)
    monkeypatch.setattr(Session, "wait", psycopg.Connection.wait)
    own_server.suspend()
    worker = threading.Thread(target=lambda: asker.ask("heartbeat"))
    try:
        worker.start()
        worker.join(5)
        assert worker.is_alive()
    finally:
        own_server.resume()
    worker.join(10)
    assert not worker.is_alive()
    asker.pools.close()


def test_a_slow_query_is_ended_by_the_server_and_is_its_metric_s_trouble_alone(one: Watched) -> None:
    asker = Asker(one.target("one"))
    with psycopg.connect(one.server.conninfo(one.dbname)) as connection:
        connection.execute("lock table pg_catalog.pg_extension in access exclusive mode")
        outcome = asker.ask("statements")
        assert isinstance(outcome, Failed)
        assert (outcome.kind, outcome.of_target) == ("sqlstate:55P03", False)
        assert isinstance(asker.ask("database"), Answer)
    assert isinstance(asker.ask("statements"), Answer)
    asker.pools.close()


def jobs_of(*targets: dict[str, object]) -> list[Job]:
    return resolve_jobs(with_targets(Settings.model_validate({}), *targets), builtin_schemas(), "machine")


class Pace:
    """Runs jobs with the real scheduler, workers and pools, and counts what the healthy target gave."""

    def __init__(self, jobs: list[Job], *, isolate: bool) -> None:
        self.lifecycle = Lifecycle()
        self.read = 0
        self._questions = Questions(Pools(50, 2, lambda: float("inf")), load_catalogue(builtin_schemas()))
        states = {job.key.collector: TargetState() for job in jobs}
        meters = Meters(build_measurements(Service.COLLECT))
        Dispatch(jobs, Workers(4, isolate=isolate), Pauses(0.1), self, Knocks(2), states, meters).start(self.lifecycle)

    def forget(self, keys: Collection[JobKey]) -> None:
        """Nothing is remembered."""

    def run(self, jobs: Sequence[Job], go_on: Callable[[], bool]) -> list[Outcome]:
        return [self._read(job) for job in jobs]

    def _read(self, job: Job) -> Outcome:
        answer = self._questions.ask(job)
        if not isinstance(answer, Answer):
            return answer
        self.read += 1
        return Collected(1)


def readings_beside_hung_targets(one: Watched, *, isolate: bool) -> int:
    """Readings of one healthy target in six seconds, beside ten that accept and never answer; three jobs a second of each."""
    with silent_server() as silent:
        sick = [{"name": f"sick{number}", "host": "127.0.0.1", "port": silent} for number in range(10)]
        jobs = [job for job in jobs_of(one.target("well"), *sick) if job.key.metric in QUICK]
        pace = Pace(jobs, isolate=isolate)
        time.sleep(6)
        read = pace.read
        pace.lifecycle.request_stop("done")
        assert pace.lifecycle.join_all(time.monotonic() + 10) == []
    return read


def test_hung_targets_do_not_slow_the_others(one: Watched) -> None:
    assert readings_beside_hung_targets(one, isolate=True) >= 12


def test_a_knock_leaves_no_line_in_the_server_s_log(own_server: PostgresServer) -> None:
    """It asks for TLS and hangs up. Who hangs up after the startup packet's beginning is told of: the control."""
    lifecycle, heard = Lifecycle(), threading.Event()
    knocks = Knocks(10)
    knocks.start(lifecycle)
    before = own_server.log_path.read_text()
    target = Target.model_validate({"host": own_server.host, "port": own_server.port})
    knocks.knock(target, lambda wrong: heard.set() if wrong is None else None)
    assert heard.wait(60)
    lifecycle.request_stop("done")
    assert lifecycle.join_all(time.monotonic() + 10) == []
    with socket.create_connection((own_server.host, own_server.port)) as link:
        link.sendall(b"\0\0\0\x30\0\x03\0\0user")
    until(lambda: own_server.log_path.read_text() != before)
    assert len(own_server.log_path.read_text().removeprefix(before).splitlines()) == 1


def test_a_target_that_failed_is_left_alone_by_all_its_jobs(one: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by those that were due before it failed, and waited for a worker: each would take one for as long as it hangs."""
    monkeypatch.setattr(random, "random", lambda: 1.0)  # the first pause is a whole second
    lifecycle, jobs = Lifecycle(), jobs_of(one.target("sick"))
    began: list[float] = []

    class Hanging:
        def forget(self, keys: Collection[JobKey]) -> None:
            """Nothing is remembered."""

        def run(self, jobs: Sequence[Job], go_on: Callable[[], bool]) -> list[Outcome]:
            began.append(time.monotonic())
            lifecycle.stop.wait(0.5)
            return [Failed("refused", "", "", of_target=True) for _ in jobs]

    assert sum(job.critical for job in jobs) >= 4
    meters = Meters(build_measurements(Service.COLLECT))
    Dispatch(jobs, Workers(4), Pauses(60), Hanging(), Knocks(2), {"sick": TargetState()}, meters).start(lifecycle)
    until(lambda: len(began) >= 2)
    lifecycle.request_stop("done")
    assert lifecycle.join_all(time.monotonic() + 10) == []
    assert began[1] - began[0] >= 1.5


def test_control_without_isolation_hung_targets_take_all_workers(one: Watched) -> None:
    assert readings_beside_hung_targets(one, isolate=False) < 9


def test_wrong_beginnings_end_with_one_line_and_the_right_code(
    settings: Settings, one: Watched, tmp_path: Path, log: Path
) -> None:
    with AgentProcess(with_targets(settings), log) as agent:
        assert agent.exit_code() == 2
        assert "[[targets]]" in agent.log[-1]
    chosen = with_targets(settings, one.target("one"))
    with AgentProcess(chosen, log) as agent:
        agent.wait_for("collecting")
        with AgentProcess(chosen, tmp_path / "second.log") as second:
            assert second.exit_code() == 2
            assert len(second.log) == 1
            assert re.search(rf"{settings.collect.state_dir}: another agent \(pid \d+\) uses it", second.log[0])
        assert agent.stop() == 0
    sections = chosen.model_dump()
    for change, expected in (
        ({"bootstrap": f"127.0.0.1:{free_port()}", "timeout_s": 1}, "no broker answers"),
        ({"prefix": "nothing.here"}, "topic nothing.here.collected.critical is missing: run `pganalytics setup`"),
    ):
        wrong = Settings.model_validate({**sections, "kafka": {**sections["kafka"], **change}})
        with AgentProcess(wrong, tmp_path / f"{len(expected)}.log") as agent:
            assert agent.exit_code() == 69
            assert any(expected in line for line in agent.log)
            assert not agent.lines("Traceback")


@pytest.mark.parametrize(
    ("broken", "thread"),
    [
        ("sender.Sender.turn", "sender"),
        ("beats.Beats.make", "heartbeats"),
        ("dispatch.Dispatch._offer", "scheduler"),
        ("runner.Runner.run", "worker-1"),
        ("group_commit.GroupCommit._take", "spool"),
    ],
)
def test_a_crash_in_any_thread_ends_the_process_and_says_which(
    settings: Settings, one: Watched, log: Path, broken: str, thread: str
) -> None:
    """Half an agent would look alive: the supervisor can only start again what has ended."""
    module, owner, method = broken.split(".")
    prelude = f"from pganalytics.producers.{module} import {owner}\n{owner}.{method} = lambda *_, **__: 1 / 0\n"
    chosen = with_targets(settings, one.target("one"), workers=1, stop_timeout_s=3)
    with AgentProcess(chosen, log, prelude=prelude) as agent:
        assert agent.exit_code() == 70
        assert "division by zero" in agent.log[-1]
        assert agent.lines(f"thread_name={thread}")
