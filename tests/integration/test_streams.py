"""The streams on a real broker: everything collected goes on once or again, never not at all, and commits tell the truth."""

import os
import time
from collections import Counter
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from integration.streams_faults import SKIPPED_EVERY
from integration.streams_feed import (
    Feed,
    Got,
    caught_up,
    committed,
    ends,
    events,
    headers,
    identities,
    installation,
    outputs,
    running,
    topics_of,
)
from integration.topic_options import set_option
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.ranges import Ranges
from waiting import until

AMPLE = {"records_per_s": 100_000, "rows_per_s": 10**7, "bytes_per_s": 10**9}
NORMAL = Lane.NORMAL


def feed_all(feed: Feed, collectors: int, records: int) -> None:
    for seq in range(1, records + 1):
        for lane in LANES:
            for number in range(collectors):
                feed.record(f"db{number}", seq, lane=lane, value=f"{lane} {number} {seq}".encode())
    feed.flush()


def in_order(got: list[Got]) -> bool:
    """Each partition of the collected topics kept its order, redeliveries aside."""
    last: dict[tuple[str, int], int] = {}
    for each in got:
        place = each.topic, each.partition
        offset = each.decoded.src_offset
        assert offset is not None
        if offset > last.get(place, -1) + 1:
            return False
        last[place] = max(last.get(place, -1), offset)
    return True


def test_a_topic_that_the_broker_does_not_know_at_first_is_read_soon(kafka: KafkaBroker, tmp_path: Path) -> None:
    """Partitions are assigned without it; nobody would ask again for five minutes."""
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed_all(Feed(settings), collectors=4, records=5)
    with running(settings, tmp_path, "topic-unknown") as streams:
        until(lambda: caught_up(settings), 40, every_s=0.2)
        assert "No partition metadata for topic" in streams.text()


def test_control_such_a_topic_is_not_read_for_minutes(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed_all(Feed(settings), collectors=4, records=5)
    with running(settings, tmp_path, "topic-unknown-for-long"):
        until(lambda: {topic.rpartition(".")[2] for topic, _ in committed(settings)} == {Lane.CRITICAL, Lane.BULK}, every_s=0.2)
        time.sleep(8)
        assert not any(topic.endswith(NORMAL) for topic, _ in committed(settings))


def test_everything_goes_on_in_order_with_its_headers_and_a_stop_forgets_nothing(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed = Feed(settings)
    with running(settings, tmp_path) as streams:
        feed_all(feed, collectors=8, records=60)
        until(lambda: caught_up(settings), 60, every_s=0.2)
        got = outputs(settings)
        assert streams.stop() == 0, streams.text()
    assert Counter(each.decoded.identity for each in got) == Counter(feed.sent)
    assert in_order(got)
    for each in got:
        who = each.decoded.identity
        assert each.topic == feed.topics.admitted(who.lane)
        assert each.key == who.collector.encode()
        assert each.value == f"{who.lane} {who.collector[2:]} {who.seq}".encode()
        assert abs((each.decoded.appended_at_us or 0) // 1000 - each.at_ms) < 60_000
    assert events(settings) == []

    with running(settings, tmp_path) as streams:
        feed.record("db0", 61, value=b"normal 0 61")
        feed.flush()
        until(lambda: len(outputs(settings)) > len(got))
        assert streams.stop() == 0, streams.text()
    assert len(outputs(settings)) == len(got) + 1, "what was committed before the stop was read again"
    assert caught_up(settings)


def test_poison_goes_on_as_it_came_and_holds_up_nothing(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed = Feed(settings)
    odd = [
        (b"db0", b"no headers", []),
        (None, None, []),
        (b"\xff\xfe", b"", [("collector", b"\xff"), ("\u202e", b"\x00")]),
        (b"another", b"key belies", headers("db0", 1).encode()),
        (b"db0", b"wrong lane", headers("db0", 1, lane=Lane.CRITICAL).encode()),
        (b"db0", b"seq 0", [(name, b"0" if name == "seq" else value) for name, value in headers("db0", 1).encode()]),
        (b"db0", None, headers("db0", 1, rows=0, size=0).encode()),
    ]
    with running(settings, tmp_path) as streams:
        for key, value, wire in odd * 3:
            feed.raw(feed.topics.collected(NORMAL), key, value, wire)
        feed.record("db0", 2)
        feed.flush()
        until(lambda: caught_up(settings), 60, every_s=0.2)
        got = outputs(settings)
        assert streams.lives, streams.text()
    assert {each.topic for each in got} == {feed.topics.admitted(NORMAL)}
    stripped = Counter(
        (each.key, each.value, tuple(pair for pair in each.headers if pair[0] not in ("appended_at", "src_offset")))
        for each in got
        if each.value != b"body"
    )
    assert stripped == Counter({(key, value, tuple(wire)): 3 for key, value, wire in odd})


def test_over_quota_is_deferred_with_exact_ranges_and_harms_nobody_else(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota={"records_per_s": 1, "burst_s": 10})
    feed = Feed(settings)
    with running(settings, tmp_path):
        for seq in range(1, 401):
            feed.record("noisy", seq)
            feed.record("noisy", seq, lane=Lane.CRITICAL)
            if seq % 100 == 0:
                feed.record("quiet", seq // 100)
        feed.flush()
        until(lambda: caught_up(settings), 60, every_s=0.2)
    got = outputs(settings)
    assert identities(got) == feed.sent
    deferred = [each.decoded.identity for each in got if each.topic == feed.topics.deferred]
    assert 380 <= len(deferred) < 400
    assert {(who.collector, who.lane) for who in deferred} == {("noisy", NORMAL)}
    told = [event for event in events(settings) if event.kind is EventKind.DEFERRED]
    named = Ranges.of(span for event in told for span in event.ranges.spans)
    assert set(named) == {who.seq for who in deferred}
    assert {(event.collector, event.lane) for event in told} == {("noisy", NORMAL)}


def test_holes_are_told_and_so_is_their_end(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed = Feed(settings)
    with running(settings, tmp_path):
        for seq in (1, 2, 6, 7, 4):
            feed.record("db0", seq)
            feed.flush()
        until(lambda: len(events(settings)) >= 2)
    assert [(event.kind, str(event.ranges)) for event in events(settings)] == [
        (EventKind.GAP, "3-5"),
        (EventKind.GAP_FILLED, "4"),
    ]


def test_kills_lose_nothing(kafka: KafkaBroker, tmp_path: Path) -> None:
    """SIGKILL three times while records come in; what is sent again has the same identity and the same source."""
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed = Feed(settings)
    with running(settings, tmp_path) as streams:
        for turn in range(3):
            before = len(feed.sent)
            for seq in range(turn * 500 + 1, turn * 500 + 501):
                feed.record("db0", seq)
                feed.record("db1", seq, lane=Lane.BULK)
            until(lambda: bool(ends(settings, [feed.topics.admitted(NORMAL)])))
            streams.kill()
            assert len(feed.sent) >= before
            streams.start()
        feed.flush()
        until(lambda: caught_up(settings), 60, every_s=0.2)
        assert streams.stop() == 0, streams.text()
    got = outputs(settings)
    assert identities(got) == feed.sent
    assert len({(each.decoded.identity, each.decoded.src_offset) for each in got}) == len(feed.sent)
    assert not [event for event in events(settings) if event.kind is EventKind.GAP]


def feed_skipped(settings: Settings) -> tuple[Feed, set[Identity]]:
    """Records of one partition, and those of them that the planted fault will not hand over."""
    feed = Feed(settings)
    for seq in range(1, 501):
        feed.record("db0", seq)
    feed.flush()
    return feed, {who for who in feed.sent if who.seq % SKIPPED_EVERY == 0}


def test_records_that_faust_skips_end_the_process_before_anything_is_lost(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed, skipped = feed_skipped(settings)
    with running(settings, tmp_path, fault="skips") as streams:
        assert streams.child.wait(60) == 70
    text = streams.text()
    assert f"offset {SKIPPED_EVERY - 1} must come next, {SKIPPED_EVERY} came" in text
    place = next(iter(ends(settings, [feed.topics.collected(NORMAL)])))
    assert committed(settings).get(place, 0) <= SKIPPED_EVERY - 1

    sound = tmp_path / "sound"
    sound.mkdir()
    with running(settings, sound):
        until(lambda: caught_up(settings), 60, every_s=0.2)
    assert identities(outputs(settings)) == feed.sent
    assert len(skipped) == 5


def test_control_without_the_guard_what_faust_skips_is_lost(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed, skipped = feed_skipped(settings)
    with running(settings, tmp_path, fault="skips-unseen"):
        until(lambda: caught_up(settings), 60, every_s=0.2)
    assert feed.sent - identities(outputs(settings)) == skipped


def test_markers_of_somebodys_transactions_are_not_holes(kafka: KafkaBroker, tmp_path: Path) -> None:
    """Each commit and each abort of a transaction takes an offset; a client that writes so must not end the streams."""
    settings = installation(kafka.bootstrap, quota=AMPLE)
    topics = topics_of(settings)
    config = {"bootstrap.servers": kafka.bootstrap, "transactional.id": settings.kafka.prefix, "log_level": 0}
    producer = Producer(config | {"partitioner": "murmur2_random"})
    producer.init_transactions(30)
    with running(settings, tmp_path) as streams:
        for seq in range(1, 7):
            producer.begin_transaction()
            wire = headers("db0", seq).encode()
            producer.produce(topics.collected(NORMAL), key=b"db0", value=b"body", headers=[*wire])
            producer.flush(30)
            if seq % 3:
                producer.commit_transaction(30)
            else:
                producer.abort_transaction(30)
        feed = Feed(settings)
        feed.record("db0", 7)
        feed.flush()
        until(lambda: caught_up(settings), 60, every_s=0.2)
        assert streams.lives, streams.text()
    assert {who.seq for who in identities(outputs(settings))} == set(range(1, 8))


def test_a_committed_offset_beyond_the_log_is_an_event_and_everything_is_read(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed = Feed(settings)
    for seq in range(1, 11):
        feed.record("db0", seq)
    feed.flush()
    topic, number = place = next(iter(ends(settings, [feed.topics.collected(NORMAL)])))
    config = {"bootstrap.servers": kafka.bootstrap, "group.id": f"{settings.kafka.prefix}.streams"}
    consumer = Consumer(config | {"enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, number, 1000)], asynchronous=False)
    consumer.close()
    with running(settings, tmp_path) as streams:
        until(lambda: committed(settings).get(place) == 10)
        assert streams.lives, streams.text()
    assert identities(outputs(settings)) == feed.sent
    [event] = events(settings)
    assert (event.kind, event.topic, event.partition) == (EventKind.POSITION_OUTSIDE_LOG, topic, number)
    assert event.detail == "committed is offset 1000, the log ends at 10"


def test_a_record_that_the_admitted_topic_refuses_goes_on_as_a_stub_and_no_other(kafka: KafkaBroker, tmp_path: Path) -> None:
    """Kafka refuses a whole batch for one record in it."""
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed = Feed(settings)
    with running(settings, tmp_path) as streams:
        until(lambda: "streams started" in streams.text())
        set_option(settings, feed.topics.admitted(NORMAL), "max.message.bytes", "10000")
        for seq in range(1, 31):
            feed.record("db0", seq, value=os.urandom(50_000 if seq == 12 else 500))
        feed.flush()
        until(lambda: caught_up(settings), 60, every_s=0.2)
        assert streams.lives, streams.text()
    got = outputs(settings)
    assert identities(got) == feed.sent
    stubs = {each.decoded.identity.seq: dict(each.headers)["error"] for each in got if each.value is None}
    assert stubs == {12: b"MSG_SIZE_TOO_LARGE"}
    assert "record refused for good; sent as a stub" in streams.text()


def test_the_largest_records_pass(kafka: KafkaBroker, tmp_path: Path) -> None:
    """Larger than Faust's and Kafka's usual limits of one megabyte, several at once."""
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed = Feed(settings, message_max_bytes=4 * 1024 * 1024)
    bodies = {seq: os.urandom(3_900_000) for seq in range(1, 7)}
    with running(settings, tmp_path):
        for seq, body in bodies.items():
            feed.record("db0", seq, value=body)
        feed.flush()
        until(lambda: caught_up(settings), 60, every_s=0.2)
    assert {each.decoded.identity.seq: each.value for each in outputs(settings)} == bodies


def test_an_outage_of_the_broker_loses_nothing_and_floods_no_log(tmp_path: Path) -> None:
    with KafkaBroker.start(tmp_path / "kafka") as broker:
        settings = installation(broker.bootstrap, quota=AMPLE)
        feed = Feed(settings)
        with running(settings, tmp_path) as streams:
            for turn in range(2):
                for seq in range(turn * 300 + 1, turn * 300 + 301):
                    feed.record("db0", seq)
                    feed.record("db1", seq, lane=Lane.CRITICAL)
                until(lambda: bool(ends(settings, [feed.topics.admitted(NORMAL)])))
                broker.restart() if turn else broker.kill()
                if not turn:
                    broker.start_again()
            feed.flush()
            until(lambda: caught_up(settings), 60, every_s=0.2)
            assert streams.lives, streams.text()
            lines = streams.text().splitlines()
            assert streams.stop() == 0, streams.text()
        assert identities(outputs(settings)) == feed.sent
        assert len(lines) < 120, lines[-20:]
