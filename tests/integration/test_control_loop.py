"""Control on a real broker: streams tell, agents follow and say so, and totals stay exact while resolution falls."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from integration.producers_feed import (
    AgentProcess,
    Arrived,
    Watched,
    assert_contiguous,
    calls_of,
    collected,
    of_metric,
    with_targets,
)
from integration.streams_feed import Feed, events, installation, outputs, patiently, read_all, running, topics_of
from integration.test_producers_agent import Workload, wait_for_statements
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.kafka import client_config, producer_config
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.schemas.control import Control, Reason, decode_control
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import Lane
from pganalytics.streams.sink_lag import lag_of
from waiting import until

SECOND = 1_000_000
VERSION = 1_800_000_000_000_000
FACTOR = 4.0
TTL_S = 18.0


def tell(settings: Settings, collector: str, value: bytes) -> None:
    """As the streams would."""
    producer = Producer(producer_config(settings.kafka, name="test"))
    producer.produce(topics_of(settings).control, key=collector.encode(), value=value)
    assert producer.flush(30) == 0


def versions(settings: Settings) -> list[int]:
    """What heartbeats acknowledge, in their order; headers and bodies agree."""
    beats = of_metric(collected(settings.kafka), "heartbeat", "one")
    for beat in beats:
        assert beat.headers.heartbeat is not None
        assert beat.headers.heartbeat.control == beat.body["control_version"]
    return [beat.body["control_version"] for beat in beats]


def readings(arrived: list[Arrived], metric: str) -> list[float]:
    """Seconds at which a metric was read."""
    return [one.headers.collected_at_us / SECOND for one in of_metric(arrived, metric, "one")]


def test_an_agent_follows_an_order_says_so_and_returns_when_it_ends(settings: Settings, one: Watched, log: Path) -> None:
    """Every call is counted once, also those of the time in which it read rarely; critical metrics keep their pace."""
    load = Workload(one)
    _, before, _ = load.counted()
    chosen = with_targets(settings, one.target("one"))
    with AgentProcess(chosen, log) as agent:
        wait_for_statements(chosen, 2)
        tell(chosen, "one", b"no order")
        agent.wait_for("an order of the streams is ignored")
        order = Control(VERSION, TTL_S, FACTOR, FACTOR, 100, FACTOR, Reason.QUOTA)
        told_s = time.time()
        tell(chosen, "one", order.encode())
        until(lambda: VERSION in versions(chosen), what="acknowledgement")
        followed_s = time.time()
        load.run(50)
        until(lambda: versions(chosen)[-1] == 0, TTL_S + 40, what="the end of the order")
        ended_s = time.time()
        load.run(25)
        wait_for_statements(chosen, 4)
        assert agent.stop() == 0
    assert followed_s - told_s < 10, "agents follow within 10 s"
    assert ended_s - told_s > TTL_S - 1
    arrived = collected(chosen.kafka)
    assert_contiguous(arrived)
    statement, calls, _ = load.counted()
    assert calls_of(of_metric(arrived, "statements", "one"), statement) == calls - before == 75
    for metric in ("statements", "database"):
        gaps = [(at, later - at) for at, later in pairwise(readings(arrived, metric))]
        slow = [gap for at, gap in gaps if followed_s < at and at + FACTOR < told_s + TTL_S - 1]
        assert slow
        assert min(slow) > FACTOR - 1
        assert min(gap for at, gap in gaps if at > ended_s) < FACTOR / 2
    beats = [later - at for at, later in pairwise(readings(arrived, "heartbeat"))]
    assert sorted(beats)[len(beats) // 2] < FACTOR / 2
    told = agent.lines("changed how often a collector reads")
    assert len(told) == 2
    assert f"stretch=4.0 version={VERSION}" in told[0]
    assert "stretch=1.0 version=0" in told[1]


def test_an_agent_may_refuse_control(settings: Settings, one: Watched, log: Path) -> None:
    chosen = with_targets(settings, one.target("one"), control=False)
    tell(chosen, "one", Control(VERSION, 600.0, 100.0, 100.0, 100, 100.0, Reason.QUOTA).encode())
    with AgentProcess(chosen, log):
        wait_for_statements(chosen, 8)
    assert set(versions(chosen)) == {0}


def orders(settings: Settings) -> list[Control]:
    """All that were given, in order."""
    topic = topics_of(settings).control
    consumer = Consumer(client_config(settings.kafka, name="orders", group_id="orders", enable_auto_commit=False))
    end = patiently(lambda: consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20))[1]
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[Control] = []
    while len(found) < end:
        message = consumer.poll(10)
        assert message is not None
        assert message.error() is None
        value = message.value()
        assert isinstance(value, bytes)
        found.append(decode_control(value))
    consumer.close()
    return found


class Pacer:
    """Sends records of one collector, while something is waited for."""

    def __init__(self, settings: Settings) -> None:
        self._feed = Feed(settings)
        self._seq = 0

    def until(self, condition: Callable[[], object], per_s: float) -> None:
        def sent_more() -> object:
            self._seq += 1
            self._feed.record("noisy", self._seq)
            self._feed.flush()
            return condition()

        until(sent_more, 90, every_s=1 / per_s)


QUOTA = {"records_per_s": 2, "rows_per_s": 10**6, "bytes_per_s": 10**8, "burst_s": 1}


def test_streams_slow_who_stays_over_his_quota_and_a_restart_does_not_forget_it(kafka: KafkaBroker, tmp_path: Path) -> None:
    """SIGKILL in between: that it resumes at all shows that the new process has read what the old one ordered."""
    settings = installation(kafka.bootstrap, quota=QUOTA, control={"interval_s": 1, "ttl_s": 90})
    pacer = Pacer(settings)
    with running(settings, tmp_path) as streams:
        pacer.until(lambda: orders(settings), per_s=30)
        streams.kill()
    before = orders(settings)
    assert before[-1].normal > 2
    with running(settings, tmp_path) as streams:
        pacer.until(lambda: orders(settings)[-1].pressure == 1, per_s=0.7)
        assert streams.stop() == 0
    after = orders(settings)
    assert [one.version for one in after] == sorted({one.version for one in after})
    told = [event for event in events(settings) if event.kind in (EventKind.SLOWED, EventKind.RESUMED)]
    assert {event.collector for event in told} == {"noisy"}
    assert sorted(event.at_us for event in told) == sorted({event.at_us for event in told})
    assert max(told, key=lambda event: event.at_us).kind is EventKind.RESUMED
    assert {one.reason for one in after} == {Reason.QUOTA, Reason.CALM}


def test_the_loop_is_closed(settings: Settings, one: Watched, log: Path, tmp_path: Path) -> None:
    """An agent that sends three records a second where two are its quota is slowed without anybody's help, and says so."""
    load = Workload(one)
    _, before, _ = load.counted()
    streams_settings = {"quota": QUOTA, "control": {"interval_s": 2, "ttl_s": 300}, "http_port": 0}
    chosen = Settings.model_validate({**with_targets(settings, one.target("one")).model_dump(), "streams": streams_settings})
    streams = running(Settings.model_validate({**settings.model_dump(), "streams": streams_settings}), tmp_path)
    with streams, AgentProcess(chosen, log) as agent:
        until(lambda: orders(chosen) and orders(chosen)[-1].version in versions(chosen), 90, what="acknowledgement")
        load.run(40)
        wait_for_statements(chosen, 3)
        assert agent.stop() == 0
    told = orders(chosen)
    assert max(one.normal for one in told) > 1
    assert {one.reason for one in told} <= {Reason.QUOTA, Reason.CALM}
    arrived = collected(chosen.kafka)
    assert_contiguous(arrived)
    at = readings(arrived, "database")
    assert max(later - earlier for earlier, later in pairwise(at)) > 1.4
    statement, calls, _ = load.counted()
    assert calls_of(of_metric(arrived, "statements", "one"), statement) == calls - before == 40


def test_rules_are_taken_up_while_it_runs_and_a_bad_file_changes_nothing(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap)
    rule = {"metric": "data*", "collector": "noisy", "lane": "bulk"}
    changed = settings.model_copy(
        update={"streams": type(settings.streams).model_validate({**settings.streams.model_dump(), "rules": [rule]})}
    )
    bulk = topics_of(settings).admitted(Lane.BULK)
    pacer = Pacer(settings)
    with running(settings, tmp_path) as streams:
        config = tmp_path / "streams.toml"
        pacer.until(lambda: outputs(settings), per_s=5)
        config.write_text(as_toml(changed), encoding="utf-8")
        pacer.until(lambda: read_all(settings.kafka, [bulk]), per_s=5)
        config.write_text(as_toml(changed).replace('lane = "bulk"', 'lane = "bukl"'), encoding="utf-8")
        pacer.until(lambda: "the old rules stay" in streams.text(), per_s=5)
        seen = len(read_all(settings.kafka, [bulk]))
        pacer.until(lambda: len(read_all(settings.kafka, [bulk])) > seen, per_s=5)
        assert streams.stop() == 0
    assert f"{config}: streams.rules[0].lane" in streams.text()


def test_the_sinks_lag_as_a_broker_tells_it(settings: Settings) -> None:
    """Unread is what was appended before a time and is not committed; how late it is now is said, not waited for."""
    topics = topics_of(settings)
    feed = Feed(settings)
    topic, retention_us = topics.admitted(Lane.NORMAL), 1000 * SECOND
    for _ in range(3):
        feed.raw(topic, b"one", b"body", [])
        feed.flush()
    got = read_all(settings.kafka, [topic])
    place = topic, got[0].partition
    where = [(topics.admitted(lane), number) for lane in Lane for number in range(settings.kafka.partitions)]
    offsets = GroupOffsets(settings.kafka, f"{topics.prefix}.sink", name="test")

    def lag(age_s: float) -> dict[int, float]:
        return dict(lag_of(offsets, where, got[-1].at_ms * 1000 + round(age_s * SECOND), retention_us))

    assert lag(1) == {}
    assert lag(450) == {place[1]: 0.4}
    assert lag(2000) == {place[1]: 0.9}
    consumer = Consumer(client_config(settings.kafka, name="sink", group_id=f"{topics.prefix}.sink"))
    for committed, expected in ((2, {place[1]: 0.6}), (3, {})):
        consumer.commit(offsets=[TopicPartition(*place, committed)], asynchronous=False)
        assert lag(650) == expected
    consumer.close()
    offsets.close()


def test_a_reader_tells_when_the_broker_appended(settings: Settings) -> None:
    tell(settings, "one", b"first")
    tell(settings, "one", b"second")
    with CompactedReader(settings.kafka, topics_of(settings).control, name="test") as reader:
        entry = reader.read_entries(20)[b"one"]
    assert entry.value == b"second"
    assert abs(entry.appended_us / SECOND - time.time()) < 60
