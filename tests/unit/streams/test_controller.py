"""Collectors are counted and looked at; orders and events are made of the records alone, and survive a restart."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pganalytics.runtime.compacted import Entry
from pganalytics.runtime.errors import Unreachable
from pganalytics.schemas.control import Control, Reason, decode_control
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import Lane
from pganalytics.streams import controller as controller_module
from pganalytics.streams.control import Policy
from pganalytics.streams.controller import Controller
from pganalytics.streams.orders import Orders, decoded
from pganalytics.streams.processor import Decided, Processor
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.records import Arrival
from unit.streams.arrivals import START_US, TERMS, TOPICS, arrival
from unit.streams.quota_model import Quota

SECOND = 1_000_000
POLICY = Policy(10 * SECOND, most_stretch=16.0, ttl_s=600.0)
QUOTAS = Quotas(Quota(1, rows_per_s=10**6, bytes_per_s=10**8, burst_s=3, critical_burst_s=3600, ceiling_s=86400))
ORDER = Control(START_US, 600.0, 4.0, 4.0, 0, 4.0, Reason.QUOTA)


def at_pace(per_s: float, seconds: int, *, begin_s: int = 0, collector: str = "db1", **how: Any) -> list[Arrival]:
    """Records that come evenly."""
    count, began_us = round(per_s * seconds), START_US + begin_s * SECOND
    return [
        arrival(number, collector=collector, offset=number, at_us=began_us + round(number / per_s * SECOND), **how)
        for number in range(1, count + 1)
    ]


def built(policy: Policy | None = POLICY) -> Processor:
    return Processor(TOPICS, QUOTAS, TERMS, controller=Controller(TOPICS, policy))


def orders(decided: Decided) -> list[tuple[str, Control]]:
    assert {each.topic for each in decided.orders} <= {"pga.control"}
    return [((each.key or b"").decode(), decode_control(each.value or b"")) for each in decided.orders]


def changes(decided: Decided) -> list[str]:
    return [each.kind for each in decided.events if each.kind in (EventKind.SLOWED, EventKind.RESUMED)]


def test_who_stays_over_his_quota_is_told_and_nobody_else() -> None:
    records = sorted(at_pace(5, 60) + at_pace(0.9, 60, collector="quiet"), key=lambda each: each.at_us)
    decided = built().process(records)
    told = orders(decided)
    assert {collector for collector, _ in told} == {"db1"}
    first = told[0][1]
    assert 6 <= first.normal <= 6.5
    assert (first.ttl_s, first.rows, first.reason) == (600.0, 0, Reason.QUOTA)
    assert 15 * SECOND < first.version - START_US < 25 * SECOND
    [event] = [each for each in decided.events if each.kind is EventKind.SLOWED][:1]
    assert (event.collector, event.at_us, event.epoch, event.lane) == ("db1", first.version, 0, None)
    assert event.detail == f"intervals {first.normal:.2f} times as long: it stays over its quota"


def test_the_same_records_give_the_same_orders_and_events() -> None:
    records = at_pace(5, 60) + at_pace(0.2, 300, begin_s=60)
    one, other = built().process(records), built().process(records)
    assert changes(one)[0] == EventKind.SLOWED
    assert changes(one)[-1] == EventKind.RESUMED
    assert one.orders == other.orders
    assert [each.id for each in one.events] == [each.id for each in other.events]
    assert orders(one)[-1][1].normal == 1.0


def test_a_spool_that_is_released_is_no_pace() -> None:
    """Two hours of readings within a minute: deferred they are, but longer intervals would mend nothing."""
    records = [
        replace(each, headers=[*(pair for pair in each.headers if pair[0] != "collected_at"), ("collected_at", str(at).encode())])
        for number, each in enumerate(at_pace(100, 60))
        if (at := START_US - 7200 * SECOND + number * 1200 * 1000)
    ]
    decided = built().process(records)
    assert [each.kind for each in decided.events][:1] == [EventKind.DEFERRED]
    assert decided.orders == []


def test_without_control_nobody_is_told() -> None:
    assert built(None).process(at_pace(50, 120)).orders == []


def test_the_lag_of_his_partition_slows_a_collector() -> None:
    processor = built()
    processor.controller.lag = {0: 0.5}
    decided = processor.process(at_pace(0.5, 30) + at_pace(0.5, 30, collector="elsewhere", partition=1))
    assert [(collector, one.normal, one.reason) for collector, one in orders(decided)] == [("db1", 2.0, Reason.LAG)]
    assert processor.controller.slowed() == 1


def test_a_restart_goes_on_from_the_topic() -> None:
    """What was processed before is processed again without another order; then the collector is not slowed anew from 1."""
    records = at_pace(5, 25)
    before = orders(built().process(records))
    again = built()
    collector, control = before[-1]
    again.controller.adopt({collector: (control, control.version)})
    assert again.controller.slowed() == 1
    assert again.process(records).orders == []
    decided = again.process(at_pace(0.8, 60, begin_s=30))
    assert decided.orders == []
    assert changes(again.process(at_pace(0.1, 300, begin_s=90)))[-1] == EventKind.RESUMED


def test_an_older_order_than_the_own_is_not_adopted() -> None:
    processor = built()
    [*_, (collector, control)] = orders(processor.process(at_pace(5, 25)))
    processor.controller.adopt({collector: (replace(control, version=1, pressure=1.0, normal=1.0), START_US)})
    assert processor.controller.slowed() == 1


def test_what_is_remembered_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(controller_module, "MOST_COLLECTORS", 10)
    controller = Controller(TOPICS, POLICY)
    processor = Processor(TOPICS, QUOTAS, TERMS, controller=controller)
    processor.process(arrival(1, collector=f"c{number}") for number in range(100))
    controller.adopt({f"c{number}": (ORDER, START_US + number) for number in range(100)})
    assert (len(controller._tallies), len(controller._states)) == (10, 10)
    assert controller._states.get("c99") is not None


def test_critical_records_count_but_are_told_nothing() -> None:
    """A flood of critical records is over quota and never deferred: longer intervals would not change it."""
    assert built().process(at_pace(20, 60, lane=Lane.CRITICAL, metric="blocking")).orders == []


class Topic:
    """The topic `control`, which cannot be read at first."""

    def __init__(self, entries: Mapping[bytes, Entry], failures: int) -> None:
        self._entries = entries
        self._failures = iter([True] * failures)
        self.asked = 0

    def read_entries(self, timeout_s: float) -> Mapping[bytes, Entry]:
        self.asked += 1
        if next(self._failures, False):
            raise Unreachable("topic pga.control: its end cannot be asked")
        return self._entries


def test_the_topic_is_read_once_per_assignment_and_an_outage_is_waited_for() -> None:
    controller = Controller(TOPICS, POLICY)
    topic = Topic({b"db1": Entry(ORDER.encode(), START_US)}, failures=1)
    catching_up = Orders(topic, controller, timeout_s=1, stopping=lambda: False)
    for generation in (3, 3, 3, 4):
        asyncio.run(catching_up.catch_up(generation))
    assert topic.asked == 3
    assert controller.slowed() == 1


def test_who_stops_does_not_wait() -> None:
    answers: Iterator[bool] = iter([False, True])
    topic = Topic({}, failures=9)
    catching_up = Orders(topic, Controller(TOPICS, POLICY), timeout_s=1, stopping=lambda: next(answers))
    asyncio.run(catching_up.catch_up(1))
    assert topic.asked == 1


def test_what_is_no_order_is_left_out() -> None:
    entries = {b"db1": ORDER.encode(), b"db2": b"junk", b"\xff": ORDER.encode(), b"no id": ORDER.encode(), b"db3": b""}
    assert decoded({key: Entry(value, 5) for key, value in entries.items()}) == {"db1": (ORDER, 5)}
