"""What the records of a partition tell of gaps and heartbeats, and what time alone tells."""

from dataclasses import replace

import pytest

from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.identity import Lane
from pganalytics.streams.processor import read_headers
from pganalytics.streams.records import Arrival
from pganalytics.streams.watch import Watch
from unit.streams.arrivals import EPOCH, START_US, TERMS, TOPICS, arrival, heartbeat

K = EventKind
SECOND = 1_000_000
CRITICAL = (TOPICS.collected(Lane.CRITICAL), 0)
NORMAL = (TOPICS.collected(Lane.NORMAL), 0)


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND)


class Bench:
    """A watch, and records at seconds after the start; offsets go up by themselves."""

    def __init__(self, *, over_quota: bool = False) -> None:
        self.watch = Watch(TOPICS, TERMS, lambda _, __: over_quota)
        self._offsets = {CRITICAL: 0, NORMAL: 0}

    def see(self, came: Arrival, seconds: float) -> list[Event]:
        came = replace(came, at_us=at(seconds), offset=self._offsets[came.place])
        self._offsets[came.place] += 1
        headers = read_headers(came)
        assert headers is not None
        return self.watch.see(came) + self.watch.see_headers(came, replace(headers, collected_at_us=at(seconds)))

    def advance(self, seconds: float, until: float, partition: tuple[str, int] = CRITICAL) -> list[Event]:
        """Ticks every 15 s."""
        events: list[Event] = []
        while (seconds := seconds + 15) <= until:
            events += self.watch.advance(partition, at(seconds))
        return events


def kinds(events: list[Event]) -> list[tuple[EventKind, str]]:
    return [(event.kind, event.collector) for event in events]


def test_three_heartbeats_absent_are_silence_and_the_next_is_back() -> None:
    bench = Bench()
    told = []
    for seconds in range(0, 300, 30):
        told += bench.see(heartbeat(seconds // 30 + 1, collector="lives"), seconds)
        if seconds <= 60:
            told += bench.see(heartbeat(seconds // 30 + 1, collector="dies"), seconds + 1)
    assert kinds(told) == [(K.SILENT, "dies")]
    [event] = told
    assert (event.at_us, event.offset, event.detail) == (at(61 + 90), 5, "unknown: no heartbeat for 90 s")
    told = bench.see(heartbeat(4, collector="dies"), 300)
    assert kinds(told) == [(K.BACK, "dies")]
    assert told[0].detail == "unknown: a heartbeat came"


def test_silence_is_told_by_time_alone_and_once() -> None:
    bench = Bench()
    bench.see(heartbeat(1), 0)
    assert bench.advance(0, 75) == []
    told = bench.advance(75, 1000)
    assert kinds(told) == [(K.SILENT, "db1")]
    assert (told[0].at_us, told[0].topic, told[0].offset) == (at(90), CRITICAL[0], 0)


def test_time_and_records_tell_silence_with_the_same_id() -> None:
    one, other = Bench(), Bench()
    one.see(heartbeat(1), 0)
    other.see(heartbeat(1), 0)
    by_records = [event for seq in range(1, 8) for event in other.see(heartbeat(seq, collector="db2"), seq * 30)]
    assert [event.id for event in one.advance(0, 200)] == [event.id for event in by_records]


def test_after_an_outage_of_the_broker_nobody_is_silent() -> None:
    """Nothing came from anybody for an hour; that is no silence of one."""
    bench = Bench()
    for number in range(50):
        bench.see(heartbeat(1, collector=f"db{number}"), number / 10)
    assert [event for number in range(50) for event in bench.see(heartbeat(2, collector=f"db{number}"), 3600 + number / 10)] == []
    assert len(bench.advance(3610, 3800)) == 50


@pytest.mark.parametrize(
    ("last", "detail"),
    [
        (heartbeat(1, final=(EPOCH,)), "agent_stopped: no heartbeat for 90 s"),
        (heartbeat(1, up=False), "unknown: no heartbeat for 90 s; target down"),
    ],
)
def test_what_silence_says_of_its_cause(last: Arrival, detail: str) -> None:
    bench = Bench()
    bench.see(last, 0)
    assert [event.detail for event in bench.advance(0, 200)] == [detail]


def test_silence_while_other_lanes_come_is_lag() -> None:
    bench = Bench(over_quota=True)
    bench.see(heartbeat(1), 0)
    bench.see(arrival(1), 40)
    assert [event.detail for event in bench.advance(0, 200)] == ["lag: no heartbeat for 90 s; over quota"]


def test_a_return_with_a_new_epoch_was_a_restart() -> None:
    bench = Bench()
    bench.see(heartbeat(1), 0)
    bench.advance(0, 200)
    told = bench.see(heartbeat(1, epoch=2048), 300)
    assert kinds(told) == [(K.BACK, "db1"), (K.RESTARTED, "db1")]
    assert told[0].detail == f"agent_down: a heartbeat came, of another epoch than {EPOCH}"
    assert (told[1].epoch, told[1].detail) == (2048, f"epoch 2048 follows epoch {EPOCH}")


def test_a_return_with_a_heartbeat_that_had_waited_was_the_network() -> None:
    watch = Watch(TOPICS, TERMS, lambda _, __: False)
    told = []
    for came in (heartbeat(1), heartbeat(2, at_us=at(600), collected_at_us=at(30))):
        headers = read_headers(came)
        assert headers is not None
        told = watch.see(came) + watch.see_headers(came, headers)
        for seconds in range(15, 200, 15):
            watch.advance(CRITICAL, at(seconds))
    assert [(event.kind, event.detail) for event in told] == [(K.BACK, "network: a heartbeat came")]


def test_two_agents_are_both_named() -> None:
    bench = Bench()
    told = [event for turn in range(6) for event in bench.see(heartbeat(turn // 2 + 1, epoch=7 + turn % 2), turn * 15)]
    assert [event.kind for event in told] == [K.RESTARTED, K.CONFLICT]
    assert (told[1].epoch, told[1].detail.split(" take")[0]) == (7, "epochs 8 and 7")


def test_a_clock_is_told() -> None:
    came = heartbeat(1, collected_at_us=at(100))
    watch = Watch(TOPICS, TERMS, lambda _, __: False)
    watch.see(came)
    headers = read_headers(came)
    assert headers is not None
    [event] = watch.see_headers(came, headers)
    assert (event.kind, event.detail) == (K.CLOCK_SKEW, "the agent's clock is ahead of Kafka's by at least 100 s")


def test_a_hole_is_confirmed_in_the_time_of_its_own_lane() -> None:
    bench = Bench()
    bench.see(heartbeat(1), 0)
    bench.see(arrival(1), 0)
    [gap] = bench.see(arrival(4), 10)
    assert (gap.kind, gap.detail) == (K.GAP, "unknown: later records came before these")
    assert [event for event in bench.advance(0, 1000) if event.kind is K.GAP_CONFIRMED] == []
    [filled] = bench.see(arrival(2), 20)
    assert (filled.kind, filled.detail.split(":")[0]) == (K.GAP_FILLED, "network")
    [confirmed] = bench.advance(20, 1000, NORMAL)
    assert (confirmed.kind, str(confirmed.ranges), confirmed.at_us) == (K.GAP_CONFIRMED, "3", at(130))
    assert (confirmed.topic, confirmed.offset) == (NORMAL[0], 1)
    assert confirmed.detail == "unknown: these did not come until the deadline; collector silent"


def test_a_lane_behind_its_heartbeats_is_a_tail_and_they_go_on() -> None:
    bench = Bench()
    told = bench.see(arrival(1), 0)
    for seconds in range(0, 300, 30):
        told += bench.see(heartbeat(seconds // 30 + 1, normal=4, up=False), seconds)
        told += bench.watch.advance(NORMAL, at(seconds))
    [event] = told
    assert (event.kind, str(event.ranges), event.lane, event.topic) == (K.TAIL, "2-4", Lane.NORMAL, CRITICAL[0])
    assert (event.at_us, event.detail.split(":")[0], event.detail.split("; ")[1]) == (at(120), "lag", "target down")


def test_a_lane_that_is_read_later_than_the_heartbeats_is_no_tail() -> None:
    """Its own time decides: ten minutes of heartbeats were read while the lane stands at the first."""
    bench = Bench()
    told = bench.see(arrival(1), 0)
    for seconds in range(0, 600, 30):
        told += bench.see(heartbeat(seconds // 30 + 1, normal=1 + seconds // 30), seconds)
    for seconds in range(30, 600, 30):
        told += bench.see(arrival(1 + seconds // 30), seconds)
    assert told == []


def test_what_a_final_heartbeat_counts_and_did_not_come_is_a_gap() -> None:
    """Also of an older epoch, as far as its own heartbeats had counted."""
    bench = Bench()
    bench.see(arrival(1), 0)
    bench.see(heartbeat(1, normal=3), 0)
    bench.see(heartbeat(1, epoch=2048, epochs=(EPOCH,), final=(EPOCH,)), 30)
    [event] = bench.advance(0, 300, NORMAL)
    assert (event.kind, event.epoch, str(event.ranges)) == (K.GAP_CONFIRMED, EPOCH, "2-3")
    assert event.detail.startswith("unknown: all of this epoch was sent")


def test_what_was_skipped_is_first_sight() -> None:
    """Somebody else had the partition meanwhile: no hole, nobody silent."""
    bench = Bench()
    bench.see(heartbeat(1), 0)
    bench.see(arrival(1), 0)
    bench.watch.begin(CRITICAL, 50)
    bench.watch.begin(NORMAL, 50)
    assert bench.see(arrival(100), 3600) + bench.see(heartbeat(60, epoch=9), 3600) == []
    bench.watch.begin(NORMAL, 2)
    assert kinds(bench.see(arrival(102), 3601)) == [(K.GAP, "db1")]


def test_a_poison_record_moves_time() -> None:
    bench = Bench()
    bench.see(heartbeat(1), 0)
    told = []
    for seconds in range(30, 121, 30):
        told += bench.watch.see(replace(heartbeat(1), headers=(), at_us=at(seconds), offset=seconds))
    assert kinds(told) == [(K.SILENT, "db1")]
