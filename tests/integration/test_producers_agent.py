"""The agent from end to end: real servers, a real broker, killed and started again."""

import time
from pathlib import Path

import psycopg
import pytest

from integration.producers_feed import (
    AgentProcess,
    Arrived,
    Watched,
    assert_contiguous,
    calls_of,
    collected,
    of_metric,
    watched,
    with_targets,
)
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.kafka import make_topics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.topics import Topics
from waiting import until

STATEMENT = "insert into visits select 1"
DISK_IS_FULL = """
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.spool import Spool
def refuse(*_):
    raise Refused("disk")
Spool.start_epoch = refuse
"""


class Workload:
    """Runs one statement a known number of times and reads the server's own count of it."""

    def __init__(self, target: Watched) -> None:
        self._connection = psycopg.connect(target.server.conninfo(target.dbname), autocommit=True, prepare_threshold=None)
        self.run(3)

    def run(self, times: int) -> None:
        for _ in range(times):
            self._connection.execute(STATEMENT)

    def counted(self) -> tuple[tuple[int, int], int, int]:
        """((queryid, dbid), calls, execution time in ns) as the server has them."""
        row = self._connection.execute(
            "select queryid, d.oid::bigint, calls, round(total_exec_time * 1000000)::bigint "
            'from "Odd ""schema""".pg_stat_statements(true) s join pg_database d on d.oid = s.dbid '
            "where query like 'insert into visits select%' and datname = current_database()"
        ).fetchone()
        assert row is not None
        return (row[0], row[1]), row[2], row[3]


def statements_seen(settings: Settings, more_than: int = 0, collector: str | None = None) -> bool:
    return len(of_metric(collected(settings.kafka), "statements", collector)) > more_than


def wait_for_statements(settings: Settings, more: int = 1, collector: str | None = None) -> None:
    """Return when `more` snapshots were taken from now on."""
    seen = len(of_metric(collected(settings.kafka), "statements", collector))
    until(lambda: statements_seen(settings, seen + more - 1, collector))


def test_what_arrives_is_what_happened(
    settings: Settings, one: Watched, postgres_other: PostgresServer, tmp_path: Path, log: Path
) -> None:
    """Two servers of two majors, watched by ordinary roles: the sum of the deltas is the server's own count, to the call and to
    the nanosecond; nothing is missing; the last heartbeat says so."""
    both = {"first": one, "second": watched(postgres_other, tmp_path)}
    loads = {name: Workload(target) for name, target in both.items()}
    before = {name: load.counted() for name, load in loads.items()}
    chosen = with_targets(settings, *(target.target(name) for name, target in both.items()))
    with AgentProcess(chosen, log) as agent:
        for name in both:
            until(lambda name=name: statements_seen(chosen, 0, name))  # type: ignore[misc]
        for times in (70, 7, 40):
            for load in loads.values():
                load.run(times)
            wait_for_statements(chosen)
        for name in both:
            wait_for_statements(chosen, 2, name)
        assert agent.stop() == 0
    arrived = collected(chosen.kafka)
    highest = assert_contiguous(arrived)
    for name, load in loads.items():
        statement, calls, ns = load.counted()
        assert calls_of(of_metric(arrived, "statements", name), statement) == calls - before[name][1] == 117
        assert calls_of(of_metric(arrived, "statements", name), statement, "total_exec_time") == ns - before[name][2]
        assert_database_grew(arrived, name, both[name].dbname)
        last = of_metric(arrived, "heartbeat", name)[-1]
        assert last.headers.heartbeat is not None
        assert last.body["final"]
        assert last.headers.heartbeat.final == (last.headers.identity.epoch,)
        assert {stream.lane: count for stream, count in highest.items() if stream.collector == name} == {
            lane: count for lane, count in last.headers.heartbeat.emitted.items() if count
        }
        assert last.body["up"]
        assert last.body["server_version"] // 10000 == both[name].server.major
        assert last.body["role"] == "primary"
        assert last.body["unsent_epoch"] == []
        assert abs(last.body["clock_skew"]) < 1_000_000
    assert [line for line in agent.log if " WARNING " in line or " ERROR " in line] == []


def assert_database_grew(arrived: list[Arrived], collector: str, dbname: str) -> None:
    rows = [row for record in of_metric(arrived, "database", collector) for row in record.rows()]
    assert sum(row["xact_commit"] for row in rows if row["datname"] == dbname) > 0
    assert {row["datname"] for row in rows} >= {"\0", "postgres", dbname}


def test_a_killed_agent_goes_on_where_it_was(settings: Settings, one: Watched, log: Path) -> None:
    """SIGKILL, work meanwhile, a new start: a new epoch, the old one told final, no seq twice, the gap in the next delta."""
    load = Workload(one)
    _, before, _ = load.counted()
    chosen = with_targets(settings, one.target("one"))
    with AgentProcess(chosen, log) as agent:
        until(lambda: statements_seen(chosen, 1))
        load.run(20)
        wait_for_statements(chosen)
        load.run(30)
        agent.kill()
    load.run(50)
    with AgentProcess(chosen, log) as agent:
        wait_for_statements(chosen, 3)
        assert agent.stop() == 0
    statement, after, _ = load.counted()
    arrived = collected(chosen.kafka)
    highest = assert_contiguous(arrived)
    assert calls_of(arrived, statement) == after - before == 100
    epochs = sorted({stream.epoch for stream in highest})
    assert len(epochs) == 2
    finals = [number for record in of_metric(arrived, "heartbeat") for number in record.headers.heartbeat.final]  # type: ignore[union-attr]
    assert set(finals) == set(epochs)
    bridging = of_metric([record for record in arrived if record.headers.identity.epoch == epochs[1]], "statements")[0]
    assert bridging.body["since"] < epochs[1] < bridging.body["collected_at"]


def test_an_outage_of_the_broker_costs_nothing(one: Watched, settings: Settings, tmp_path: Path, log: Path) -> None:
    """Broker away, agent stopped in time with a full spool, started again: the records arrive under their old identities."""
    load = Workload(one)
    _, before, _ = load.counted()
    with KafkaBroker.start(tmp_path / "broker") as broker:
        sections = settings.model_dump()
        sections["kafka"]["bootstrap"] = broker.bootstrap
        chosen = with_targets(Settings.model_validate(sections), one.target("one"), stop_timeout_s=4)
        make_topics(chosen.kafka, Topics(chosen.kafka.prefix, chosen.kafka.partitions).table())
        with AgentProcess(chosen, log) as agent:
            until(lambda: statements_seen(chosen, 1))
            broker.kill()
            for _ in range(4):
                load.run(10)
                time.sleep(1)  # the workload's own pace: readings pile up in the spool
            began = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - began < 8
        broker.start_again()
        with AgentProcess(chosen, log) as agent:
            wait_for_statements(chosen, 3)
            assert agent.stop() == 0
        arrived = collected(chosen.kafka)
    statement, after, _ = load.counted()
    highest = assert_contiguous(arrived)
    assert calls_of(arrived, statement) == after - before == 40
    first, second = sorted({stream.epoch for stream in highest})
    told = [record.headers.heartbeat for record in of_metric(arrived, "heartbeat")]
    assert any(beat and first in beat.final for beat in told)
    old = {stream.lane: count for stream, count in highest.items() if stream.epoch == first}
    listed = [record.body for record in of_metric(arrived, "heartbeat") if first in record.body["old_epoch"]]
    assert listed[-1]["old_emitted_normal"] == [old[Lane.NORMAL]]
    assert listed[-1]["epoch"] == second


def test_a_collector_that_the_settings_no_longer_name_is_told_to_its_end(settings: Settings, one: Watched, log: Path) -> None:
    with AgentProcess(with_targets(settings, one.target("gone")), log) as agent:
        until(lambda: of_metric(collected(settings.kafka), "heartbeat"))
        agent.kill()
    with AgentProcess(with_targets(settings, one.target("here")), log) as agent:
        until(lambda: len(finals_of(settings, "gone")) == 2)
        assert agent.stop() == 0
    last = of_metric(collected(settings.kafka), "heartbeat", "gone")[-1]
    assert (last.body["up"], last.body["error"]) == (False, "not_configured")


def finals_of(settings: Settings, collector: str) -> set[int]:
    beats = of_metric(collected(settings.kafka), "heartbeat", collector)
    return {epoch for beat in beats if beat.headers.heartbeat for epoch in beat.headers.heartbeat.final}


def test_a_limit_leaves_totals_exact(settings: Settings, one: Watched, log: Path) -> None:
    """Three hundred statements, a hundred in detail: the remainder row carries the rest."""
    connection = psycopg.connect(one.server.conninfo(one.dbname), autocommit=True, prepare_threshold=None)
    connection.execute("create table wide (" + ", ".join(f"c{number} int" for number in range(9)) + ")")
    chosen = with_targets(settings, one.target("one"))
    chosen = Settings.model_validate({**chosen.model_dump(), "metrics": {"statements": {"interval_s": 3, "limit": 100}}})
    with AgentProcess(chosen, log) as agent:
        until(lambda: statements_seen(chosen))
        for number in range(300):
            columns = [f"c{bit}" for bit in range(9) if number >> bit & 1]
            connection.execute("select " + ", ".join(["1", *columns]) + " from wide")
        wait_for_statements(chosen, 2)
        assert agent.stop() == 0
    snapshots = of_metric(collected(chosen.kafka), "statements")
    assert all(snapshot.body["sent"] <= 100 for snapshot in snapshots)
    cut = [snapshot for snapshot in snapshots if snapshot.body["changed"] > 100]
    assert cut
    for snapshot in cut:
        assert snapshot.rows()[-1]["remainder"]
        assert snapshot.body["coverage_rows"] == pytest.approx(100 / snapshot.body["changed"])
    assert sum(row["calls"] for snapshot in snapshots for row in snapshot.rows()) >= 300


def test_an_agent_that_cannot_begin_because_the_disk_is_full_says_so(settings: Settings, one: Watched, log: Path) -> None:
    chosen = with_targets(settings, one.target("one"))
    with AgentProcess(chosen, log, prelude=DISK_IS_FULL) as agent:
        assert agent.exit_code() == 69
        assert agent.log[-1].endswith("the disk is full (disk): make room, then start again")
