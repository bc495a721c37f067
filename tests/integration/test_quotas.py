"""Quotas change while the streams run, and what is shed is accounted for."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from integration import streams_feed
from integration.sink_feed import Feed, Store, heartbeat, record, running_sink
from integration.streams_feed import Streams, caught_up, installation, outputs, running, topics_of
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.runtime.settings import Quota, Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.audit import audit, wait_until_settled
from pganalytics.sink.deep_audit import deep_audit
from waiting import until

EFFECTIVE_S = 5.0


class Operator:
    """`pganalytics quota` as a person uses it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._config = folder / "operator.toml"
        self._config.write_text(as_toml(settings), encoding="utf-8")

    def quota(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PGANALYTICS_")}
        command = [sys.executable, "-m", "pganalytics.cli", *arguments, "-c", str(self._config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=kept)

    def set(self, name: str, *options: str) -> None:
        done = self.quota("quota", "set", name, *options)
        assert done.returncode == 0, done.stderr

    def listed(self) -> tuple[int, list[str], list[str]]:
        """Exit code, names in order, names that are ignored."""
        done = self.quota("quota", "list", "--json")
        told = json.loads(done.stdout)
        return done.returncode, [one["name"] for one in told["overrides"]], [one["name"] for one in told["ignored"]]


class Stage:
    """Records of one collector, and how many of them were deferred."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.feed = streams_feed.Feed(settings)
        self._seq = 0

    def deferred_of(self, count: int, collector: str = "db1") -> int:
        """Send so many, wait until they are dealt with; how many were deferred."""
        mine = range(self._seq + 1, self._seq + count + 1)
        self._seq += count
        for seq in mine:
            self.feed.record(collector, seq)
        self.feed.flush()
        until(lambda: caught_up(self.settings), 60, every_s=0.1)
        deferred = topics_of(self.settings).deferred
        return sum(each.topic == deferred and each.decoded.identity.seq in mine for each in outputs(self.settings))


def until_effective(streams: Streams, overrides: int) -> float:
    """Wait until the log says that so many overrides are in effect; the seconds that it took."""
    began = time.monotonic()

    def last() -> str:
        return [line for line in streams.text().splitlines() if "quotas are in effect" in line][-1]

    until(lambda: f"overrides={overrides}" in last(), 60)
    return time.monotonic() - began


def test_quotas_are_set_and_taken_back_without_a_restart(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota={"records_per_s": 1, "burst_s": 10})
    operator, stage = Operator(settings, tmp_path), Stage(settings)
    raw = stage.feed.raw
    quotas = topics_of(settings).quotas
    with running(settings, tmp_path) as streams:
        assert 50 <= stage.deferred_of(100) <= 90
        operator.set("db*", "--records-per-s", "10000")
        first_s = until_effective(streams, 1)
        assert stage.deferred_of(100) == 0, "a verdict of the old quota lasts"

        raw(quotas, b"db*", b'{"records_per_s": 0}', [])
        raw(quotas, b"\xff", b'{"records_per_s": 5}', [])
        stage.feed.flush()
        until(lambda: streams.text().count("quota is ignored") == 2)
        assert stage.deferred_of(100) == 0, "the last good one of a name stays"
        assert operator.listed() == (1, ["db*"], ["db*", "\\udcff"])

        operator.set("db1", "--records-per-s", "2", "--burst-s", "5")
        assert min(first_s, until_effective(streams, 2)) < EFFECTIVE_S
        assert 50 <= stage.deferred_of(100) <= 90
        assert stage.deferred_of(100, "db2") == 0
        assert streams.stop() == 0, streams.text()

    operator.set("db*", "--records-per-s", "10000")
    assert operator.quota("quota", "unset", "db1").returncode == 0
    gone = operator.quota("quota", "unset", "db1")
    assert (gone.returncode, "no quota is set under this name" in gone.stderr) == (1, True)
    with running(settings, tmp_path) as streams:
        assert stage.deferred_of(100) == 0, "a decision before the topic was read"
        assert streams.lives


def test_the_list_is_a_table_for_people(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap)
    operator = Operator(settings, tmp_path)
    operator.set("*", "--rows-per-s", "1234567")
    operator.set("[::1]:5432", "--records-per-s", "0.5", "--bytes-per-s", "1e6")
    done = operator.quota("quota", "list")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["name", "fits", "records_per_s", "rows_per_s", "bytes_per_s", "burst_s"],
        ["[::1]:5432", "collector", "0.5", "1,000,000"],
        ["*", "pattern", "1,234,567"],
        ["(settings)", "all", "others", "5", "2,000", "200,000", "60"],
    ]


@pytest.fixture
def narrow(settings: Settings) -> Settings:
    quota = Quota(records_per_s=1, burst_s=10, ceiling_s=30)
    return settings.model_copy(update={"streams": settings.streams.model_copy(update={"quota": quota})})


def test_what_is_shed_is_in_the_audit_with_exact_ranges(narrow: Settings, feed: Feed, stored: Store, tmp_path: Path) -> None:
    normal, critical = (feed.topics.collected(lane) for lane in (Lane.NORMAL, Lane.CRITICAL))
    with running(narrow, tmp_path) as streams, running_sink(narrow):
        feed.send(normal, *(record("noisy", seq) for seq in range(1, 301)))
        feed.send(normal, *(record("quiet", seq) for seq in range(1, 6)))
        feed.send(critical, heartbeat("noisy", 1, {Lane.NORMAL: 300}), heartbeat("quiet", 1, {Lane.NORMAL: 5}))
        until(lambda: stored.stored("quiet") == 6 and audit(narrow).total.emitted == 307, 60)
        wait_until_settled(narrow, timeout_s=120)
        report, deep = audit(narrow), deep_audit(narrow)
        assert streams.lives, streams.text()
    assert report.ok
    assert deep.ok
    noisy, quiet = report.collectors["noisy"], report.collectors["quiet"]
    assert (quiet.emitted, quiet.stored) == (6, 6)
    assert noisy.emitted == noisy.stored + noisy.shed == 301
    assert 40 <= noisy.stored < 100
    rows = {seq for (seq,) in stored.ask("select seq from metrics.database where collector = 'noisy'")}
    assert stored.seqs("shed", "noisy") == Ranges.numbers(range(1, 301)) - Ranges.numbers(rows)
    assert len(stored.seqs("shed", "noisy").spans) == 1
    assert stored.one("select count(*) from pganalytics.events where kind = 'shed'") >= 1
    done = Operator(narrow, tmp_path).quota("audit", "--deep")
    assert done.returncode == 0, done.stdout + done.stderr
    told = [event for event in streams_feed.events(narrow) if event.kind is EventKind.SHED]
    assert {(event.collector, event.lane) for event in told} == {("noisy", Lane.NORMAL)}
