"""What is sent when, in the sender's own thread. The producer is a double; the real one is in the integration tests."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from pganalytics.producers import sender as module
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.meters import Meters
from pganalytics.producers.sender import Sender
from pganalytics.producers.spool import Spool
from pganalytics.runtime.errors import Crash
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.schemas.topics import Topics
from unit.producers.spool_feed import DATABASE, HEARTBEAT, beat, snapshot

TOPICS = Topics("p", 4)
Report = Callable[[Any, Any], None]


class Broker:
    """Keeps what is produced until a test answers it. Reports are made inside poll, as librdkafka's are."""

    def __init__(self) -> None:
        self.queue: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[tuple[Report, KafkaError | None]] = []
        self.refused: dict[str, int] = {}
        self.room = 10_000

    def produce(self, topic: str, **message: Any) -> None:
        if topic in self.refused:
            raise KafkaException(KafkaError(self.refused[topic]))
        if len(self.queue) >= self.room:
            raise BufferError
        self.queue.append((topic, message))

    def answer(self, code: int | None = None, topic: str | None = None) -> None:
        for one in [one for one in self.queue if topic in (None, one[0])]:
            self.queue.remove(one)
            self.answers.append((one[1]["on_delivery"], None if code is None else KafkaError(code)))

    def poll(self, timeout: float) -> int:
        waiting, self.answers = self.answers, []
        for report, error in waiting:
            report(error, None)
        return len(waiting)

    def flush(self, timeout: float) -> int:
        return self.poll(timeout)

    def purge(self) -> None:
        self.queue.clear()

    def topics(self) -> list[str]:
        return [topic for topic, _ in self.queue]

    def seqs(self) -> list[int]:
        return [Headers.decode(message["headers"]).identity.seq for _, message in self.queue]


class Bench:
    """A sender that makes one turn at a time, with a clock of the test."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.spool = Spool.open(folder)
        self.spool.start_epoch("a", 100)
        self.broker = Broker()
        self.measurements = build_measurements(Service.COLLECT)
        self.sender = Sender(self.spool, TOPICS, self.broker, Meters(self.measurements), clock=lambda: self.now)

    def turn(self) -> None:
        self.sender.turn()

    def settle(self) -> None:
        """Half a second later: what was acknowledged leaves the spool."""
        self.now += module.SETTLE_S
        self.turn()

    def release(self) -> None:
        """Have the schemas acknowledged."""
        self.turn()
        self.broker.answer()
        self.turn()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.spool.close()


def test_no_record_goes_out_before_its_schema_is_acknowledged_and_others_do_not_wait(bench: Bench) -> None:
    bench.spool.append(snapshot())
    bench.turn()
    bench.turn()
    assert bench.broker.topics() == [TOPICS.schemas]
    assert bench.broker.queue[0][1]["key"] == DATABASE.id.encode()
    assert bench.broker.queue[0][1]["value"] == DATABASE.text.encode()
    bench.broker.answer()
    bench.turn()
    bench.turn()
    beat(bench.spool)
    bench.turn()
    assert bench.broker.topics() == [TOPICS.collected(Lane.NORMAL), TOPICS.schemas]
    assert bench.broker.queue[1][1]["key"] == HEARTBEAT.id.encode()
    bench.broker.answer(topic=TOPICS.schemas)
    bench.turn()
    bench.turn()
    assert bench.broker.topics() == [TOPICS.collected(Lane.NORMAL), TOPICS.collected(Lane.CRITICAL)]


def test_a_record_leaves_the_spool_only_when_it_is_acknowledged(bench: Bench) -> None:
    bench.spool.append(snapshot())
    bench.release()
    bench.turn()
    bench.turn()
    assert bench.broker.seqs() == [1]
    assert bench.spool.usage[0] == 1
    bench.broker.answer()
    bench.settle()
    assert bench.spool.usage == (0, 0)


def test_what_kafka_acknowledges_and_what_it_refuses_is_counted(bench: Bench) -> None:
    """By lane and by error; a schema is no record, but its failures are failures."""
    bench.spool.append(snapshot())
    beat(bench.spool)
    bench.turn()
    bench.broker.answer(KafkaError._MSG_TIMED_OUT)
    bench.turn()
    bench.now = 1000.0
    bench.release()
    bench.turn()
    bench.broker.answer()
    bench.turn()
    text = bench.measurements.text().decode()
    for lane, count in ((Lane.CRITICAL, 1), (Lane.NORMAL, 1), (Lane.BULK, 0)):
        assert f'pganalytics_collect_records_acknowledged_total{{lane="{lane}"}} {count}.0\n' in text
    assert 'pganalytics_collect_send_failures_total{error="_MSG_TIMED_OUT"} 2.0\n' in text


def test_critical_records_overtake_a_backlog(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_FLIGHT_RECORDS", 8)
    beat(bench.spool)
    bench.release()
    bench.turn()
    bench.broker.answer()
    bench.settle()
    bench.spool.append_many([snapshot(at) for at in range(50)])
    bench.release()
    for _ in range(5):
        bench.turn()
    assert bench.broker.topics() == [TOPICS.collected(Lane.NORMAL)] * 6
    beat(bench.spool)
    bench.turn()
    assert bench.broker.topics()[-1] == TOPICS.collected(Lane.CRITICAL)


def test_a_failed_record_is_sent_again_as_it_was_after_a_pause_and_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.spool.append(snapshot())
    bench.release()
    bench.turn()
    first = bench.broker.queue[0][1]
    for _ in range(4):
        bench.broker.answer(KafkaError._MSG_TIMED_OUT)
        bench.turn()
        bench.turn()
        assert bench.broker.queue == []
        bench.now += 60
        bench.turn()
        again = bench.broker.queue[0][1]
        assert (again["headers"], again["value"]) == (first["headers"], first["value"])
    bench.broker.answer()
    bench.settle()
    assert bench.spool.usage[0] == 0
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


TOO_LARGE = KafkaError.MSG_SIZE_TOO_LARGE


def sent(bench: Bench) -> list[tuple[int, bool]]:
    """(seq, whether it has a body) of what is on its way."""
    return [(Headers.decode(message["headers"]).identity.seq, message["value"] is not None) for _, message in bench.broker.queue]


def test_a_record_that_is_refused_for_good_goes_as_a_stub_and_its_neighbours_as_they_were(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker refuses a batch of three for the second; each is tried alone, while what is critical passes."""
    counted: list[tuple[str, str]] = []
    bench.sender.count = lambda collector, what: counted.append((collector, what))
    beat(bench.spool)
    bench.release()
    bench.turn()
    bench.broker.answer()
    bench.settle()
    bench.spool.append_many([snapshot(at) for at in range(3)])
    bench.release()
    bench.turn()
    assert sent(bench) == [(1, True), (2, True), (3, True)]
    bench.broker.answer(TOO_LARGE)
    bench.turn()
    arrived = []
    for _ in range(12):
        bench.turn()
        way = sent(bench)
        assert len(way) <= 1 or all(seq == 4 or not has_body for seq, has_body in way), "a suspect is alone"
        bench.broker.answer(TOO_LARGE if way == [(2, True)] else None)
        arrived += way
        if len(arrived) == 2:
            bench.spool.append(snapshot())
            beat(bench.spool)
            bench.turn()
            assert TOPICS.collected(Lane.CRITICAL) in bench.broker.topics()
            bench.broker.answer(topic=TOPICS.collected(Lane.CRITICAL))
    assert arrived == [(1, True), (2, True), (3, True), (2, False), (4, True)]
    bench.settle()
    assert bench.spool.usage == (0, 0)
    assert counted == [("a", "stubs.MSG_SIZE_TOO_LARGE")]
    (told,) = caplog.records
    assert (told.collector, told.metric, told.seq) == ("a", "database", 2)  # type: ignore[attr-defined]


def test_a_suspect_that_times_out_is_no_stub(bench: Bench) -> None:
    bench.spool.append(snapshot())
    bench.release()
    bench.turn()
    for code in (TOO_LARGE, KafkaError._MSG_TIMED_OUT, TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED):
        assert sent(bench) == [(1, True)]
        bench.broker.answer(code)
        bench.turn()
        bench.now += 100
        bench.turn()
    assert sent(bench) == [(1, True)]


def test_a_stub_that_is_refused_too_waits(bench: Bench) -> None:
    bench.spool.append(snapshot())
    bench.release()
    for _ in range(20):
        bench.turn()
        bench.broker.answer(TOO_LARGE)
        bench.now += 100
    assert bench.spool.usage[0] == 1
    bench.turn()
    assert sent(bench) == [(1, False)]


def test_a_message_that_the_client_itself_refuses_goes_as_a_stub_at_once(bench: Bench) -> None:
    """It was judged by itself, and was never in a batch."""
    bench.spool.append(snapshot())
    bench.release()
    bench.broker.queue.clear()
    bench.broker.refused[TOPICS.collected(Lane.NORMAL)] = TOO_LARGE
    bench.spool.append(snapshot())
    bench.turn()
    bench.broker.refused.clear()
    bench.turn()
    assert (2, False) in sent(bench)


def test_a_full_disk_delays_a_stub(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be noted is not sent, neither as it was nor shortened."""
    bench.spool.append(snapshot())
    bench.release()
    bench.turn()
    bench.broker.answer(TOO_LARGE)
    bench.turn()
    bench.turn()

    def refuse(record: int, error: str) -> None:
        raise Refused("disk")

    with monkeypatch.context() as full:
        full.setattr(bench.spool, "shorten", refuse)
        bench.broker.answer(TOO_LARGE)
        for _ in range(3):
            bench.turn()
            assert sent(bench) == []
    bench.turn()
    bench.turn()
    assert sent(bench) == [(1, False)]


def test_a_full_queue_is_no_failure(bench: Bench) -> None:
    bench.spool.append(snapshot())
    bench.release()
    bench.broker.room = 0
    bench.turn()
    bench.broker.room = 10
    bench.turn()
    assert bench.broker.seqs() == [1]


def test_a_fatal_error_ends_the_process(bench: Bench) -> None:
    bench.spool.append(snapshot())
    bench.turn()
    report = bench.broker.queue[0][1]["on_delivery"]
    with pytest.raises(Crash):
        report(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "fatal", True), None)


def test_what_is_under_way_at_the_end_stays_in_the_spool(bench: Bench) -> None:
    bench.spool.append(snapshot())
    bench.release()
    bench.turn()
    bench.sender.finish()
    bench.sender.run()
    assert bench.spool.usage[0] == 1
    assert [len(bench.spool.unsent(lane, limit=9, exclude=(), schemas=[DATABASE.id])) for lane in LANES] == [0, 1, 0]


def test_acknowledgements_are_gathered_for_half_a_second(bench: Bench) -> None:
    for _ in range(3):
        bench.spool.append(snapshot())
    bench.release()
    bench.settle()
    assert len(bench.broker.queue) == 3
    for _ in range(2):
        bench.broker.answers.append((bench.broker.queue.pop(0)[1]["on_delivery"], None))
        bench.turn()
        assert bench.spool.usage[0] == 3
    bench.settle()
    assert bench.spool.usage[0] == 1
    assert bench.broker.seqs() == [3]


def test_a_hundred_acknowledgements_wait_for_no_more(bench: Bench) -> None:
    bench.spool.append_many([snapshot(at) for at in range(module.BATCH)])
    bench.release()
    bench.settle()
    bench.broker.answer()
    bench.turn()
    assert bench.spool.usage[0] == 0
