"""Audits find what is planted: a record that is nowhere, a row too many, a row too few. Nothing else alarms them."""

import threading

import pytest

from integration.sink_feed import (
    DAY_US,
    EPOCH,
    Feed,
    Store,
    commit_as_streams,
    event_record,
    heartbeat,
    now_us,
    record,
    running_sink,
)
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.audit import audit, wait_until_settled
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.meters import Meters
from pganalytics.sink.partitions import drop_day
from pganalytics.sink.report import Counts
from pganalytics.sink.store import set_up
from pganalytics.sink.upkeep import look_after
from waiting import until


@pytest.fixture
def sound(settings: Settings, feed: Feed, stored: Store) -> Settings:
    """Ten records of `c` and a heartbeat that counts them, all stored; the sink is down again."""
    with running_sink(settings):
        feed.admit(*(record("c", seq) for seq in range(1, 11)))
        feed.admit(heartbeat("c", 1, {Lane.NORMAL: 10}), lane=Lane.CRITICAL)
        until(lambda: stored.stored() == 11)
    return settings


def test_a_sound_store(sound: Settings) -> None:
    for report in (audit(sound), deep_audit(sound), deep_audit(sound, collector="c")):
        assert report.ok
        assert report.total == Counts(emitted=11, stored=11)
        assert not report.findings
    assert list(audit(sound).collectors) == ["c"]


def test_a_record_that_was_sent_and_is_nowhere_is_missing(sound: Settings, feed: Feed, stored: Store) -> None:
    """The ledger alone believes that it is in Kafka; the deep audit looks."""
    with running_sink(sound):
        feed.admit(record("c", 12), lane=Lane.NORMAL)
        feed.admit(heartbeat("c", 2, {Lane.NORMAL: 15}, unsent=[(EPOCH, Lane.NORMAL, 14, 15)]), lane=Lane.CRITICAL)
        until(lambda: stored.stored() == 13)
    shallow = audit(sound)
    assert shallow.ok
    assert shallow.total == Counts(emitted=17, stored=13, in_kafka=2, in_spool=2)
    report = deep_audit(sound)
    assert not report.ok
    assert report.total == Counts(emitted=17, stored=13, in_spool=2, missing=2)
    (finding,) = report.findings
    assert (finding.what, finding.stream.lane, str(finding.seqs)) == ("missing", Lane.NORMAL, "11,13")
    assert report.to_json()["findings"][0]["seqs"] == "11,13"


def test_what_the_streams_or_the_sink_have_not_read_is_found(sound: Settings, feed: Feed) -> None:
    """In a collected topic, in each admitted topic, deferred, or as the ranges of a shed event."""
    heartbeat_last = heartbeat("c", 2, {Lane.NORMAL: 14, Lane.BULK: 1})
    feed.send(feed.topics.collected(Lane.NORMAL), record("c", 11))
    feed.admit(record("c", 12))
    feed.send(feed.topics.deferred, record("c", 13))
    feed.admit(record("c", 1, lane=Lane.BULK), lane=Lane.BULK)
    shed = Event(EventKind.SHED, Source.STREAMS, now_us(), "c", EPOCH, Lane.NORMAL, Ranges.numbers([14]), "t", 0, 0, "")
    feed.send(feed.topics.events, event_record(shed))
    feed.send(feed.topics.collected(Lane.CRITICAL), heartbeat_last)
    assert audit(sound).total == Counts(emitted=11, stored=11)
    report = deep_audit(sound)
    assert report.ok
    assert report.total == Counts(emitted=17, stored=11, in_kafka=6)


def test_what_the_streams_committed_and_did_not_pass_on_is_missing(sound: Settings, feed: Feed) -> None:
    """Also when only a heartbeat that nobody has read yet tells of it."""
    feed.send(feed.topics.collected(Lane.NORMAL), record("c", 11))
    commit_as_streams(sound, [Lane.NORMAL])
    assert deep_audit(sound).ok
    feed.send(feed.topics.collected(Lane.CRITICAL), heartbeat("c", 2, {Lane.NORMAL: 11}))
    report = deep_audit(sound)
    assert report.total == Counts(emitted=13, stored=11, in_kafka=1, missing=1)


def test_a_heartbeat_that_overtook_its_records_raises_no_alarm(sound: Settings, feed: Feed) -> None:
    """It was passed on after the ends were asked (its place says so), so what it counts was not looked for."""
    beyond = heartbeat("c", 2, {Lane.NORMAL: 12})
    headers = [*beyond.headers, ("appended_at", str(now_us()).encode()), ("src_offset", b"1000")]
    feed.admit(type(beyond)(beyond.key, beyond.value, headers), lane=Lane.CRITICAL)
    report = deep_audit(sound)
    assert report.ok
    assert report.total == Counts(emitted=12, stored=11, in_kafka=1)


def test_a_planted_duplicate_row_is_found(sound: Settings, stored: Store) -> None:
    stored.run("insert into metrics.database select * from metrics.database where seq = 4")
    assert audit(sound).ok
    report = deep_audit(sound)
    assert not report.ok
    assert report.total == Counts(emitted=11, stored=11, duplicates=1)
    assert [(each.what, str(each.seqs)) for each in report.findings] == [("double", "4")]


def test_an_identity_in_two_tables_is_double(sound: Settings, stored: Store) -> None:
    stored.run("update metrics.heartbeat set lane = 'normal', seq = 5")
    report = deep_audit(sound)
    assert report.total.duplicates == 1
    assert report.total.missing == 1


def test_a_row_that_is_gone_is_missing(sound: Settings, stored: Store) -> None:
    stored.run("delete from metrics.database where seq in (4, 5)")
    report = deep_audit(sound)
    assert report.total == Counts(emitted=11, stored=9, missing=2)
    assert [(each.what, str(each.seqs), each.exact) for each in report.findings] == [("row_missing", "4-5", True)]


def test_columns_that_overlap_do_not_add_up(sound: Settings, stored: Store) -> None:
    """The identity is checked, not assumed."""
    stored.run("update pganalytics.ledger set dead = '{[3,3]}' where lane = 'normal'")
    for report in (audit(sound), deep_audit(sound)):
        assert not report.ok
        assert report.unbalanced == ("c",)


def test_rows_that_retention_drops_stay_accounted_for(settings: Settings, feed: Feed, stored: Store) -> None:
    today = now_us() // DAY_US
    with running_sink(settings):
        old = [record("c", seq, collected_at=now_us() - 20 * DAY_US) for seq in (1, 2)]
        feed.admit(*old, record("c", 3))
        until(lambda: stored.stored() == 3)
    with StoreConnection.open(settings.store, name="test") as connection:
        assert drop_day(connection, "database", today - 20) == 2
        assert drop_day(connection, "database", today - 20) == 0
        look_after(connection, Meters(build_measurements(Service.SINK)), today=today + 40, ahead=1)
    assert stored.one("select count(*) from metrics.database") == 0
    assert stored.one("select sum(rows) from pganalytics.rows_dropped") == 3
    assert deep_audit(settings).ok


def test_upkeep_drops_by_the_metrics_own_retention(settings: Settings, feed: Feed, stored: Store) -> None:
    """statements are kept 14 days, database 30."""
    today = now_us() // DAY_US
    at = now_us() - 13 * DAY_US
    with running_sink(settings):
        feed.admit(record("c", 1, collected_at=at))
        feed.admit(record("c", 2, schema=builtin_schemas()["statements"], collected_at=at, queryid=[1]))
        until(lambda: stored.stored() == 2)
    with StoreConnection.open(settings.store, name="test") as connection:
        look_after(connection, Meters(build_measurements(Service.SINK)), today=today + 10, ahead=1)
    assert stored.one("select count(*) from metrics.database") == 1
    assert stored.one("select count(*) from metrics.statements") == 0
    assert deep_audit(settings).ok


def test_waiting_ends_when_all_is_settled_or_the_time_is_up(sound: Settings, feed: Feed, stored: Store) -> None:
    feed.admit(heartbeat("c", 2, {Lane.NORMAL: 11}), lane=Lane.CRITICAL)
    with running_sink(sound):
        until(lambda: stored.stored() == 12)
        assert wait_until_settled(sound, timeout_s=0.5).total.in_kafka == 1
        feed.admit(record("c", 11))
        assert wait_until_settled(sound, timeout_s=30).total == Counts(emitted=13, stored=13)


def test_no_false_alarm_while_everything_moves(settings: Settings, feed: Feed, stored: Store) -> None:
    """Each record is sent before the heartbeat that counts it, as agents do; the audits fall between at random."""
    stop = threading.Event()

    def load() -> None:
        seq = 0
        while not stop.wait(0.005):
            seq += 1
            feed.send(feed.topics.deferred, *(record("c", each) for each in range(seq * 20 - 19, seq * 20 + 1)))
            feed.admit(heartbeat("c", seq, {Lane.NORMAL: seq * 20}), lane=Lane.CRITICAL)

    thread = threading.Thread(target=load)
    with running_sink(settings):
        thread.start()
        try:
            until(lambda: stored.stored() > 0)
            reports = [deep_audit(settings) for _ in range(8)]
        finally:
            stop.set()
            thread.join(30)
    assert all(report.ok for report in reports), [report.to_json() for report in reports]
    assert len({report.total.emitted for report in reports}) > 1


def test_a_collector_that_was_never_seen(sound: Settings) -> None:
    for report in (audit(sound, collector="nobody"), deep_audit(sound, collector="nobody")):
        assert not report.ok
        assert report.absent == "nobody"


def test_an_empty_store_is_sound(settings: Settings) -> None:
    set_up(settings)
    assert audit(settings).ok
    assert deep_audit(settings).ok


def test_a_store_that_is_not_set_up(settings: Settings) -> None:
    for look in (audit, deep_audit):
        with pytest.raises(Unreachable, match="run `pganalytics setup`"):
            look(settings)
