"""The sink end to end: what is admitted is stored, once, in tables made from its schemas."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from integration.sink_feed import (
    DAY_US,
    EPOCH,
    Feed,
    Record,
    Store,
    event_record,
    heartbeat,
    now_us,
    record,
    running_services,
    running_sink,
)
from pganalytics.runtime.kafka import client_config
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.schemas.metric import MetricSchema, builtin_schemas, load_schema
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.store import set_up
from waiting import until

DATABASE = builtin_schemas()["database"]


def custom(*fields: dict[str, Any], name: str = "custom") -> MetricSchema:
    """A user's metric: one scalar, rows with a key, and the fields given."""
    base = {key: value for key, value in DATABASE.avro.items() if key != "fields"}
    own = [
        {"name": "total", "type": "long", "role": "gauge", "unit": "1", "doc": "d"},
        {"name": "key", "type": {"type": "array", "items": "string"}, "role": "key", "doc": "d"},
    ]
    return load_schema(json.dumps({**base, "name": name, "fields": [*DATABASE.avro["fields"][:8], *own, *fields]}))


def publish(feed: Feed, schema: MetricSchema) -> None:
    feed.send(feed.topics.schemas, Record(schema.id.encode(), schema.text.encode(), []))


def test_every_lane_is_stored_and_counted(settings: Settings, feed: Feed, stored: Store) -> None:
    with running_sink(settings):
        for lane in LANES:
            feed.admit(*(record("c", seq, lane=lane) for seq in range(2, 21)), lane=lane)
        feed.send(feed.topics.deferred, record("c", 1, lane=Lane.BULK), record("c", 1, lane=Lane.NORMAL))
        feed.admit(heartbeat("c", 1, dict.fromkeys(LANES, 20)), lane=Lane.CRITICAL)
        until(lambda: stored.stored() == 60)
    report = deep_audit(settings)
    assert report.ok
    assert report.total.emitted == report.total.stored == 60
    assert stored.one("select count(*) from metrics.database") == 59
    assert stored.one("select count(*) from metrics.heartbeat") == 1


def test_kafkas_own_offsets_follow_for_lag_tools(settings: Settings, feed: Feed, stored: Store) -> None:
    with running_sink(settings):
        feed.admit(*(record("c", seq) for seq in range(1, 11)))
        until(lambda: stored.stored() == 10)
    positions = stored.ask("select topic, partition, next_offset from pganalytics.positions where next_offset > 0")
    consumer = Consumer(client_config(settings.kafka, name="test", group_id=f"{settings.kafka.prefix}.sink"))
    committed = consumer.committed([TopicPartition(topic, number) for topic, number, _ in positions], timeout=10)
    consumer.close()
    assert [(each.topic, each.partition, each.offset) for each in committed] == positions


def test_duplicates_and_replays_change_nothing(settings: Settings, feed: Feed, stored: Store) -> None:
    """The second run reads everything again: the store's positions were set back, as by a restored backup."""
    with running_sink(settings):
        feed.admit(*(record("c", seq) for seq in (1, 2, 2, 3, 1)))
        feed.send(feed.topics.deferred, record("c", 3), record("c", 4))
        until(lambda: stored.stored() == 4)
    before = stored.ask("select * from pganalytics.positions order by 1, 2")
    stored.run("update pganalytics.positions set next_offset = 0")
    with running_sink(settings):
        until(lambda: stored.ask("select * from pganalytics.positions order by 1, 2") == before)
    assert stored.one("select count(*) from metrics.database") == 4
    assert deep_audit(settings).ok


def test_each_metric_is_stored_and_none_is_left_out(settings: Settings, feed: Feed, stored: Store) -> None:
    schemas = [schema for schema in builtin_schemas().values() if schema.name != "heartbeat"]
    with running_sink(settings):
        feed.admit(*(record("c", seq, schema=schema) for seq, schema in enumerate(schemas, 1)))
        until(lambda: stored.stored() == len(schemas))
    counts = {schema.name: stored.one(f"select count(*) from metrics.{schema.name}") for schema in schemas}
    assert counts == {schema.name: 1 for schema in schemas}
    assert len(counts) > 25


def test_views_show_rows_with_nulls_and_elided_columns(settings: Settings, feed: Feed, stored: Store) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    reset_us = int(at.timestamp() * 1_000_000)
    values: dict[str, Any] = {
        "reset": "crash",
        "datid": [5, 6],
        "datname": ["naïve \U0001f600", "\0"],
        "numbackends": [],
        "stats_reset": [reset_us, -(2**63)],
        "checksum_last_failure": [],
    }
    with running_sink(settings):
        feed.admit(record("c", 1, **values), record("c", 2, datid=[], datname=[], xact_commit=[]))
        until(lambda: stored.stored() == 2)
    rows = stored.ask(
        "select seq, reset, datid, datname, numbackends, stats_reset, checksum_last_failure from metrics.database_rows "
        "order by datid"
    )
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert rows == [(1, "crash", 5, "naïve \U0001f600", 0, at, epoch), (1, "crash", 6, None, 0, None, epoch)]
    assert stored.ask("select seq, cardinality(datid) from metrics.database order by seq") == [(1, 2), (2, 0)]


def test_heartbeat_views_by_group(settings: Settings, feed: Feed, stored: Store) -> None:
    beat = heartbeat("c", 1, {}, old=[(7, (1, 2, 3), True)], unsent=[(7, Lane.BULK, 2, 3)], server_version=-(2**63))
    with running_sink(settings):
        feed.admit(beat, lane=Lane.CRITICAL)
        until(lambda: stored.stored() == 1)
    assert stored.ask("select old_epoch, old_emitted_bulk, old_final, server_version from metrics.heartbeat_epochs") == [
        (7, 3, True, None)
    ]
    assert stored.ask("select unsent_lane, unsent_low, unsent_high from metrics.heartbeat_unsent") == [("bulk", 2, 3)]
    assert stored.ask("select * from metrics.heartbeat_counts") == []


def test_a_metric_of_a_user_gets_its_table_and_grows(settings: Settings, feed: Feed, stored: Store) -> None:
    """No code anywhere: the schema travels. Rows of the old schema have NULL, not zero, in a column of the new one."""
    first = custom()
    second = custom({"name": "extra", "type": {"type": "array", "items": "long"}, "role": "gauge", "unit": "1", "doc": "d"})
    with running_sink(settings):
        publish(feed, first)
        feed.admit(record("c", 1, schema=first, total=5, key=["a", "b"]))
        until(lambda: stored.stored() == 1)
        stored.run("create view public.mine as select key from metrics.custom_rows")
        publish(feed, second)
        feed.admit(record("c", 2, schema=second, total=6, key=["a"], extra=[9]))
        feed.admit(record("c", 3, schema=second, key=["a"], extra=[]))
        feed.admit(record("c", 4, schema=first, total=7, key=["z"]))
        until(lambda: stored.stored() == 4)
    assert stored.ask("select seq, total, key, extra from metrics.custom_rows order by seq, key") == [
        (1, 5, "a", None),
        (1, 5, "b", None),
        (2, 6, "a", 9),
        (3, 0, "a", 0),
        (4, 7, "z", None),
    ]
    assert stored.ask("select id, number from pganalytics.schemas where metric = 'custom' order by number") == [
        (first.id, 1),
        (second.id, 2),
    ]
    with running_sink(settings):  # known from the store, whatever the topic says
        feed.admit(record("c", 5, schema=second, key=["a"]))
        until(lambda: stored.stored() == 5)


def test_late_records_get_their_day(settings: Settings, feed: Feed, stored: Store) -> None:
    days = [0, 1, 12, 29]
    with running_sink(settings):
        feed.admit(*(record("c", seq, collected_at=now_us() - day * DAY_US) for seq, day in enumerate(days, 1)))
        until(lambda: stored.stored() == len(days))
    wanted = {f"database_{datetime.now(UTC) - timedelta(days=day):%Y%m%d}" for day in days}
    made = {name for (name,) in stored.ask("select relname from pg_class where relnamespace = 'metrics_daily'::regnamespace")}
    assert wanted <= made


@pytest.mark.parametrize(
    "addition",
    [
        "add check (seq > 0)",
        "add column note text not null default 'none'",
        "add column twice bigint generated always as (seq * 2) stored",
    ],
)
def test_a_table_that_an_operator_added_to_gets_its_days(settings: Settings, feed: Feed, stored: Store, addition: str) -> None:
    with running_sink(settings):
        feed.admit(record("c", 1))
        until(lambda: stored.stored() == 1)
        stored.run(f"alter table metrics.database {addition}")
        feed.admit(record("c", 2, collected_at=now_us() - 12 * DAY_US))
        until(lambda: stored.stored() == 2)


def test_days_ahead_are_made_for_all_metrics(settings: Settings, stored: Store) -> None:
    def ahead() -> int:
        return int(
            stored.one(
                "select count(*) from pg_class where relnamespace = 'metrics_daily'::regnamespace and relname like %s",
                f"%_{datetime.now(UTC) + timedelta(days=settings.sink.partitions_ahead_days):%Y%m%d}",
            )
        )

    with running_sink(settings):
        until(lambda: ahead() == len(builtin_schemas()))


def test_events_are_kept_once_and_change_the_ledger(settings: Settings, feed: Feed, stored: Store) -> None:
    def event(kind: EventKind, low: int, high: int) -> Record:
        ranges = Ranges.of([(low, high)])
        return event_record(Event(kind, Source.STREAMS, now_us(), "c", EPOCH, Lane.NORMAL, ranges, "t", 0, low, "why"))

    deferred = event(EventKind.DEFERRED, 1, 6)
    with running_sink(settings):
        feed.send(feed.topics.events, deferred, deferred, event(EventKind.SHED, 5, 8), event(EventKind.GAP, 9, 9))
        feed.admit(record("c", 2), record("c", 8))
        until(lambda: stored.one("select count(*) from pganalytics.events") == 3 and stored.stored() == 2)
    assert str(stored.seqs("stored", "c")) == "2,8"
    assert str(stored.seqs("shed", "c")) == "5-7"
    assert str(stored.seqs("deferred", "c")) == "1,3-4"
    assert stored.one("select emitted from pganalytics.ledger") == 8


def test_every_kind_of_event_is_kept_and_hints_change_no_ledger(settings: Settings, feed: Feed, stored: Store) -> None:
    """Seqs that only a hint names are not known to exist: the audit must not count them."""
    hints = [kind for kind in EventKind if kind not in (EventKind.DEFERRED, EventKind.SHED)]
    ranges = Ranges.of([(100, 200)])
    events = [Event(kind, Source.STREAMS, now_us(), "c", EPOCH, Lane.NORMAL, ranges, "t", 0, 1, "why") for kind in hints]
    with running_sink(settings):
        feed.send(feed.topics.events, *map(event_record, events))
        feed.admit(record("c", 1))
        until(lambda: stored.one("select count(*) from pganalytics.events") == len(hints) and stored.stored() == 1)
    assert set(stored.one("select array_agg(kind) from pganalytics.events")) == set(hints)
    assert stored.one("select emitted from pganalytics.ledger") == 1


def test_two_sinks_share_the_work_and_store_each_record_once(settings: Settings, feed: Feed, stored: Store) -> None:
    """Every record comes twice, in two topics; one sink joins when the other is at work, and leaves again."""
    set_up(settings)
    names = [f"c{n}" for n in range(20)]
    for name in names:
        feed.admit(*(record(name, seq) for seq in range(1, 51)))
    with running_services(settings):
        with running_services(settings):
            for name in names:
                feed.send(feed.topics.deferred, *(record(name, seq) for seq in range(1, 101)))
            until(lambda: stored.stored() > 500)
        for name in names:
            feed.admit(*(record(name, seq) for seq in range(51, 101)))
        until(lambda: stored.stored() == 2000, timeout_s=60)
        until(lambda: deep_audit(settings).total.in_kafka == 0)
    report = deep_audit(settings)
    assert report.ok
    assert report.total.stored == 2000
