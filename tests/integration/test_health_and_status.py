"""Health as it is asked over HTTP, and the commands that look: on a real broker and a real store."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psycopg
from typer.testing import CliRunner

from integration import streams_feed
from integration.producers_feed import AgentProcess, Watched, with_targets
from integration.sink_feed import EPOCH, Feed, Store, commit_as_streams, event_record, heartbeat, now_us, record, running_sink
from pganalytics.cli.main import build_app
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.ports import free_port
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.event_reader import Chosen, follow_events, past_events
from waiting import until

HOSTILE = "db\u202e\x1b[2J"


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


# Health


def test_an_agent_is_ready_when_a_target_was_read(settings: Settings, one: Watched, log: Path) -> None:
    port = free_port()
    dead = {"name": "dead", "host": "127.0.0.1", "port": free_port(), "user": "nobody"}
    with AgentProcess(with_targets(settings, dead, http_port=port), log) as agent:
        until(lambda: ask(port, "/readyz") == (503, "none of 1 targets has been read yet\n"))
        assert ask(port, "/livez") == (200, "ok\n")
        assert agent.stop() == 0
    with AgentProcess(with_targets(settings, dead, one.target("well"), http_port=port), log) as agent:
        until(lambda: ask(port, "/readyz") == (200, "ok\n"))
        assert ask(port, "/livez") == (200, "ok\n")
        assert agent.stop() == 0


def test_streams_that_finish_nothing_are_ready_and_not_alive(kafka: KafkaBroker, tmp_path: Path) -> None:
    port = free_port()
    settings = streams_feed.installation(kafka.bootstrap, http_port=port)
    feed = streams_feed.Feed(settings)
    with streams_feed.running(settings, tmp_path, "nothing-finishes-and-is-told"):
        until(lambda: ask(port, "/readyz") == (200, "ok\n"), 60, every_s=0.2)
        assert ask(port, "/livez") == (200, "ok\n")
        for seq in range(1, 8):
            feed.record("a", seq)
        feed.flush()
        until(lambda: ask(port, "/livez")[0] == 500, 60, every_s=0.2)
        assert ask(port, "/livez")[1].startswith("7 records wait and none was processed for ")
        assert ask(port, "/readyz") == (200, "ok\n")


def test_a_sink_whose_store_is_locked_is_alive_and_not_ready(settings: Settings, feed: Feed, stored: Store) -> None:
    port = free_port()
    patient = settings.sink.model_copy(update={"http_port": port, "retry_max_s": 0.5})
    with running_sink(settings.model_copy(update={"sink": patient})):
        until(lambda: ask(port, "/readyz") == (200, "ok\n"))
        with psycopg.connect(stored.conninfo) as other:
            other.execute("lock table pganalytics.positions in access exclusive mode")
            feed.admit(record("c", 1))
            until(lambda: ask(port, "/readyz") == (503, "the sink waits for store\n"))
            assert ask(port, "/livez") == (200, "ok\n")
        until(lambda: ask(port, "/readyz") == (200, "ok\n"))


# Commands


@dataclass
class Looking:
    """Commands as a user types them, with the settings of an installation."""

    config: Path

    def look(self, *words: str) -> tuple[int, str]:
        found = CliRunner().invoke(build_app(), [*words, "--config", str(self.config)], env={"COLUMNS": "80"})
        return found.exit_code, found.stdout


def looking(settings: Settings, folder: Path) -> Looking:
    config = folder / "settings.toml"
    config.write_text(as_toml(settings), encoding="utf-8")
    return Looking(config)


def noticed(kind: EventKind, collector: str) -> Event:
    where = {"topic": "t", "partition": 0, "offset": 1}
    return Event(kind, Source.STREAMS, now_us(), collector, EPOCH, Lane.NORMAL, Ranges(((4, 5),)), detail=HOSTILE, **where)  # type: ignore[arg-type]


def test_status_names_what_is_wrong(settings: Settings, feed: Feed, stored: Store, tmp_path: Path) -> None:
    user = looking(settings, tmp_path)
    with running_sink(settings):
        feed.admit(heartbeat("db1", 1, {Lane.NORMAL: 3}, up=False, error="refused", agent="host:7"), lane=Lane.CRITICAL)
        feed.admit(*(record("db1", seq) for seq in (1, 2, 3)))
        feed.send(feed.topics.events, event_record(noticed(EventKind.DEFERRED, "db1")))
        until(lambda: stored.stored() == 4)
        until(lambda: stored.one("select count(*) from pganalytics.events") == 1)
        code, text = user.look("status")
        assert code == 1
        for line in ("db1: the target does not answer: refused", "streams: no process runs", "db1: over its quota"):
            assert line in text
        assert "pganalytics check --target db1" in text
        found = json.loads(user.look("status", "--json")[1])
        assert found["ok"] is False
        assert found["ledger"]["stored"] == 4
        assert {one["service"]: len(one["members"]) for one in found["groups"]} == {"streams": 0, "sink": 1}


def test_status_shows_one_side_when_the_other_is_away(settings: Settings, stored: Store, feed: Feed, tmp_path: Path) -> None:
    del feed
    with running_sink(settings):
        until(lambda: stored.one("select count(*) from pganalytics.positions") > 0)
    nobody = {"bootstrap": f"127.0.0.1:{free_port()}", "timeout_s": 1.0}
    without_kafka = settings.model_copy(update={"kafka": settings.kafka.model_copy(update=nobody)})
    without_store = settings.model_copy(update={"store": settings.store.model_copy(update={"port": free_port()})})
    code, text = looking(without_kafka, tmp_path).look("status")
    assert (code, "no broker answers" in text, "ledger" in text) == (69, True, True)
    code, text = looking(without_store, tmp_path).look("status", "--json")
    found = json.loads(text)
    assert (code, found["collectors"], len(found["lags"])) == (69, None, 8)
    assert looking(without_store, tmp_path).look("gaps")[0] == 69
    assert looking(without_kafka, tmp_path).look("events")[0] == 69


def test_events_are_read_without_the_store(settings: Settings, feed: Feed, tmp_path: Path) -> None:
    without_store = settings.model_copy(update={"store": settings.store.model_copy(update={"port": free_port()})})
    user = looking(without_store, tmp_path)
    assert user.look("events") == (0, "no events match\n")
    gap = noticed(EventKind.GAP, "a")
    feed.send(feed.topics.events, event_record(gap), event_record(gap), event_record(noticed(EventKind.SILENT, "b")))
    code, text = user.look("events")
    assert (code, len(text.splitlines())) == (0, 2), text
    assert "\\u202e\\x1b[2J" in text
    assert [json.loads(line)["id"] for line in user.look("events", "--kind", "gap", "--json")[1].splitlines()] == [gap.id]
    assert user.look("events", "--collector", "b", "--since", "1h")[1].count("silent b") == 1
    assert user.look("events", "--since", "2999-01-01")[1] == "no events match\n"


def test_following_goes_on_where_the_past_ends(settings: Settings, feed: Feed) -> None:
    old, new = noticed(EventKind.GAP, "a"), noticed(EventKind.SILENT, "a")
    feed.send(feed.topics.events, event_record(old))
    past, ends = past_events(settings, Chosen(), None)
    assert [event.id for event in past] == [old.id]
    feed.send(feed.topics.events, event_record(noticed(EventKind.SILENT, "b")), event_record(new))
    deadline = time.monotonic() + 30
    coming = follow_events(settings, Chosen(collector="a"), ends, over=lambda: time.monotonic() > deadline)
    assert next(coming).id == new.id
    coming.close()  # type: ignore[attr-defined]


def test_gaps_are_what_was_sent_and_has_not_arrived(settings: Settings, feed: Feed, stored: Store, tmp_path: Path) -> None:
    user = looking(settings, tmp_path)
    slow = settings.model_copy(update={"sink": settings.sink.model_copy(update={"settle_interval_s": 0.1})})
    with running_sink(slow):
        feed.admit(record("c", 1), record("c", 4))
        until(lambda: stored.stored() == 2)
        assert user.look("gaps") == (0, "no gaps: all that was sent has arrived\n")
        feed.admit(heartbeat("c", 1, {Lane.NORMAL: 5}), lane=Lane.CRITICAL)
        until(lambda: stored.stored() == 3)
        commit_as_streams(settings)
        until(lambda: str(stored.seqs("missing", "c")) == "2-3,5")
        code, text = user.look("gaps")
    assert code == 1
    assert "missing" in text
    assert "2-3,5" in text
    found = json.loads(user.look("gaps", "--json")[1])
    assert (found["ok"], found["gaps"][0]["seqs"], found["gaps"][0]["missing"]) == (False, "2-3,5", "2-3,5")
    assert found["gaps"][0]["sent_before"]
