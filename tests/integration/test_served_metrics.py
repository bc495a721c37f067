"""What a running service says at /metrics is what it has done. One test for each service, and what the accountant finds."""

import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from integration import streams_feed
from integration.producers_feed import AgentProcess, Watched, with_targets
from integration.sink_feed import EPOCH, Feed, Record, Store, commit_as_streams, heartbeat, now_us, record, running_sink
from integration.test_producers_sender import snapshot
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.ports import free_port
from pganalytics.producers.spool import Spool
from pganalytics.runtime.self_metrics import SELF_METRICS, Service
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.sink import accountant
from pganalytics.sink.retire import retire
from waiting import until

Scrape = dict[tuple[str, ...], float]
REPAIRED = "pganalytics_sink_accountant_repaired_total"
MISSING = "pganalytics_sink_accountant_missing_total"
HOLES = "pganalytics_sink_accountant_holes_total"
EPOCHS = "pganalytics_sink_epochs_ended_total"


def scrape(port: int) -> Scrape:
    """By name and label values, these in the order of the labels' names. Waits for a service that has only just been started."""
    text = ""

    def has_answered() -> bool:
        nonlocal text
        with contextlib.suppress(urllib.error.URLError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            return True
        return False

    until(has_answered)
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(one.name, *(one.labels[label] for label in sorted(one.labels))): one.value for one in samples}


def names(scraped: Scrape) -> set[str]:
    """Without those of the process."""
    return {name for name, *_ in scraped if not name.startswith("process_")}


def listed(service: Service) -> set[str]:
    return {one.name for one in SELF_METRICS if one.service is service}


def labelled(scraped: Scrape, name: str) -> set[str]:
    """Values of a name's first label."""
    return {one[1] for one in scraped if one[0] == name}


def is_recent(timestamp: float) -> bool:
    return abs(time.time() - timestamp) < 120


# The agent


def test_an_agent_tells_of_its_targets_its_spool_and_what_it_sent(settings: Settings, one: Watched, log: Path) -> None:
    port = free_port()
    dead = {"name": "dead", "host": "127.0.0.1", "port": free_port(), "user": "nobody"}
    chosen = with_targets(settings, one.target("well"), dead, http_port=port)
    with AgentProcess(chosen, log) as agent:
        agent.wait_for("serving")
        until(lambda: scrape(port).get(("pganalytics_collect_jobs_total", "well", "collected", ""), 0) > 3)
        until(lambda: scrape(port)["pganalytics_collect_records_acknowledged_total", "normal"] > 2)
        until(lambda: scrape(port)["pganalytics_collect_records_acknowledged_total", "critical"] > 2)
        until(lambda: scrape(port).get(("pganalytics_collect_jobs_total", "dead", "failed", "refused"), 0) > 0)
        before = scrape(port)
        until(lambda: moved(before, scrape(port)))
        found = scrape(port)
        with AgentProcess(with_targets(chosen, dead, state_dir=log.parent / "other"), log.parent / "other.log") as other:
            assert other.exit_code() == 69
            assert f"collect.http_port {port} on 127.0.0.1 is in use" in other.log[-1]
        assert agent.stop() == 0
    assert names(found) == listed(Service.COLLECT) - {
        "pganalytics_collect_stubs_total",
        "pganalytics_collect_send_failures_total",
    }, "labelled numbers are there when they have something to tell"
    assert found["pganalytics_collect_target_up", "well"] == 1
    assert found["pganalytics_collect_target_up", "dead"] == 0
    assert found["pganalytics_collect_heartbeats_total",] >= 2
    assert found["pganalytics_collect_connections",] >= 1
    assert found["pganalytics_collect_spool_soft_limit_ratio",] < 0.5
    assert labelled(found, "pganalytics_collect_last_success_timestamp_seconds") == {"well"}


def moved(before: Scrape, after: Scrape) -> bool:
    """Everything that a healthy target moves."""
    last = ("pganalytics_collect_last_success_timestamp_seconds", "well")
    rising = [
        ("pganalytics_collect_heartbeats_total",),
        ("pganalytics_collect_records_acknowledged_total", "critical"),
        ("pganalytics_collect_jobs_total", "well", "collected", ""),
        *((*last, metric) for metric in ("heartbeat", "database", "statements")),
    ]
    return all(after[name] > before[name] for name in rising) and is_recent(after[*last, "database"])


def test_what_is_held_back_is_counted_by_reason(settings: Settings, one: Watched, log: Path) -> None:
    """Here because what the agent before has left is above the limit."""
    port = free_port()
    chosen = with_targets(settings, one.target("well"), http_port=port, spool_limit_bytes=1 << 20, spool_soft_limit=0.1)
    fill(chosen)
    with AgentProcess(chosen, log, prelude=NOTHING_IS_SENT) as agent:
        agent.wait_for("serving")
        until(lambda: scrape(port).get(("pganalytics_collect_jobs_total", "well", "held_back", "spool_soft_limit"), 0) > 1)
        found = scrape(port)
        assert found["pganalytics_collect_spool_soft_limit_ratio",] > 1
        assert found["pganalytics_collect_spool_records",] > 0
        assert found["pganalytics_collect_spool_bytes",] > 100_000
        assert labelled(found, "pganalytics_collect_jobs_total") <= {"well", "a"}
        assert labelled(found, "pganalytics_collect_target_up") == {"well"}


NOTHING_IS_SENT = """
from pganalytics.producers.sender import Sender
Sender._send_lane = lambda self, lane: 0
"""


def fill(settings: Settings) -> None:
    """Put more into the spool than its soft limit."""
    spool = Spool.open(settings.collect.state_dir)
    spool.start_epoch("a", 100)
    spool.append_many([snapshot(5000) for _ in range(40)])
    spool.close()


# The streams


def test_streams_tell_of_what_passed_and_what_was_deferred(kafka: KafkaBroker, tmp_path: Path) -> None:
    port = free_port()
    settings = streams_feed.installation(kafka.bootstrap, quota={"records_per_s": 1, "burst_s": 10}, http_port=port)
    feed = streams_feed.Feed(settings)
    with streams_feed.running(settings, tmp_path) as streams:
        for seq in (*range(1, 31), 35):
            feed.record("noisy", seq)
            feed.record("noisy", seq, lane=Lane.CRITICAL)
        feed.flush()
        until(lambda: streams_feed.caught_up(settings), 60, every_s=0.2)
        found = scrape(port)
        assert found["pganalytics_streams_records_total", "critical", "passed"] == 31
        deferred = found["pganalytics_streams_records_total", "normal", "deferred"]
        assert deferred >= 10
        assert deferred + found["pganalytics_streams_records_total", "normal", "passed"] == 31
        assert found["pganalytics_streams_events_total", "gap"] == 2
        assert found["pganalytics_streams_events_total", "deferred"] >= 1
        assert found["pganalytics_streams_batches_total",] >= 1
        assert found["pganalytics_streams_rebalances_total",] >= 1
        assert is_recent(found["pganalytics_streams_last_batch_timestamp_seconds",])
        until(lambda: names(scrape(port)) == listed(Service.STREAMS), what="the first look at the lag")
        feed.record("noisy", 36, lane=Lane.CRITICAL)
        feed.flush()
        until(lambda: scrape(port)["pganalytics_streams_records_total", "critical", "passed"] == 32)
        assert scrape(port)["pganalytics_streams_batches_total",] > found["pganalytics_streams_batches_total",]
        assert streams.stop() == 0, streams.text()


# The sink


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def served(settings: Settings, port: int, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A sink that serves its metrics, with an accountant that does not take its time."""
    monkeypatch.setattr(accountant, "ADD_UP_S", 0.1)
    chosen = {"settle_interval_s": 0.1, "http_port": port, "retry_max_s": 0.5}
    return settings.model_copy(update={"sink": settings.sink.model_copy(update=chosen)})


def test_a_sink_tells_of_what_it_stores_and_what_it_cannot(served: Settings, port: int, feed: Feed, stored: Store) -> None:
    with running_sink(served):
        feed.admit(*(record("c", seq) for seq in (1, 2, 3)))
        until(lambda: stored.stored() == 3)
        feed.admit(record("c", 2), record("c", 4), record("c", 5).header("seq", b"none"), Record(b"x", b"", []))
        until(lambda: scrape(port)["pganalytics_sink_records_total", "dead", "headers_unreadable"] == 2)
        until(lambda: scrape(port)["pganalytics_sink_records_total", "stored", ""] == 4)
        until(lambda: names(scrape(port)) == listed(Service.SINK), what="the first look at the lag")
        found = scrape(port)
        assert found["pganalytics_sink_records_total", "duplicate", ""] == 1
        assert found["pganalytics_sink_batches_total",] >= 2
        assert found["pganalytics_sink_batch_seconds_total",] > 0
        assert is_recent(found["pganalytics_sink_last_commit_timestamp_seconds",])
        until(lambda: scrape(port)["pganalytics_sink_partitions_made_total",] > 0)
        until(lambda: is_recent(scrape(port)["pganalytics_sink_accountant_last_look_timestamp_seconds",]))


def test_a_sink_that_waits_for_the_store_says_so(served: Settings, port: int, feed: Feed, stored: Store) -> None:
    with running_sink(served):
        feed.admit(record("c", 1))
        until(lambda: stored.stored() == 1)
        assert scrape(port)["pganalytics_sink_waiting",] == 0
        with psycopg.connect(stored.conninfo) as other:
            other.execute("lock table pganalytics.positions in access exclusive mode")
            feed.admit(record("c", 2))
            until(lambda: scrape(port)["pganalytics_sink_waiting",] == 1)
            assert scrape(port)["pganalytics_sink_waits_total", "store"] >= 1
            assert scrape(port)["pganalytics_sink_records_total", "stored", ""] == 1
        until(lambda: scrape(port)["pganalytics_sink_waiting",] == 0)
        assert scrape(port)["pganalytics_sink_records_total", "stored", ""] == 2


def ledger(scraped: Scrape) -> dict[str, float]:
    """Records by what became of them."""
    return {one[1]: value for one, value in scraped.items() if one[0] == "pganalytics_sink_ledger_records"}


def beats(first: int, count: int, epoch: int, emitted: int, **options: object) -> Iterator[Record]:
    """Heartbeats, taken by the broker one after the other."""
    for seq in range(first, first + count):
        at_us = now_us() + epoch + seq
        yield heartbeat("c", seq, {Lane.NORMAL: emitted}, epoch=epoch, appended_at_us=at_us, **options)  # type: ignore[arg-type]


def test_a_hole_that_is_repaired_and_one_that_is_missing_are_counted(
    served: Settings, port: int, feed: Feed, stored: Store
) -> None:
    """Of seven records that were sent, three arrive, two are only in the collected topic, two are nowhere."""
    with running_sink(served):
        feed.admit(*(record("c", seq) for seq in range(1, 4)))
        feed.send(feed.topics.collected(Lane.NORMAL), record("c", 4), record("c", 5))
        commit_as_streams(served)
        until(lambda: stored.stored() == 3)
        assert (scrape(port)[HOLES,], scrape(port)[REPAIRED,], scrape(port)[MISSING,]) == (0, 0, 0)
        feed.admit(*beats(1, 1, EPOCH, 5), lane=Lane.CRITICAL)
        until(lambda: scrape(port)[REPAIRED,] == 2)
        until(lambda: stored.stored() == 6)
        until(lambda: scrape(port)[HOLES,] == 2)
        assert scrape(port)[MISSING,] == 0
        feed.admit(*beats(2, 1, EPOCH, 7), lane=Lane.CRITICAL)
        until(lambda: scrape(port)[MISSING,] == 2)
        until(lambda: scrape(port)["pganalytics_sink_accountant_rounds_total",] >= 2)
        found = scrape(port)
        assert (found[HOLES,], found[REPAIRED,]) == (4, 2)
        assert is_recent(found["pganalytics_sink_accountant_last_round_timestamp_seconds",])
        until(lambda: ledger(scrape(port)) == {"stored": 7, "dead": 0, "shed": 0, "missing": 2, "under_way": 0})
    assert str(stored.seqs("missing", "c")) == "6-7"


def test_epochs_are_counted_by_how_they_end(served: Settings, port: int, feed: Feed, stored: Store) -> None:
    """One whose spool is gone, which is then retired; one by its own word; one whose spool was put back."""
    unsent = [(EPOCH, Lane.NORMAL, 1, 5)]
    with running_sink(served):
        feed.admit(*beats(1, 1, EPOCH, 5, unsent=unsent), lane=Lane.CRITICAL)
        feed.admit(*beats(1, 3, EPOCH + 1, 0), lane=Lane.CRITICAL)
        until(lambda: scrape(port)[EPOCHS, "orphaned"] == 1)
        until(lambda: scrape(port)["pganalytics_sink_orphaned_epochs",] == 1)
        assert ledger(scrape(port)) == {"stored": 4, "dead": 0, "shed": 0, "missing": 0, "under_way": 5}
        assert (scrape(port)[EPOCHS, "final"], scrape(port)[EPOCHS, "retired"]) == (0, 0)
        retire(served, "c", silent_s=600, wait_s=0)
        until(lambda: scrape(port)[EPOCHS, "retired"] == 1)
        until(lambda: scrape(port)["pganalytics_sink_orphaned_epochs",] == 0)
        feed.admit(record("c", 1, epoch=EPOCH + 1))
        feed.admit(*beats(4, 1, EPOCH + 1, 1, final=True), lane=Lane.CRITICAL)
        until(lambda: scrape(port)[EPOCHS, "final"] == 1)
        assert scrape(port)[EPOCHS, "spool_rolled_back"] == 0
        feed.admit(record("c", 2, epoch=EPOCH + 1))
        until(lambda: scrape(port)[EPOCHS, "spool_rolled_back"] == 1)
        assert [scrape(port)[EPOCHS, kind] for kind in ("orphaned", "retired", "final")] == [1, 1, 1]
