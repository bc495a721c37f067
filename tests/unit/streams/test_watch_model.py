"""Histories of crashes, duplicates, reorderings, late records and quiet times, against a model that counts everything again.

The model keeps every seq that came in a set and every deadline in a list, and shares no code with what is tested.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.identity import Lane
from pganalytics.streams.processor import read_headers
from pganalytics.streams.records import Arrival
from pganalytics.streams.watch import Watch
from unit.streams.arrivals import START_US, TERMS, TOPICS, arrival, heartbeat

SECOND = 1_000_000
STEP_US, CONFIRM_US, SILENT_US = 30 * SECOND, 120 * SECOND, 90 * SECOND
LANES = (Lane.CRITICAL, Lane.NORMAL)
COLLECTORS = ("a", "b")

Told = tuple[EventKind, str, Lane, tuple[int, ...], int, int]
"""Kind, collector, lane, seqs, offset, time."""


@dataclass
class Sequence:
    """`missing`: seq -> offset and time of the record that showed it, and its deadline."""

    came: set[int] = field(default_factory=set)
    first: int = 0
    missing: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    confirmed: set[int] = field(default_factory=set)


@dataclass
class Heart:
    at_us: int
    offset: int
    due_us: int
    seq: int
    silent: bool = False


@dataclass
class Log:
    """One partition of a collected topic, and the model of what was read of it."""

    lane: Lane
    records: list[Arrival] = field(default_factory=list)
    at_us: int = 0
    live_us: int = 0
    sequences: dict[str, Sequence] = field(default_factory=dict)
    hearts: dict[str, Heart] = field(default_factory=dict)
    begun: int = 0

    def forget(self) -> None:
        self.sequences, self.hearts, self.begun = {}, {}, len(self.records)

    def move(self, at_us: int) -> list[Told]:
        if not self.at_us:
            self.at_us = at_us
        self.live_us += min(max(0, at_us - self.at_us), STEP_US)
        self.at_us = max(at_us, self.at_us)
        told: list[Told] = []
        for name, heart in self.hearts.items():
            if not heart.silent and heart.due_us <= self.live_us:
                heart.silent = True
                told.append((EventKind.SILENT, name, Lane.CRITICAL, (), heart.offset, heart.at_us + SILENT_US))
        for name, one in self.sequences.items():
            due = {seq for seq, (_, _, due_us) in one.missing.items() if seq not in one.confirmed and due_us <= self.live_us}
            one.confirmed |= due
            for offset, at in sorted({one.missing[seq][:2] for seq in due}):
                seqs = tuple(sorted(seq for seq in due if one.missing[seq][0] == offset))
                told.append((EventKind.GAP_CONFIRMED, name, self.lane, seqs, offset, at + CONFIRM_US))
        return told

    def take(self, name: str, seq: int, record: Arrival) -> list[Told]:
        told: list[Told] = []
        where = record.offset, record.at_us
        one = self.sequences.setdefault(name, Sequence(first=seq))
        if one.came and seq > max(one.came) + 1:
            gap = range(max(one.came) + 1, seq)
            one.missing |= dict.fromkeys(gap, (*where, self.live_us + CONFIRM_US))
            told.append((EventKind.GAP, name, self.lane, tuple(gap), *where))
        elif seq in one.missing:
            del one.missing[seq]
            told.append((EventKind.GAP_FILLED, name, self.lane, (seq,), *where))
        one.came.add(seq)
        if self.lane is Lane.CRITICAL:
            heart = self.hearts.get(name)
            if heart is None or seq > heart.seq:
                if heart is not None and heart.silent:
                    told.append((EventKind.BACK, name, self.lane, (), *where))
                self.hearts[name] = Heart(record.at_us, record.offset, self.live_us + SILENT_US, seq)
        return told


def as_told(events: Iterable[Event]) -> list[Told]:
    return sorted(
        (event.kind, event.collector, event.lane or Lane.BULK, tuple(event.ranges), event.offset, event.at_us) for event in events
    )


class GapsMachine(RuleBasedStateMachine):
    """Records are emitted in order and appended at once, later, twice or never."""

    @initialize()
    def begin(self) -> None:
        self.logs = {lane: Log(lane) for lane in LANES}
        self.emitted = {(name, lane): 0 for name in COLLECTORS for lane in LANES}
        self.late: list[tuple[str, Lane, int]] = []
        self.appended: list[tuple[str, Lane, int]] = []
        self.now_us = START_US
        self.crash()

    @rule()
    def crash(self) -> None:
        """A new process goes on behind the last record: first sight of everything."""
        self.watch = Watch(TOPICS, TERMS, lambda _, __: False)
        for log in self.logs.values():
            log.forget()
            log.at_us = 0

    @rule(name=st.sampled_from(COLLECTORS), lane=st.sampled_from(LANES), lost=st.integers(0, 3))
    def emit(self, name: str, lane: Lane, lost: int) -> None:
        """Some are not appended now."""
        for _ in range(lost):
            self.emitted[name, lane] += 1
            self.late.append((name, lane, self.emitted[name, lane]))
        self.emitted[name, lane] += 1
        self.append(name, lane, self.emitted[name, lane])

    @rule(which=st.integers(0, 99))
    def come_late(self, which: int) -> None:
        if self.late:
            self.append(*self.late.pop(which % len(self.late)))

    @rule(which=st.integers(0, 99))
    def come_twice(self, which: int) -> None:
        if self.appended:
            self.append(*self.appended[which % len(self.appended)])

    @rule(seconds=st.sampled_from([1, 10, 31, 100, 1000]))
    def wait(self, seconds: int) -> None:
        self.now_us += seconds * SECOND

    @rule(lane=st.sampled_from(LANES), seconds=st.sampled_from([1, 20, 40, 200]))
    def tick(self, lane: Lane, seconds: int) -> None:
        """Nothing is unread, and it is late."""
        self.now_us += seconds * SECOND
        log = self.logs[lane]
        place = TOPICS.collected(lane), 0
        if place in self.watch.times:
            assert as_told(self.watch.advance(place, self.now_us)) == sorted(log.move(self.now_us))

    @rule(lane=st.sampled_from(LANES), back=st.integers(1, 9))
    def read_again(self, lane: Lane, back: int) -> None:
        """A rebalance gives back what was not committed: nothing new is told."""
        log = self.logs[lane]
        again = log.records[log.begun :][-back:]
        if again:
            self.watch.begin((TOPICS.collected(lane), 0), again[0].offset)
            assert [event for each in again for event in self.seen(each)] == []

    @rule(lane=st.sampled_from(LANES))
    def somebody_else_reads(self, lane: Lane) -> None:
        log = self.logs[lane]
        log.records.append(arrival(1, offset=len(log.records), at_us=self.now_us, lane=lane, collector="of another"))
        self.watch.begin((TOPICS.collected(lane), 0), len(log.records))
        log.forget()

    def append(self, name: str, lane: Lane, seq: int) -> None:
        log = self.logs[lane]
        make = heartbeat if lane is Lane.CRITICAL else arrival
        if (name, lane, seq) not in self.appended:
            self.appended.append((name, lane, seq))
        made_us = START_US - 10**9 + seq
        record = make(seq, collector=name, offset=len(log.records), at_us=self.now_us, collected_at_us=made_us)
        log.records.append(record)
        expected = log.move(record.at_us) + log.take(name, seq, record)
        told = [event for event in self.seen(record) if event.kind is not EventKind.CLOCK_SKEW]
        assert as_told(told) == sorted(expected)

    def seen(self, record: Arrival) -> list[Event]:
        headers = read_headers(record)
        assert headers is not None
        return self.watch.see(record) + self.watch.see_headers(record, headers)


GapsMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestGaps = GapsMachine.TestCase
