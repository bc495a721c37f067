"""What cannot be stored is kept with its reason, is counted, and holds nothing up."""

import dataclasses
import json
import os
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from integration.sink_feed import DAY_US, EPOCH, Feed, Record, Store, heartbeat, now_us, record, running_sink
from integration.test_sink_stores import DATABASE, custom, publish
from integration.topic_options import set_option
from pganalytics.runtime.kafka import client_config
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.codec import MARKER
from pganalytics.schemas.events import EventKind, decode_event
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.metric import load_schema
from pganalytics.sink.deep_audit import deep_audit
from waiting import until

REASONS = "select reason, count(*)::int from pganalytics.dead_letters group by 1 order by 1"


def read_topic(settings: Settings, topic: str) -> list[Any]:
    """All records of a topic."""
    consumer = Consumer(client_config(settings.kafka, name="test", group_id="test", auto_offset_reset="earliest"))
    places = [TopicPartition(topic, number) for number in range(settings.kafka.partitions)]
    ends = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
    consumer.assign([TopicPartition(each.topic, each.partition, 0) for each in places])
    found: list[Any] = []
    while len(found) < ends:
        found += [message for message in consumer.consume(100, timeout=1) if message.error() is None]
    consumer.close()
    return found


def poisons() -> list[Record]:
    """One of each kind, of collector `bad`, seq 1 to 7; the last three name nobody."""
    good = record("bad", 2)
    return [
        dataclasses.replace(record("bad", 1), value=b"junk"),
        good.header("rows", b"9"),
        record("bad", 3).header("schema", b"0123456789abcdef"),
        record("bad", 4, collected_at=now_us() + DAY_US),
        record("bad", 5, collected_at=now_us() - 400 * DAY_US),
        record("bad", 6, datname=["a\0", "b"]),
        dataclasses.replace(record("bad", 7), value=None),
        dataclasses.replace(record("victim", 1), key=b"bad"),
        Record(b"bad", b"body", [("collector", b"bad")]),
        Record(None, b"\xff", []),
    ]


def test_poison_among_good_records(settings: Settings, feed: Feed, stored: Store) -> None:
    """The good ones of the same batch are stored; the bad ones are in the topic as they were, in the list, and dead."""
    bad = poisons()
    mixed = [each for seq, poison in enumerate(bad, 1) for each in (poison, record("good", seq))]
    with running_sink(settings):
        feed.admit(*mixed)
        feed.admit(record("victim", 1))
        until(lambda: stored.stored() == len(bad) + 1)
        until(lambda: stored.one("select count(*) from pganalytics.dead_letters") == len(bad))
        until(lambda: stored.one("select count(*) from pganalytics.events") == len(bad))
    assert stored.ask(REASONS) == [
        ("body_disagrees", 1),
        ("damaged", 2),
        ("future", 1),
        ("headers_unreadable", 2),
        ("key_disagrees", 1),
        ("not_storable", 1),
        ("too_old", 1),
        ("unknown_schema", 1),
    ]
    assert str(stored.seqs("dead", "bad")) == "1-7"
    assert stored.ask("select 1 from pganalytics.ledger where collector = 'victim' and dead <> '{}'") == []
    kept = read_topic(settings, feed.topics.dead_letter)
    assert sorted(message.value() or b"" for message in kept) == sorted(each.value or b"" for each in bad)
    headers = dict(next(message for message in kept if message.value() == b"junk").headers())
    assert headers["__connect.errors.topic"].decode() == feed.topics.admitted(Lane.NORMAL)
    assert headers["__connect.errors.exception.class.name"] == b"damaged"
    assert Headers.decode((name, value) for name, value in headers.items()).identity.seq == 1
    report = deep_audit(settings)
    assert report.ok
    assert (report.total.stored, report.total.dead) == (len(bad) + 1, 7)


def test_dead_letters_are_told_of(settings: Settings, feed: Feed, stored: Store) -> None:
    with running_sink(settings):
        feed.admit(dataclasses.replace(record("bad", 3), value=b"junk"), Record(b"x", None, []))
        until(lambda: stored.one("select count(*) from pganalytics.events") == 2)
    told = {decode_event(message.value()).collector: message for message in read_topic(settings, feed.topics.events)}
    event = decode_event(told["bad"].value())
    assert (event.kind, str(event.ranges), event.lane) == (EventKind.DEAD_LETTERED, "3", Lane.NORMAL)
    assert told["bad"].key() == b"bad"
    assert f"{settings.kafka.prefix}.sink" in told


def test_a_dead_record_that_comes_again_whole_is_stored(settings: Settings, feed: Feed, stored: Store) -> None:
    with running_sink(settings):
        feed.admit(dataclasses.replace(record("c", 1), value=b"junk"))
        until(lambda: str(stored.seqs("dead", "c")) == "1")
        feed.admit(record("c", 1))
        until(lambda: str(stored.seqs("stored", "c")) == "1")
    assert not stored.seqs("dead", "c")
    assert deep_audit(settings).ok


def test_the_counts_of_a_heartbeat_hold_when_its_clock_is_wrong(settings: Settings, feed: Feed, stored: Store) -> None:
    with running_sink(settings):
        feed.admit(heartbeat("c", 1, {Lane.NORMAL: 5}, collected_at=now_us() + 2 * 3_600_000_000), lane=Lane.CRITICAL)
        until(lambda: str(stored.seqs("dead", "c", Lane.CRITICAL)) == "1")
    assert str(stored.seqs("sent", "c")) == "1-5"
    assert stored.ask("select epoch, heartbeat_at from pganalytics.epochs") == [(EPOCH, None)]


def test_an_incompatible_schema_is_refused_by_name(settings: Settings, feed: Feed, stored: Store) -> None:
    fields = [field if field["name"] != "total" else {**field, "type": "string"} for field in custom().avro["fields"]]
    other = load_schema(json.dumps({**custom().avro, "fields": fields}))
    with running_sink(settings):
        for schema in (custom(), other):
            publish(feed, schema)
        feed.admit(record("c", 1, schema=custom(), key=["a"]))
        until(lambda: stored.stored() == 1)
        feed.admit(record("c", 2, schema=other, total="x", key=["a"]), record("c", 3, schema=custom(), key=["a"]))
        until(lambda: stored.stored() == 2)
        feed.admit(record("c", 4, schema=other, total="x", key=["a"]), record("c", 5, schema=custom(), key=["a"]))
        until(lambda: stored.stored() == 3)
    assert stored.ask(REASONS) == [("refused_schema", 2)]
    assert "metric custom: field total" in stored.one("select max(detail) from pganalytics.dead_letters")
    assert str(stored.seqs("dead", "c")) == "2,4"


def test_a_schema_whose_table_cannot_be_made_is_refused(settings: Settings, feed: Feed, stored: Store) -> None:
    """Its name is that of a view of ours, or it has a column that PostgreSQL keeps for itself."""
    clash = custom(name="database_rows")
    system = custom({"name": "xmin", "type": "long", "role": "gauge", "unit": "1", "doc": "d"}, name="system")
    with running_sink(settings):
        for schema in (clash, system):
            publish(feed, schema)
        feed.admit(record("c", 1))
        until(lambda: stored.stored() == 1)
        feed.admit(record("c", 2, schema=clash, key=["a"]), record("c", 3, schema=system, key=["a"]), record("c", 4))
        until(lambda: stored.stored() == 2)
    assert stored.ask(REASONS) == [("refused_schema", 2)]


def test_a_schema_under_a_wrong_id_is_unusable(settings: Settings, feed: Feed, stored: Store) -> None:
    schema = custom()
    with running_sink(settings):
        feed.send(feed.topics.schemas, Record(b"0" * 16, schema.text.encode(), []), Record(b"1" * 16, b"{", []))
        feed.admit(record("c", 1, schema=schema, key=["a"]).header("schema", b"0" * 16))
        feed.admit(record("c", 2, schema=schema, key=["a"]).header("schema", b"1" * 16), record("c", 3))
        until(lambda: stored.stored() == 1)
    assert stored.ask(REASONS) == [("refused_schema", 2)]


def test_what_only_postgresql_refuses_is_found_among_the_rest(settings: Settings, feed: Feed, stored: Store) -> None:
    """Here a constraint that an operator added; the rest of its batch is stored."""
    with running_sink(settings):
        feed.admit(record("c", 1))
        until(lambda: stored.stored() == 1)
        stored.run("alter table metrics.database add check (seq %% 10 <> 7)")
        feed.admit(*(record("c", seq) for seq in range(2, 41)))
        until(lambda: stored.stored() == 36)
        until(lambda: str(stored.seqs("dead", "c")) == "7,17,27,37")
    assert stored.ask(REASONS) == [("not_storable", 4)]
    assert deep_audit(settings).ok


def test_a_partition_that_somebody_dropped_is_made_again(settings: Settings, feed: Feed, stored: Store) -> None:
    """It is no reason to dead-letter its records."""
    with running_sink(settings):
        feed.admit(record("c", 1))
        until(lambda: stored.stored() == 1)
        for (name,) in stored.ask("select relname from pg_class where relname like %s and relkind = 'r'", "database_2%"):
            stored.run(f"drop table metrics_daily.{name}")
        feed.admit(record("c", 2))
        until(lambda: stored.stored() == 2)
    assert stored.ask(REASONS) == []


def test_hostile_heartbeat_schema(settings: Settings, feed: Feed, stored: Store) -> None:
    """A metric that calls itself heartbeat and lacks its counts does not stop the sink."""
    schema = load_schema(json.dumps({**DATABASE.avro, "name": "heartbeat"}))
    with running_sink(settings):
        publish(feed, schema)
        beat = heartbeat("c", 1, {})
        forged = dataclasses.replace(beat.header("schema", schema.id.encode()), value=MARKER + b"x" * 20)
        feed.admit(forged, record("c", 2))
        until(lambda: stored.stored() == 1)
    assert stored.ask(REASONS) == [("refused_schema", 1)]


def test_a_dead_letter_that_kafka_refuses_takes_no_other_body_with_it(settings: Settings, feed: Feed, stored: Store) -> None:
    """Kafka refuses a whole batch for one record in it; only that one goes without its body."""
    large = os.urandom(50_000)
    bodies = {b"poison %d" % number for number in range(30)}
    with running_sink(settings):
        feed.admit(record("c", 1))
        until(lambda: stored.stored() == 1)
        set_option(settings, feed.topics.dead_letter, "max.message.bytes", "10000")
        feed.admit(*(Record(b"bad", body, []) for body in [*bodies, large]))
        until(lambda: stored.one("select count(*) from pganalytics.dead_letters") == 31)
    letters = {letter.value(): dict(letter.headers()) for letter in read_topic(settings, feed.topics.dead_letter)}
    assert set(letters) == {*bodies, None}
    assert letters[None]["body_left_out"] == b"50000"
