"""Each alert fires when its fault is made, and none fires while all is well: rules over what running services serve."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from alerts import Watcher, load_rules, selectors, without_target
from integration import streams_feed
from integration.producers_feed import AgentProcess, Watched, watched, with_targets
from integration.sink_feed import EPOCH, Feed, Store, commit_as_streams, heartbeat, now_us, record, running_sink
from integration.streams_faults import SHORT_HOUR_MS
from integration.test_served_metrics import NOTHING_IS_SENT, fill
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime import lag
from pganalytics.runtime.kafka import make_topics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas import topics
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.topics import Topics
from pganalytics.sink import accountant
from promql.language import parse
from servers import settings_for
from waiting import until

NARROW = {"replication_slots": {"interval_s": 1}, "statements": {"interval_s": 1, "limit": 100}}
ABSENT = ("PganalyticsCollectAbsent", "PganalyticsStreamsAbsent", "PganalyticsSinkAbsent")
OLD_XID = "select ((txid_current() - 1500000000 + 4294967296) % 4294967296)::text"


def agent_of(settings: Settings, *targets: dict[str, object], **collect: object) -> Settings:
    """With the least metrics, and its numbers served."""
    return with_targets(settings, *targets, **{"http_port": free_port(), "preset": "minimal", **collect})


def sink_of(settings: Settings) -> Settings:
    """Quick, and its numbers served."""
    chosen = {"settle_interval_s": 0.1, "http_port": free_port(), "retry_max_s": 0.5}
    return settings.model_copy(update={"sink": settings.sink.model_copy(update=chosen)})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is added up all the time."""
    monkeypatch.setattr(accountant, "ADD_UP_S", 0.1)


# All services


def test_while_all_is_well_nothing_fires_and_what_ends_is_missed(
    settings: Settings, one: Watched, log: Path, tmp_path: Path
) -> None:
    """Everything that rules look at is there; so it is not for want of it that they are quiet."""
    chosen = agent_of(sink_of(settings), one.target("well", databases=[one.dbname], metrics=NARROW))
    chosen = chosen.model_copy(update={"streams": chosen.streams.model_copy(update={"http_port": free_port()})})
    ports = {"collect": chosen.collect.http_port, "streams": chosen.streams.http_port, "sink": chosen.sink.http_port}
    watcher = Watcher(ports)
    assert len(watcher.alerts("PganalyticsServiceDown")) == 3
    watcher.until_fires("PganalyticsCollectAbsent")
    watcher.until_fires("PganalyticsStreamsAbsent")
    watcher.until_fires("PganalyticsSinkAbsent")
    with running_sink(chosen), streams_feed.running(chosen, tmp_path) as streams, AgentProcess(chosen, log) as agent:
        seen = {selector.name: selector for rule in load_rules().values() for selector in selectors(parse(rule.expr))}
        for name in seen:
            until(lambda name=name: watcher.values(name), 60, every_s=0.2, what=name)  # type: ignore[misc]
        for alert in load_rules():
            watcher.until_quiet(alert)
        assert [alert for alert in load_rules() if watcher.alerts(alert)] == []
        agent.kill()
        assert watcher.until_fires("PganalyticsServiceDown").labels["job"] == "pganalytics-collect"
        watcher.until_fires("PganalyticsCollectAbsent")
        assert not watcher.alerts("PganalyticsStreamsAbsent") + watcher.alerts("PganalyticsSinkAbsent")
        assert streams.stop() == 0, streams.text()


# Agents and targets


def test_a_target_that_is_away(settings: Settings, one: Watched, log: Path) -> None:
    dead = {"name": "dead", "host": "127.0.0.1", "port": free_port(), "user": "nobody"}
    chosen = agent_of(settings, dead, one.target("well"))
    watcher = Watcher({"collect": chosen.collect.http_port})
    with AgentProcess(chosen, log) as agent:
        until(lambda: sorted(watcher.values("pganalytics_collect_target_up")) == [0, 1], 60, every_s=0.2)
        assert without_target(watcher.until_fires("PganalyticsTargetDown")) == {"collector": "dead"}
        assert watcher.alerts("PganalyticsNotReady") == []
        assert agent.stop() == 0
    lonely = agent_of(settings, dead)
    watcher = Watcher({"collect": lonely.collect.http_port})
    with AgentProcess(lonely, log):
        assert watcher.until_fires("PganalyticsNotReady").labels["job"] == "pganalytics-collect"
        assert watcher.alerts("PganalyticsStuck") == []


def test_a_target_of_which_something_cannot_be_read(
    settings: Settings, postgres: PostgresServer, log: Path, tmp_path: Path
) -> None:
    bare = watched(postgres, tmp_path, extension=False)
    chosen = agent_of(settings, bare.target("bare", databases=[bare.dbname]))
    watcher = Watcher({"collect": chosen.collect.http_port})
    with AgentProcess(chosen, log):
        fired = watcher.until_fires("PganalyticsTargetSick")
        assert without_target(fired) == {"collector": "bare"}
        until(
            lambda: [each.value for each in watcher.alerts("PganalyticsTargetSick")] == [2],
            60,
            every_s=0.2,
            what="statements and query_text",
        )
        with psycopg.connect(postgres.conninfo(bare.dbname), autocommit=True) as connection:
            connection.execute("create extension pg_stat_statements")
        until(
            lambda: sum(each.value for each in watcher.alerts("PganalyticsTargetSick")) < 2,
            60,
            every_s=0.2,
            what="statements are read",
        )


def test_statements_of_which_details_cover_too_little(settings: Settings, one: Watched, log: Path) -> None:
    """Four hundred statements at once, of which a hundred may go in detail."""
    chosen = agent_of(settings, one.target("busy", databases=[one.dbname], metrics=NARROW))
    watcher = Watcher({"collect": chosen.collect.http_port})
    with AgentProcess(chosen, log):
        until(lambda: watcher.values("pganalytics_collect_coverage_ratio"), 60, every_s=0.2)
        watcher.until_quiet("PganalyticsCoverageLow")
        with many_statements(one):
            fired = watcher.until_fires("PganalyticsCoverageLow")
        assert without_target(fired) == {"collector": "busy", "metric": "statements"}
        assert 0 < fired.value < 0.95
        watcher.until_quiet("PganalyticsCoverageLow")


@contextmanager
def many_statements(one: Watched) -> Iterator[None]:
    """Until the block ends."""
    over = threading.Event()

    def work() -> None:
        with psycopg.connect(one.server.conninfo(one.dbname), autocommit=True) as connection:
            while not over.is_set():
                for columns in range(1, 401):
                    connection.execute(f"select {', '.join(['1'] * columns)}".encode())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def test_a_server_that_runs_out_of_transaction_ids_and_loses_a_slot(settings: Settings, log: Path, tmp_path: Path) -> None:
    """Its catalogue says that one database was frozen 1.5 billion transactions ago; the slot is really lost."""
    kept = {"autovacuum": "off", "max_slot_wal_keep_size": "1MB", "wal_keep_size": "0"}
    with PostgresServer.start(tmp_path / "own", settings=kept) as server:
        own = watched(server, tmp_path)
        chosen = agent_of(settings, own.target("old", databases=[own.dbname], metrics=NARROW))
        watcher = Watcher({"collect": chosen.collect.http_port})
        with AgentProcess(chosen, log), psycopg.connect(server.conninfo(), autocommit=True) as connection:
            until(lambda: watcher.values("pganalytics_collect_slots_at_risk") == [0], 60, every_s=0.2)
            until(lambda: watcher.values("pganalytics_collect_wraparound_ratio"), 60, every_s=0.2)
            assert watcher.alerts("PganalyticsSlotAtRisk") + watcher.alerts("PganalyticsWraparound") == []

            connection.execute("select pg_create_physical_replication_slot('forgotten', true)")
            for _ in range(3):
                connection.execute("select pg_logical_emit_message(true, '', ''), pg_switch_wal()")
            connection.execute("checkpoint")
            fired = watcher.until_fires("PganalyticsSlotAtRisk")
            assert (without_target(fired), fired.value) == ({"collector": "old"}, 1)
            connection.execute("select pg_drop_replication_slot('forgotten')")
            watcher.until_quiet("PganalyticsSlotAtRisk")

            (frozen,) = connection.execute(OLD_XID).fetchone() or ("",)
            connection.execute("update pg_database set datfrozenxid = %s::text::xid where datname = 'template1'", [frozen])
            fired = watcher.until_fires("PganalyticsWraparound")
            assert (without_target(fired), round(fired.value, 3)) == ({"collector": "old"}, 0.698)
        server.stop("immediate")


def test_a_spool_beyond_its_soft_limit(settings: Settings, one: Watched, log: Path) -> None:
    chosen = agent_of(settings, one.target("well"), spool_limit_bytes=1 << 20, spool_soft_limit=0.1)
    watcher = Watcher({"collect": chosen.collect.http_port})
    with AgentProcess(chosen, log, prelude=NOTHING_IS_SENT) as agent:
        until(lambda: watcher.values("pganalytics_collect_spool_soft_limit_ratio"), 60, every_s=0.2)
        watcher.until_quiet("PganalyticsSpoolFull")
        agent.kill()
        fill(chosen)
    with AgentProcess(chosen, log, prelude=NOTHING_IS_SENT):
        assert watcher.until_fires("PganalyticsSpoolFull").value >= 1


# Streams


def test_a_collector_that_falls_silent_and_one_beyond_its_ceiling(kafka: KafkaBroker, tmp_path: Path) -> None:
    quota = {"records_per_s": 1, "burst_s": 1, "ceiling_s": 1}
    gaps = {"heartbeat_s": 0.5, "silent_after": 4}
    settings = streams_feed.installation(kafka.bootstrap, quota=quota, gaps=gaps, http_port=free_port())
    feed = streams_feed.Feed(settings)
    watcher = Watcher({"streams": settings.streams.http_port})
    with streams_feed.running(settings, tmp_path) as streams:
        until(lambda: watcher.values("pganalytics_streams_ready") == [1], 60, every_s=0.2)
        assert watcher.alerts("PganalyticsCollectorSilent") + watcher.alerts("PganalyticsRecordsShed") == []
        feed.record("db0", 1, lane=Lane.CRITICAL, metric="heartbeat")
        feed.flush()
        watcher.until_fires("PganalyticsCollectorSilent")
        seqs = iter(range(2, 10_000))

        def has_come_back() -> bool:
            feed.record("db0", next(seqs), lane=Lane.CRITICAL, metric="heartbeat")
            feed.flush()
            return not watcher.alerts("PganalyticsCollectorSilent")

        until(has_come_back, 60, every_s=0.2)
        assert watcher.alerts("PganalyticsRecordsShed") == []
        for seq in range(1, 51):
            feed.record("noisy", seq)
        feed.flush()
        watcher.until_fires("PganalyticsRecordsShed")
        assert streams.stop() == 0, streams.text()


def test_streams_that_do_not_go_on_until_half_of_the_retention_is_gone(
    kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of the topics is 0.1 s: what they keep for 96 hours they keep for 9.6 s."""
    monkeypatch.setattr(topics, "HOUR_MS", SHORT_HOUR_MS)
    settings = streams_feed.installation(kafka.bootstrap, http_port=free_port())
    feed = streams_feed.Feed(settings)
    watcher = Watcher({"streams": settings.streams.http_port})
    with streams_feed.running(settings, tmp_path, "nothing-finishes-where-hours-are-short"):
        until(lambda: watcher.values("pganalytics_streams_ready") == [1], 60, every_s=0.2)
        assert watcher.alerts("PganalyticsStreamsBehind") + watcher.alerts("PganalyticsStuck") == []
        for seq in range(1, 8):
            feed.record("a", seq)
        feed.flush()
        fired = watcher.until_fires("PganalyticsStreamsBehind")
        assert without_target(fired) == {"lane": "normal"}
        assert fired.value > 4.8
        assert watcher.until_fires("PganalyticsStuck").labels["job"] == "pganalytics-streams"


# The sink


def test_what_is_missing_orphaned_and_dead(settings: Settings, feed: Feed, stored: Store) -> None:
    chosen = sink_of(settings)
    watcher = Watcher({"sink": chosen.sink.http_port})
    with running_sink(chosen):
        feed.admit(record("c", 1))
        until(lambda: stored.stored() == 1)
        until(lambda: len(watcher.values("pganalytics_sink_ledger_records")) == 5, 60, every_s=0.2)
        for alert in ("PganalyticsDeadLetters", "PganalyticsRecordsMissing", "PganalyticsSpoolOrphaned"):
            assert watcher.alerts(alert) == []

        feed.admit(record("c", 5).header("seq", b"none"))
        fired = watcher.until_fires("PganalyticsDeadLetters")
        assert without_target(fired) == {"reason": "headers_unreadable"}

        commit_as_streams(chosen)
        feed.admit(heartbeat("c", 1, {Lane.NORMAL: 3}), lane=Lane.CRITICAL)
        fired = watcher.until_fires("PganalyticsRecordsMissing")
        assert fired.value == 2
        assert str(stored.seqs("missing", "c")) == "2-3"

        assert watcher.alerts("PganalyticsSpoolOrphaned") == []
        for seq in (1, 2, 3):
            at_us = now_us() + seq
            feed.admit(heartbeat("c", seq, {}, epoch=EPOCH + 1, appended_at_us=at_us), lane=Lane.CRITICAL)
        assert watcher.until_fires("PganalyticsSpoolOrphaned").value == 1


@pytest.fixture
def hurried(
    kafka: KafkaBroker, postgres: PostgresServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """An hour of the topics is 0.1 s: what they keep for 72 hours they keep for 7.2 s. The lag is looked at as often."""
    monkeypatch.setattr(topics, "HOUR_MS", SHORT_HOUR_MS)
    monkeypatch.setattr(lag, "EVERY_S", 0.2)
    made = settings_for(kafka, postgres, database, tmp_path)
    make_topics(made.kafka, Topics(made.kafka.prefix, made.kafka.partitions).table())
    return sink_of(made)


def test_a_sink_whose_store_is_locked_until_half_of_the_retention_is_gone(hurried: Settings) -> None:
    stored, feed = Store(hurried), Feed(hurried)
    watcher = Watcher({"sink": hurried.sink.http_port})
    with running_sink(hurried):
        until(lambda: watcher.values("pganalytics_sink_ready") == [1], 60, every_s=0.2)
        until(lambda: watcher.values("pganalytics_sink_accountant_last_look_timestamp_seconds")[0] > 0, 60, every_s=0.2)
        for alert in ("PganalyticsNotReady", "PganalyticsSinkBehind", "PganalyticsAccountsOpen"):
            assert watcher.alerts(alert) == []
        with psycopg.connect(stored.conninfo) as other:
            other.execute("lock table pganalytics.positions, pganalytics.epochs in access exclusive mode")
            feed.admit(record("c", 1))
            assert without_target(watcher.until_fires("PganalyticsSinkBehind")) == {"lane": "normal"}
            assert watcher.until_fires("PganalyticsNotReady").labels["job"] == "pganalytics-sink"
            assert watcher.alerts("PganalyticsStuck") == []
            assert watcher.alerts("PganalyticsAccountsOpen") == []
            watcher.lasts(900)
            assert watcher.until_fires("PganalyticsAccountsOpen").value > 900
        watcher.until_quiet("PganalyticsNotReady")
