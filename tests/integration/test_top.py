"""`pganalytics top` on a real broker: one picture for pipes, and keys on a pseudo-terminal. Kafka is disturbed by neither."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from integration.pty_screen import on_a_terminal
from integration.sink_feed import Feed, Record, heartbeat, now_us, record
from pganalytics.cli.main import build_app
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.ports import free_port
from pganalytics.runtime.kafka import admin, make_topics
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.metric import MetricSchema, builtin_schemas, canonical_text, load_schema
from pganalytics.schemas.topics import Topics
from waiting import until

HOSTILE = "app\u202e\x1b[2J\x07"
WIDE = "データ庫"
OTHER = "db2.example:5432"


@dataclass
class User:
    """Somebody with a settings file."""

    config: Path

    def top(self, *words: str, columns: int = 80) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        found = CliRunner().invoke(
            build_app(), ["top", *words, "--config", str(self.config)], env={"COLUMNS": str(columns)}, catch_exceptions=False
        )
        return found.exit_code, found.stdout, found.stderr

    def json(self, *words: str) -> dict[str, Any]:
        code, text, problems = self.top("--once", "--json", *words)
        assert code == 0, problems
        found: dict[str, Any] = json.loads(text)
        return found


@pytest.fixture
def user(settings: Settings, tmp_path: Path) -> User:
    """The store is away: top does not need it."""
    return user_of(settings, tmp_path)


def user_of(settings: Settings, folder: Path) -> User:
    config = folder / "settings.toml"
    without_store = settings.model_copy(update={"store": settings.store.model_copy(update={"port": free_port()})})
    config.write_text(as_toml(without_store), encoding="utf-8")
    return User(config)


def of(metric: str, collector: str, seq: int, **values: Any) -> Record:
    schema = builtin_schemas()[metric]
    return record(collector, seq, lane=schema.lane, schema=schema, **values)


def statements(collector: str, seq: int, calls: int) -> Record:
    at = now_us()
    columns: dict[str, Any] = {"queryid": [7, 8], "dbid": [1, 1], "remainder": [False, False], "calls": [calls, 10]}
    columns |= {"total_exec_time": [3 * 10**9, 10**9], "since": at - 10_000_000, "collected_at": at}
    return of("statements", collector, seq, **columns)


def fill(feed: Feed) -> None:
    """Two targets; one of them waits in a chain, and all it can choose is hostile. Much comes twice, or by another topic."""
    for name in ("db1", OTHER):
        feed.admit(heartbeat(name, 2, {}, connections=9, max_connections=100), lane=Lane.CRITICAL)
    old, new = statements("db1", 1, 1000), statements("db1", 3, 50)
    feed.admit(new, old, new)
    feed.send(feed.topics.deferred, old, new)
    feed.admit(of("query_text", "db1", 1, queryid=[7], query=[f"select {HOSTILE}\n{WIDE}"]), lane=Lane.BULK)
    at = now_us()
    database: dict[str, Any] = {
        "collected_at": at,
        "since": at - 5_000_000,
        "datid": [1],
        "datname": [WIDE],
        "xact_commit": [50],
        "blks_hit": [9],
        "blks_read": [1],
    }
    feed.admit(record("db1", 5, **database), record("db1", 4, xact_commit=[1, 1]))
    chain: dict[str, Any] = {"waiters_total": 1, "waiter_pid": [2], "blocker_pid": [1], "blocker_gid": ["\0"], "depth": [1]}
    chain |= {"lock_type": ["relation"], "lock_mode": ["ShareLock"], "waiter_usename": [HOSTILE], "waited": [3_000_000]}
    feed.admit(of("blocking", "db1", 3, **chain), lane=Lane.CRITICAL)


# One picture


def test_one_picture_counts_nothing_twice(user: User, feed: Feed) -> None:
    fill(feed)
    fleet = user.json()["fleet"]
    assert {row["target"]: (row["state"], row["connections"], row["transactions_per_s"]) for row in fleet} == {
        "db1": ("up", 9, 10.0),
        OTHER: ("up", 9, None),
    }
    found = user.json("--target", "db1")
    first = found["statements"][0]
    assert (first["calls_per_s"], round(first["share"], 6), first["database"], first["ms_per_call"]) == (5.0, 0.75, WIDE, 60.0)
    assert first["text"] == f"select {HOSTILE}\n{WIDE}"
    assert [(row["level"], row["pid"]) for row in found["blocking"]] == [(0, "1"), (1, "2")]
    assert found["notes"] == []


@pytest.mark.parametrize("columns", [80, 160])
def test_a_picture_for_people_fits_and_does_nothing_to_a_terminal(user: User, feed: Feed, columns: int) -> None:
    fill(feed)
    for words in ((), ("--target", "db1"), ("--view", "blocking"), ("--view", "statements", "--sort", "ms/call")):
        code, text, problems = user.top("--once", *words, columns=columns)
        assert (code, problems) == (0, "")
        assert all(line.isprintable() for line in text.splitlines())
        assert "db1" in text
    code, text, _ = user.top("--once", "--view", "statements", "--filter", "select", columns=columns)
    assert "select app\\u202e\\x1b[2J\\x07" in text
    assert "queryid 8" not in text


def test_what_cannot_be_shown_is_said(user: User, feed: Feed, settings: Settings, tmp_path: Path) -> None:
    code, text, problems = user.top("--once", "--seconds", "0")
    assert (code, text, problems) == (
        1,
        "",
        f"pganalytics: top: no record came: `pganalytics status -c {user.config}` says why\n",
    )
    fill(feed)
    code, text, problems = user.top("--once", "--target", "db3", "--seconds", "1")
    assert (code, text) == (2, "")
    assert f"--target db3: no record of it came; there are db1, {OTHER}" in problems
    assert user.top("--once", "--seconds", "0.5", "--since", "2999-01-01")[0] == 1
    assert user.top()[0] == 2
    assert user.top("--json")[0] == 2
    nobody = {"bootstrap": f"127.0.0.1:{free_port()}", "timeout_s": 1.0}
    alone = settings.model_copy(update={"kafka": settings.kafka.model_copy(update=nobody)})
    code, _, problems = user_of(alone, tmp_path).top("--once")
    assert (code, "no broker answers" in problems) == (69, True)
    more = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"partitions": 99})})
    code, _, problems = user_of(more, tmp_path).top("--once")
    assert (code, "kafka.partitions is 99" in problems) == (69, True)
    elsewhere = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"prefix": "nothing-is-here"})})
    code, _, problems = user_of(elsewhere, tmp_path).top("--once")
    assert (code, problems.count(f"is missing: run `pganalytics setup -c {user.config}`")) == (69, 4)


def test_records_of_a_newer_agent_are_read_by_their_own_schema(user: User, feed: Feed) -> None:
    newer = dict(builtin_schemas()["database"].avro)
    newer["fields"] = [*newer["fields"], {**newer["fields"][-1], "name": "later"}]
    schema: MetricSchema = load_schema(canonical_text(newer))
    feed.send(feed.topics.schemas, Record(schema.id.encode(), schema.text.encode(), []))
    feed.admit(record("db1", 1, schema=schema, datid=[1], datname=["shop"], xact_commit=[50], later=[4]))
    assert user.json("--view", "databases")["databases"][0]["transactions_per_s"] == pytest.approx(10, rel=0.01)


def test_neither_a_group_nor_an_offset_is_left_in_kafka(user: User, feed: Feed, settings: Settings) -> None:
    fill(feed)
    assert user.top("--once")[0] == 0
    groups = admin(settings.kafka).list_consumer_groups(request_timeout=10).result(20).valid
    assert not [group.group_id for group in groups if settings.kafka.prefix in group.group_id]


# Live


def test_keys_change_the_picture(user: User, feed: Feed) -> None:
    fill(feed)
    with on_a_terminal(["top", "--config", str(user.config)]) as screen:
        screen.shows("2 targets: 2 up", "db1", OTHER, "q quit")
        assert screen.alternate
        screen.press("\x1b[B\x1b[A\r")
        screen.shows("target db1", "heartbeat", "blocking:", "└ 2", "statements:", WIDE)
        screen.press("s")
        screen.shows("time%▼", "select app\\u202e\\x1b[2J\\x07", "queryid 8")
        screen.press(">>r")
        screen.shows("calls/s▲")
        screen.press("/queryid")
        screen.shows("filter: queryid_")
        until(lambda: "select" not in screen.text())
        screen.press("\r")
        screen.shows("filter queryid", "queryid 8")
        screen.press("\x1b")
        screen.shows("select app")
        screen.press("?")
        screen.shows("any key: back")
        screen.press("x\x1b\x1b")
        screen.shows("fleet:", "q quit")
        screen.resize(160, 40)
        screen.shows("lag size", "ver")
        screen.press("q")
        assert screen.ended() == 0
        assert not screen.alternate


def test_a_paused_picture_stays_and_the_present_is_there_afterwards(user: User, feed: Feed) -> None:
    fill(feed)
    with on_a_terminal(["top", "--config", str(user.config), "--view", "statements"]) as screen:
        screen.shows("5.00")
        screen.press(" ")
        screen.shows("paused")
        feed.admit(statements("db1", 9, 7777))
        held = screen.text()
        feed.admit(heartbeat("db3", 9, {}), lane=Lane.CRITICAL)
        screen.press("r")
        screen.shows("time%▲")
        assert "778" not in screen.text()
        assert held.splitlines()[0] == screen.text().splitlines()[0]
        screen.press(" ")
        screen.shows("778", "3 targets")
        screen.press("\x03")
        assert screen.ended() == 130
        assert not screen.alternate


def test_the_terminal_is_given_back_when_it_is_ended_or_put_to_sleep(user: User, feed: Feed) -> None:
    fill(feed)
    with on_a_terminal(["top", "--config", str(user.config)]) as screen:
        screen.shows("2 targets")
        screen.press("\x1a")
        until(lambda: (screen.text(), screen.alternate)[1] is False)
        until(lambda: Path(f"/proc/{screen.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")
        os.kill(screen.process.pid, signal.SIGCONT)
        until(lambda: (screen.text(), screen.alternate)[1] is True)
        screen.shows("2 targets")
        screen.process.send_signal(signal.SIGTERM)
        assert screen.ended() == 128 + signal.SIGTERM
        assert not screen.alternate


def test_it_ends_with_the_window(user: User, feed: Feed) -> None:
    fill(feed)
    with on_a_terminal(["top", "--config", str(user.config)]) as screen:
        screen.shows("2 targets")
        screen.hang_up()
        assert screen.process.wait(60) == 128 + signal.SIGHUP


def test_an_unknown_target_ends_it_with_a_message(user: User, feed: Feed) -> None:
    fill(feed)
    with on_a_terminal(["top", "--config", str(user.config), "--target", "db9"]) as screen:
        assert screen.ended() == 2
    assert not screen.alternate


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaBroker]:
    """One that may be killed."""
    (tmp_path / "broker").mkdir()
    with KafkaBroker.start(tmp_path / "broker") as started:
        yield started


def test_a_broker_that_goes_away_is_said_and_waited_for(broker: KafkaBroker, settings: Settings, tmp_path: Path) -> None:
    alone = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap": broker.bootstrap})})
    make_topics(alone.kafka, Topics(alone.kafka.prefix, alone.kafka.partitions).table())
    fill(Feed(alone))
    with on_a_terminal(["top", "--config", str(user_of(alone, tmp_path).config)]) as screen:
        screen.shows("2 targets: 2 up")
        assert "Kafka" not in screen.text()
        broker.kill()
        screen.shows("Kafka has not answered for", "db1")
        broker.start_again()
        until(lambda: "Kafka" not in screen.text(), 60, what="an answer of Kafka")
        Feed(alone).admit(heartbeat("db3", 9, {}), lane=Lane.CRITICAL)
        screen.shows("3 targets")
        screen.press("q")
        assert screen.ended() == 0
