"""The streams alone: whatever is killed, nothing that was collected is lost on its way to the admitted topics."""

import time
from collections.abc import Callable
from pathlib import Path

from chaos import streams_chaos
from chaos.admission import count_all
from chaos.plan import Kind
from chaos.streams_chaos import LONG, SHORT
from integration.streams_feed import Feed, caught_up, committed, ends, installation, running
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.schemas.identity import Identity, Lane
from waiting import until

CONTROLS = {
    "faust-commits": "Faust's own commits, no guard, the agent swallows an exception",
    "leaves-agent": "the same, the exception leaves the agent",
    "takes": "the same with take for noack_take",
}
STILL_S = 8.0
"""A control that has committed nothing for so long after its start has come to an end."""
RECORDS = 2000
COLLECTORS = 8


def test_the_long_plan_breaks_what_it_promises() -> None:
    plan = streams_chaos.make_plan(4, LONG)
    assert plan == streams_chaos.make_plan(4, LONG) != streams_chaos.make_plan(5, LONG)
    workers = [fault for fault in plan if fault.victim.startswith("streams-") and fault.kind is Kind.KILL]
    brokers = [fault.kind for fault in plan if fault.victim == "broker"]
    assert (len(workers), brokers.count(Kind.KILL), brokers.count(Kind.RESTART)) == (16, 3, 3)
    assert [fault.hold_s > 6 for fault in plan if fault.kind is Kind.SUSPEND] == [True]
    assert sum(fault.kind is Kind.DELAY for fault in plan) == 3


def test_kills_suspension_restarts_and_a_slow_leader_lose_nothing(tmp_path: Path) -> None:
    with streams_chaos.run(tmp_path, SHORT, seed=6, rate=200.0) as (settings, feed, found):
        assert found.problems() == [], found.lines()
        assert found.counted.sent >= SHORT.records
        nowhere = Identity("nobody", 1, Lane.BULK, 1)
        assert count_all(settings, {*feed.sent, nowhere}).never_came == 1


def test_control_the_same_count_sees_designs_that_lose_records(
    kafka: KafkaBroker, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each control runs until half of everything is committed, or until it gets no further: an agent that an exception left need
    not come back. Then our own streams take what it left. The report of the test names what was tried and how many records it
    lost."""
    lost = {what: lost_by(fault, kafka, tmp_path / fault) for fault, what in CONTROLS.items()}
    for what, number in lost.items():
        record_property(what, number)
    assert any(lost.values()), lost


def lost_by(fault: str, kafka: KafkaBroker, folder: Path) -> int:
    """How many records a planted fault loses for good."""
    folder.mkdir()
    settings = installation(kafka.bootstrap, quota={"records_per_s": 10_000, "rows_per_s": 10**6})
    feed = Feed(settings)
    for seq in range(1, RECORDS // COLLECTORS + 1):
        for number in range(COLLECTORS):
            feed.record(f"db{number}", seq)
    feed.flush()
    collected = sum(ends(settings, [feed.topics.collected(Lane.NORMAL)]).values())
    with running(settings, folder, fault=fault) as streams:
        until(lambda: "streams started" in streams.text(), 60)
        progress, deadline = -1, time.monotonic() + STILL_S
        while progress < collected // 2 and time.monotonic() < deadline:
            time.sleep(0.3)
            if (now := sum(committed(settings).values())) > progress:
                progress, deadline = now, time.monotonic() + STILL_S
    with running(settings, folder):
        until(lambda: caught_up(settings), 60, every_s=0.3)
    return len(count_all(settings, feed.sent).lost)
