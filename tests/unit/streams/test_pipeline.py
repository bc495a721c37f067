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
from pganalytics.streams.quota import Limits
from pganalytics.streams.records import Outgoing
from unit.streams.arrivals import TOPICS, arrival
from unit.streams.test_guard import HERE, Broker, guard_of
from unit.streams.test_processor import AMPLE, TIGHT


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

    def __init__(self, broker: Broker, then: Callable[["Bench"], None] = lambda _: None, *, limits: Limits = AMPLE) -> None:
        self.positions = Positions()
        self.sent = Sent(lambda: then(self))
        guard = guard_of(broker, self.positions)
        processor = Processor(TOPICS, limits)
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
    bench = Bench(Broker(at=0), limits=TIGHT)
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


def test_what_is_not_delivered_is_not_counted() -> None:
    def fail(_: Bench) -> None:
        raise CannotSend("broken")

    bench = Bench(Broker(at=5), fail)
    with pytest.raises(CannotSend):
        bench.run(5)
    assert bench.told("batches_total") == bench.told('records_total{lane="normal",verdict="passed"}') == 0
