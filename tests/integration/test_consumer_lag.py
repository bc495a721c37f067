"""How far a service is behind can be seen when it matters most: while it stands still."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from integration import streams_feed
from integration.sink_feed import Feed, Store, event_record, now_us, record, running_sink
from integration.test_served_metrics import Scrape, is_recent, scrape
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.ports import free_port
from pganalytics.runtime import lag
from pganalytics.runtime.kafka import client_config
from pganalytics.runtime.lag import Lag, LagWatch, Partition
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from waiting import until

SINK_RECORDS, SINK_SECONDS = "pganalytics_sink_lag_records", "pganalytics_sink_lag_seconds"
RECORDS, SECONDS = "pganalytics_streams_lag_records", "pganalytics_streams_lag_seconds"
LANES = ("critical", "normal", "bulk", "deferred", "events")


@contextmanager
def watching(settings: Settings, topic: str, known: Callable[[], Mapping[Partition, int]] = dict) -> Iterator[Callable[[], Lag]]:
    """What asks for the lag of one topic of the group `somebody`."""
    watch = LagWatch(settings.kafka, "somebody", [topic], known=known, tell=lambda lags, now_s: None)
    try:
        yield lambda: streams_feed.patiently(watch.look)[topic]
    finally:
        watch._offsets.close()


def commit(settings: Settings, *places: tuple[str, int, int]) -> None:
    consumer = Consumer(client_config(settings.kafka, name="test", group_id="somebody"))
    consumer.commit(offsets=[TopicPartition(*place) for place in places], asynchronous=False)
    consumer.close()


def produce(settings: Settings, topic: str, count: int, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap, "linger.ms": 0})
    for _ in range(count):
        producer.produce(topic, b"x" * 1000, partition=partition)
        assert producer.flush(30) == 0


def test_a_group_that_nobody_serves_has_a_lag_by_its_commits_and_what_is_known_goes_before(settings: Settings) -> None:
    topic = Topics(settings.kafka.prefix, settings.kafka.partitions).events
    done: dict[Partition, int] = {}
    with watching(settings, topic, lambda: done) as look:
        assert look() == Lag(0, None)
        began = time.time()
        produce(settings, topic, 100)
        between = time.time()
        produce(settings, topic, 50, partition=1)
        first = look()
        assert first.records == 150
        assert first.oldest_s is not None
        assert began - 1 < first.oldest_s < between + 1
        assert look() == first
        commit(settings, (topic, 0, 100), (topic, 1, 20))
        second = look()
        assert second.records == 30
        assert second.oldest_s is not None
        assert second.oldest_s > first.oldest_s
        done[topic, 1] = 49
        assert look().records == 1
        done[topic, 1] = 0
        assert look().records == 50


def test_it_is_asked_anew_after_the_broker_was_away(tmp_path: Path) -> None:
    with KafkaBroker.start(tmp_path / "own") as broker:
        own = streams_feed.installation(broker.bootstrap)
        topic = Topics(own.kafka.prefix, own.kafka.partitions).events
        told: list[Lag] = []
        watch = LagWatch(own.kafka, "somebody", [topic], known=dict, tell=lambda lags, now_s: told.append(lags[topic]))
        produce(own, topic, 3)

        def has_told(records: int) -> bool:
            told.clear()
            watch._try()
            return [each.records for each in told] == [records]

        until(lambda: has_told(3))
        broker.kill()
        assert not has_told(3)
        broker.start_again()
        until(lambda: has_told(3), 60)
        produce(own, topic, 2)
        until(lambda: has_told(5), 60)
        watch._offsets.close()


@pytest.fixture
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A sink of small batches and queues that looks at its lag all the time."""
    monkeypatch.setattr(lag, "EVERY_S", 0.1)
    chosen = {"http_port": free_port(), "retry_max_s": 0.5, "batch_records": 5}
    return settings.model_copy(update={"sink": settings.sink.model_copy(update=chosen)})


def an_event() -> Event:
    return Event(EventKind.GAP, Source.STREAMS, now_us(), "f", 1, Lane.BULK, Ranges.of([(1, 1)]), "t", 0, 0, "")


def by_lane(found: Scrape, name: str) -> dict[str, float]:
    return {lane: found[name, lane] for lane in LANES if (name, lane) in found}


def test_the_lag_of_a_sink_grows_while_the_store_is_away(quick: Settings, feed: Feed, stored: Store) -> None:
    """Its queues are full then, and the partitions paused: what the consumer knows of their ends stands still."""
    port = quick.sink.http_port
    with running_sink(quick):
        feed.admit(record("c", 1))
        until(lambda: stored.stored() == 1)
        until(lambda: by_lane(scrape(port), SINK_RECORDS) == dict.fromkeys(LANES, 0))
        assert by_lane(scrape(port), SINK_SECONDS) == dict.fromkeys(LANES, 0)
        with psycopg.connect(stored.conninfo) as other:
            other.execute("lock table pganalytics.positions in access exclusive mode")
            feed.admit(*(record("c", seq) for seq in range(2, 202)))
            until(lambda: scrape(port)[SINK_RECORDS, "normal"] == 200)
            before = scrape(port)
            until(lambda: scrape(port)["pganalytics_sink_waiting",] == 1)
            feed.admit(*(record("c", seq) for seq in range(202, 302)))
            feed.admit(record("d", 1), lane=Lane.BULK)
            feed.send(feed.topics.deferred, record("e", 1))
            feed.send(feed.topics.events, event_record(an_event()))
            expected = {"critical": 0, "normal": 300, "bulk": 1, "deferred": 1, "events": 1}
            until(lambda: by_lane(scrape(port), SINK_RECORDS) == expected)
            until(lambda: scrape(port)[SINK_SECONDS, "normal"] > before[SINK_SECONDS, "normal"] + 1)
            after = scrape(port)
            assert 0 < after[SINK_SECONDS, "bulk"] < after[SINK_SECONDS, "normal"] < 120
            assert after[SINK_SECONDS, "critical"] == 0
            assert is_recent(after["pganalytics_sink_lag_last_look_timestamp_seconds",])
        until(lambda: by_lane(scrape(port), SINK_RECORDS) == dict.fromkeys(LANES, 0), 60)
        assert by_lane(scrape(port), SINK_SECONDS) == dict.fromkeys(LANES, 0)


def test_a_sink_stores_while_kafka_does_not_say_how_far_it_is_behind(
    quick: Settings, feed: Feed, stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for the look, and the page is served."""
    over, looking = threading.Event(), threading.Event()

    def hang(watch: LagWatch) -> dict[str, Lag]:
        looking.set()
        over.wait(60)
        return {}

    monkeypatch.setattr(LagWatch, "look", hang)
    try:
        with running_sink(quick):
            assert looking.wait(60)
            feed.admit(*(record("c", seq) for seq in range(1, 51)))
            until(lambda: stored.stored() == 50)
            assert by_lane(scrape(quick.sink.http_port), SINK_RECORDS) == {}
            over.set()
    finally:
        over.set()


def test_the_lag_of_streams_that_stand_still_and_then_go_on(kafka: KafkaBroker, tmp_path: Path) -> None:
    port = free_port()
    settings = streams_feed.installation(kafka.bootstrap, http_port=port)
    feed = streams_feed.Feed(settings)
    for seq in range(1, 301):
        feed.record("c", seq)
    feed.record("c", 1, lane=Lane.CRITICAL)
    feed.flush()
    with streams_feed.running(settings, tmp_path, "nothing-finishes"):
        until(lambda: scrape(port).get((RECORDS, "normal")) == 300, 60)
        first = scrape(port)
        assert (first[RECORDS, "critical"], first[RECORDS, "bulk"], first[SECONDS, "bulk"]) == (1, 0, 0)
        until(lambda: scrape(port)[SECONDS, "normal"] > first[SECONDS, "normal"], 60)
        feed.record("c", 301)
        feed.flush()
        until(lambda: scrape(port)[RECORDS, "normal"] == 301, 60)
    with streams_feed.running(settings, tmp_path) as streams:
        until(lambda: streams_feed.caught_up(settings), 60, every_s=0.2)
        until(lambda: scrape(port).get((RECORDS, "normal")) == 0, 60)
        assert scrape(port)[SECONDS, "normal"] == 0
        assert streams.stop() == 0, streams.text()
