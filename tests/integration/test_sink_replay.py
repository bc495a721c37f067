"""Records are sent again without harm: each is stored once, no audit is ever out of balance, and nothing is forgotten in vain."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration.sink_feed import EPOCH, Feed, Record, Store, heartbeat, now_us, record, running_sink
from integration.test_sink_stores import custom, publish
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.audit import audit
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.dead_letter_list import Wanted, read_list
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.errors import TryAgain
from pganalytics.sink.forget import forget
from pganalytics.sink.letters import Letters
from pganalytics.sink.replay import CHUNK_RECORDS, Replay, Tally
from pganalytics.sink.selection import Candidate, ReplaySource, Selection, Skip, candidate_of
from pganalytics.sink.unread import read_spans
from waiting import until

DEAD, ADMITTED = ReplaySource.DEAD_LETTERS, ReplaySource.ADMITTED
C = Selection(collector="c")
ROWS = "select collector, epoch, lane, seq, collected_at, xact_commit from metrics.database order by 1, 2, 3, 4"


def replay(settings: Settings, source: ReplaySource, chosen: Selection = C, **options: Any) -> Tally:
    return Replay(settings, source, chosen, **options).run()


@pytest.fixture
def sound(settings: Settings, feed: Feed, stored: Store) -> Settings:
    """Thirty records of `c` and a heartbeat that counts them, all stored; the sink is down again."""
    with running_sink(settings):
        feed.admit(*(record("c", seq) for seq in range(1, 31)))
        feed.admit(heartbeat("c", 1, {Lane.NORMAL: 30}), lane=Lane.CRITICAL)
        until(lambda: stored.stored() == 31)
    return settings


def caught_up(feed: Feed, stored: Store) -> bool:
    """A record sent after all others is stored."""
    seq = int(stored.one("select coalesce(max(emitted), 0) + 1 from pganalytics.ledger where collector = 'last'"))
    for lane in (Lane.CRITICAL, Lane.NORMAL):
        feed.admit(record("last", seq, lane=lane), lane=lane)
    until(lambda: all(seq in stored.seqs("stored", "last", lane) for lane in (Lane.CRITICAL, Lane.NORMAL)))
    return True


def test_a_dead_letter_is_stored_when_the_cause_is_mended(settings: Settings, feed: Feed, stored: Store) -> None:
    """The same bytes; and replaying again sends nothing."""
    lost = record("c", 1, schema=custom(), key=["a"])
    with running_sink(settings):
        feed.admit(lost, dataclasses.replace(record("d", 1), value=b"junk"), Record(None, b"nobody", []))
        until(lambda: stored.one("select count(*) from pganalytics.dead_letters") == 3)
        publish(feed, custom())
        assert replay(settings, DEAD, dry_run=True).to_json()["sent"] == 1
        assert str(stored.seqs("dead", "c")) == "1"
        assert replay(settings, DEAD).to_json() == Tally(found=1, sent=1).to_json()
        until(lambda: str(stored.seqs("stored", "c")) == "1")
        assert not stored.seqs("dead", "c")
        assert replay(settings, DEAD).to_json() == Tally(found=1, stored=1).to_json()
        for _ in range(2):  # they die again, and are the same again
            assert replay(settings, DEAD, Selection()).sent == 2
            until(lambda: caught_up(feed, stored))
        until(lambda: stored.one("select count(*) from pganalytics.dead_letters") == 7)
    now = {each.collector: each.now for each in read_list(settings, Wanted(), limit=99).letters}
    assert now == {"c": "stored", "d": "dead", None: "unattributed"}
    assert deep_audit(settings).ok


def test_forgotten_records_are_stored_anew(sound: Settings, feed: Feed, stored: Store) -> None:
    """Rows, heartbeats and all; every audit balances before, while they are on their way, and after."""
    before = stored.ask(ROWS)
    tally = replay(sound, ADMITTED, forgets=True)
    assert (tally.found, tally.sent, tally.forgotten, tally.stored) == (31, 31, 31, 0)
    assert stored.ask(ROWS) == []
    for report in (audit(sound), deep_audit(sound)):
        assert report.ok
        assert (report.total.emitted, report.total.in_kafka) == (31, 31)
    with running_sink(sound):
        until(lambda: stored.stored() == 31)
    assert stored.ask(ROWS) == before
    assert deep_audit(sound).ok


def test_only_what_came_in_time(sound: Settings) -> None:
    """By the broker's clock; what comes later than asked for is not read at all."""
    hour = 3_600_000_000
    chosen = [Selection(since_us=now_us() - hour), Selection(since_us=now_us() + hour), Selection(until_us=now_us() - hour)]
    found = [replay(sound, ADMITTED, each, dry_run=True).found for each in chosen]
    assert found == [31, 0, 0]


def test_rows_that_are_lost_come_back(sound: Settings, stored: Store) -> None:
    stored.run("delete from metrics.database where seq between 5 and 9")
    assert not deep_audit(sound).ok
    chosen = Selection(collector="c", lane=Lane.NORMAL, seqs=Ranges.of([(5, 9)]))
    with running_sink(sound):
        assert replay(sound, ADMITTED, chosen, forgets=True).forgotten == 5
        until(lambda: len(stored.ask(ROWS)) == 30)
        until(lambda: stored.stored() == 31)
    assert deep_audit(sound).ok


def candidates(settings: Settings, feed: Feed) -> list[Candidate]:
    spans = Replay(settings, ADMITTED, C)._spans()
    found = [candidate_of(message, ADMITTED, feed.topics) for message in read_spans(settings.kafka, spans)]
    return [each for each in found if each is not None]


def test_what_kafka_does_not_take_is_not_forgotten(
    sound: Settings, feed: Feed, stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: forgetting without sending is a hole that the deep audit sees. Running it again fills it."""
    before = stored.ask(ROWS)

    def refuse(*_: object) -> None:
        raise TryAgain("kafka", "not today")

    with monkeypatch.context() as patched:
        patched.setattr(Letters, "send", refuse)
        with pytest.raises(Unreachable, match="run it again"):
            replay(sound, ADMITTED, forgets=True)
    assert stored.ask(ROWS) == before
    assert deep_audit(sound).ok
    with StoreConnection.open(sound.store, name="test") as connection, connection.transaction():
        assert len(forget(connection, candidates(sound, feed))[0]) == 31
    assert deep_audit(sound).total.missing == 31
    with running_sink(sound):
        assert replay(sound, ADMITTED, forgets=True).sent == 31
        until(lambda: stored.stored() == 31)
    assert stored.ask(ROWS) == before
    assert deep_audit(sound).ok


def test_an_interrupted_replay_is_completed_by_the_next(settings: Settings, feed: Feed, stored: Store) -> None:
    """While the sink runs, in several chunks, and twice at once over the same records."""
    many = 3 * CHUNK_RECORDS
    with running_sink(settings):
        feed.admit(*(record("c", seq) for seq in range(1, many + 1)))
        feed.admit(heartbeat("c", 1, {Lane.NORMAL: many}), lane=Lane.CRITICAL)
        until(lambda: stored.stored() == many + 1)
        before = stored.ask(ROWS)
        first = Replay(settings, ADMITTED, C, forgets=True)

        def interrupt(read: int, total: int) -> None:
            assert total >= many
            if read == CHUNK_RECORDS + 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            first.run(interrupt)
        assert (first.tally.sent, first.tally.forgotten) == (CHUNK_RECORDS, CHUNK_RECORDS)
        assert deep_audit(settings).ok
        assert replay(settings, ADMITTED, forgets=True).sent == many + 1
        assert deep_audit(settings).ok
        until(lambda: caught_up(feed, stored))
        until(lambda: stored.stored("c") == many + 1)
    assert [row for row in stored.ask(ROWS) if row[0] == "c"] == before
    assert deep_audit(settings).ok


def test_nothing_is_forgotten_for_what_cannot_be_stored(sound: Settings, feed: Feed, stored: Store) -> None:
    """A damaged copy, and one whose identity another row has: the rows stay."""
    before = stored.ask(ROWS)
    with running_sink(sound):
        feed.admit(dataclasses.replace(record("c", 3), value=b"junk"), record("c", 4, collected_at=now_us() - 10**9))
        until(lambda: stored.one("select count(*) from pganalytics.dead_letters") == 1)
        until(lambda: caught_up(feed, stored))
    tally = replay(sound, DEAD, forgets=True)
    assert (tally.found, tally.sent, tally.skipped) == (1, 0, {Skip.NOT_STORABLE: 1})
    stored.run("update metrics.database set collected_at = collected_at - interval '1 second' where seq = 4")
    tally = replay(sound, ADMITTED, Selection(collector="c", seqs=Ranges.numbers([4])), forgets=True)
    assert (tally.sent, tally.forgotten, tally.skipped[Skip.OTHER_ROW]) == (0, 0, 1)
    assert [row[3] for row in stored.ask(ROWS) if row[0] == "c"] == [row[3] for row in before]
    assert deep_audit(sound).ok


def command(settings: Settings, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    path = folder / "settings.toml"
    path.write_text(as_toml(settings), encoding="utf-8")
    line = [sys.executable, "-m", "pganalytics.cli", *arguments, "-c", str(path)]
    return subprocess.run(line, capture_output=True, timeout=60, check=False)


def test_the_commands(settings: Settings, feed: Feed, stored: Store, tmp_path: Path) -> None:
    """The place that `list` prints is what `show` takes; both are harmless, and say what is not there."""
    with running_sink(settings):
        feed.admit(dataclasses.replace(record("c", 1), value=b"junk\x1b[2J"), record("c", 2))
        until(lambda: stored.stored() == 1 and stored.one("select count(*) from pganalytics.dead_letters") == 1)
    listed = command(settings, tmp_path, "dead-letters", "list", "--json", "--since", "1h")
    (letter,) = json.loads(listed.stdout)["letters"]
    assert (letter["collector"], letter["seq"], letter["now"], letter["reason"]) == ("c", 1, "dead", "damaged")
    shown = command(settings, tmp_path, "dead-letters", "list")
    assert shown.returncode == 0
    assert f"pganalytics dead-letters show {letter['place']}" in shown.stdout.decode()
    for which in (letter["place"], f"c/{EPOCH}/normal/1"):
        one = command(settings, tmp_path, "dead-letters", "show", which)
        assert (one.returncode, b"\x1b" in one.stdout, b"6a 75 6e 6b" in one.stdout) == (0, False, True), one
    raw = command(settings, tmp_path, "dead-letters", "show", letter["place"], "--raw", "-")
    assert raw.stdout == b"junk\x1b[2J"
    assert command(settings, tmp_path, "dead-letters", "show", f"c/{EPOCH}/normal/9").returncode == 1
    again = command(settings, tmp_path, "replay", "dead-letters", "--reason", "damaged", "--dry-run", "--json")
    assert (again.returncode, json.loads(again.stdout)["sent"]) == (0, 1)
    assert command(settings, tmp_path, "replay", "dead-letters", "--collector", "x").returncode == 1
    assert command(settings, tmp_path, "replay", "dead-letters").returncode == 2
    assert command(settings, tmp_path, "dead-letters", "list", "--since", "soon").returncode == 2
