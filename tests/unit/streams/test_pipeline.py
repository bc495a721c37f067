"""Nothing moves a position before everything made of the records is acknowledged."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.schemas.events import EventKind, decode_event
from pganalytics.schemas.identity import Lane
from pganalytics.streams.errors import CannotSend, Skipped
from pganalytics.streams.meters import Meters
from pganalytics.streams.outputs import Outputs
from pganalytics.streams.pipeline import Pipeline
from pganalytics.streams.positions import Positions
from pganalytics.streams.processor import Processor
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.records import Outgoing
from pganalytics.streams.ticks import End
from unit.streams.arrivals import START_US, TERMS, TOPICS, arrival, heartbeat
from unit.streams.test_guard import HERE, Broker, guard_of
from unit.streams.test_processor import AMPLE, NARROW, TIGHT


class Sent(Outputs):
    """Keeps what is delivered; `then` runs before delivery is over."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.records: list[Outgoing] = []
        self._then = then

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        self._then()
        self.records += records


async def nothing_is_known(generation: int) -> None:
    """Of orders that others gave."""
    del generation


class Bench:
    """A pipeline without a broker."""

    def __init__(self, broker: Broker, then: Callable[["Bench"], None] = lambda _: None, *, quotas: Quotas = AMPLE) -> None:
        self.positions = Positions()
        self.sent = Sent(lambda: then(self))
        guard = guard_of(broker, self.positions)
        processor = Processor(TOPICS, quotas, TERMS)
        self.measurements = build_measurements(Service.STREAMS)
        meters = Meters(self.measurements, TOPICS, self.positions)
        self.pipeline = Pipeline(
            TOPICS,
            self.positions,
            guard=guard,
            processor=processor,
            outputs=self.sent,
            meters=meters,
            catch_up=nothing_is_known,
        )

    def run(self, *offsets: int) -> int | None:
        asyncio.run(self.pipeline.process([arrival(offset + 1, offset=offset) for offset in offsets]))
        return self.positions.done(HERE)

    def told(self, name: str) -> float:
        """A line of the self-metrics."""
        [line] = [one for one in self.measurements.text().decode().splitlines() if one.startswith(f"pganalytics_streams_{name} ")]
        return float(line.rpartition(" ")[2])


def test_finished_is_what_is_delivered() -> None:
    bench = Bench(Broker(at=5))
    assert bench.run(5, 6, 7) == 8
    assert bench.run(8) == 9
    assert len(bench.sent.records) == 4


def test_what_others_have_decided_is_known_before_the_first_decision() -> None:
    order: list[str] = []
    bench = Bench(Broker(at=5), lambda _: order.append("sent"))

    async def catch_up(generation: int) -> None:
        order.append(f"caught up {generation}")

    bench.pipeline._catch_up = catch_up
    bench.run(5)
    bench.positions.forget()
    bench.run(5)
    assert order == ["caught up 0", "sent", "caught up 1", "sent"]


def test_positions_stand_still_while_delivery_lasts() -> None:
    seen: list[int | None] = []
    Bench(Broker(at=5), lambda bench: seen.append(bench.positions.done(HERE))).run(5, 6)
    assert seen == [None]


def test_a_failed_delivery_moves_nothing() -> None:
    def fail(_: Bench) -> None:
        raise CannotSend("broken")

    bench = Bench(Broker(at=5), fail)
    with pytest.raises(CannotSend):
        bench.run(5)
    assert bench.positions.done(HERE) is None


def test_a_revocation_while_delivery_lasts_moves_nothing() -> None:
    assert Bench(Broker(at=5), lambda bench: bench.positions.forget()).run(5) is None


def test_after_skipped_records_nothing_is_sent() -> None:
    bench = Bench(Broker(at=5))
    with pytest.raises(Skipped):
        bench.run(5, 6, 9)
    assert bench.sent.records == []
    assert bench.positions.done(HERE) is None


def test_a_redelivery_is_sent_again_and_moves_nothing_back() -> None:
    bench = Bench(Broker(at=5))
    bench.run(5, 6, 7)
    assert bench.run(5, 6) == 8
    assert len(bench.sent.records) == 5


def test_a_position_outside_the_log_is_an_event_with_the_records() -> None:
    bench = Bench(Broker(at=30))
    assert bench.run(0, 1) == 2
    [told] = [decode_event(each.value or b"") for each in bench.sent.records if each.topic == TOPICS.events]
    assert (told.kind, told.topic, told.partition) == (EventKind.POSITION_OUTSIDE_LOG, TOPICS.collected(Lane.NORMAL), 0)
    assert told.detail == "committed is offset 30, the log ends at 20"


def test_what_is_delivered_is_counted() -> None:
    """By lane and verdict, with the events; the fourth record and its successor are over quota, seq 5 is absent."""
    bench = Bench(Broker(at=0), quotas=TIGHT)
    asyncio.run(bench.pipeline.process([arrival(seq, offset=offset) for offset, seq in enumerate((1, 2, 3, 4, 6))]))
    assert bench.told('records_total{lane="normal",verdict="passed"}') == 3
    assert bench.told('records_total{lane="normal",verdict="deferred"}') == 2
    assert bench.told('records_total{lane="critical",verdict="passed"}') == 0
    assert bench.told('events_total{kind="gap"}') == 1
    assert bench.told('events_total{kind="deferred"}') == 2
    assert bench.told("batches_total") == 1
    assert bench.told("last_batch_timestamp_seconds") > 0
    assert bench.told("rebalances_total") == 0
    bench.positions.forget()
    assert bench.told("rebalances_total") == 1


def test_what_is_shed_is_not_sent_and_is_told_before_the_position_moves() -> None:
    seen: list[int | None] = []
    bench = Bench(Broker(at=0), lambda bench: seen.append(bench.positions.done(HERE)), quotas=NARROW)
    assert bench.run(*range(20)) == 20
    assert seen == [None]
    told = [decode_event(each.value or b"") for each in bench.sent.records if each.topic == TOPICS.events]
    assert [(each.kind, str(each.ranges)) for each in told] == [(EventKind.DEFERRED, "4-7"), (EventKind.SHED, "8-20")]
    assert len(bench.sent.records) - len(told) == 7
    assert bench.told('records_total{lane="normal",verdict="shed"}') == 13
    assert bench.told('events_total{kind="shed"}') == 1


def test_what_is_not_delivered_is_not_counted() -> None:
    def fail(_: Bench) -> None:
        raise CannotSend("broken")

    bench = Bench(Broker(at=5), fail)
    with pytest.raises(CannotSend):
        bench.run(5)
    assert bench.told("batches_total") == bench.told('records_total{lane="normal",verdict="passed"}') == 0


CRITICAL = (TOPICS.collected(Lane.CRITICAL), 0)
LATE_US = START_US + 25_000_000


def silent_bench(read: int) -> Bench:
    """A collector's heartbeats, and four steps of time after the last one; the log is said to end at `read`."""
    bench = Bench(Broker(at=0))
    asyncio.run(bench.pipeline.process([heartbeat(seq, offset=seq - 1) for seq in (1, 2)]))
    for step in range(1, 5):
        asyncio.run(bench.pipeline.tick([End(CRITICAL, read, START_US + step * 25_000_000)]))
    return bench


def test_a_tick_tells_what_is_due_and_counts_it() -> None:
    bench = silent_bench(read=2)
    [told] = [decode_event(each.value or b"") for each in bench.sent.records if each.topic == TOPICS.events]
    assert (told.kind, told.collector, told.offset) == (EventKind.SILENT, "db1", 1)
    assert bench.told('events_total{kind="silent"}') == 1
    assert bench.told("batches_total") == 1


@pytest.mark.parametrize("end", [1, 3])
def test_a_tick_moves_no_time_where_anything_is_unread_or_was_read_since(end: int) -> None:
    assert [each for each in silent_bench(read=end).sent.records if each.topic == TOPICS.events] == []


def test_a_tick_waits_for_the_batch_at_hand() -> None:
    """Both change what is known of gaps."""
    bench = Bench(Broker(at=0))
    order: list[str] = []

    class Slow(Sent):
        async def deliver(self, records: Sequence[Outgoing]) -> None:
            order.append(f"begin {len(records)}")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            order.append(f"end {len(records)}")

    bench.pipeline._outputs = Slow(lambda: None)

    async def both() -> None:
        batch = asyncio.create_task(bench.pipeline.process([heartbeat(1, offset=0)]))
        while not order:
            await asyncio.sleep(0)
        await asyncio.gather(batch, bench.pipeline.tick([End(CRITICAL, 1, LATE_US)]))

    asyncio.run(both())
    assert order == ["begin 1", "end 1", "begin 0", "end 0"]
