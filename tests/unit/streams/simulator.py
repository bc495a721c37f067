"""Histories through the streams' rules, without Faust and Kafka, each compared with a model that counts everything again.

`make soak ARGS="--histories 100000 --seed 0"` does it with more of them than the tests. Also in one of fifty: a hostile sender,
whom no model follows; but every bound must hold, and every record have one fate.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import LANES, MAX_LONG, Lane
from pganalytics.streams.deadlines import SLACK
from pganalytics.streams.gaps import MOST_HOLES
from pganalytics.streams.processor import Decided, Processor
from pganalytics.streams.pulses import MOST_EPOCHS, MOST_LISTED
from pganalytics.streams.quota import Verdict
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.records import Arrival, Partition
from unit.streams.arrivals import START_US, TERMS, TOPICS, arrival
from unit.streams.quota_model import Quota
from unit.streams.simulated_history import Begin, Change, Crash, Facts, History, Read, Record, Step, Tick, make_history
from unit.streams.simulated_quota import Cashier, overspent
from unit.streams.simulated_watch import Told, Watcher

K = EventKind
HELD = {Verdict.DEFERRED: K.DEFERRED, Verdict.SHED: K.SHED}
FEW = 8
AGAIN = 10
"""One history of so many is done twice, and must tell the same."""


class Broken(AssertionError):
    """Something that must hold does not."""


@dataclass(slots=True)
class Summary:
    """What many histories were and what they met."""

    histories: int = 0
    records: int = 0
    seconds: float = 0.0
    met: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Play:
    """One history, step by step, and all that was told."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._overrides: Mapping[str, Mapping[str, int]] = {}
        self._ids: dict[str, Event] = {}
        self._open: dict[tuple[str, int, str], set[int]] = {}
        self._restart()
        self._periods = self._cashier.periods
        self.told: list[Event] = []
        self.fates: Counter[Verdict] = Counter()

    def _restart(self) -> None:
        self._quotas = Quotas(self._history.default)
        self._processor = Processor(TOPICS, self._quotas, TERMS)
        self._watcher = Watcher()
        self._cashier = Cashier(self._history.default, self._overrides)
        self._change(self._overrides)

    def run(self) -> None:
        """Raises Broken at the first step after which something does not hold."""
        for number, step in enumerate(self._history.steps):
            try:
                self._take(step)
            except Exception as error:
                where = f"step {number} of {len(self._history.steps)}, {type(step).__name__}"
                raise Broken(f"{where}: {type(error).__name__}: {error}") from error
        _equal("holes that were told and neither filled nor confirmed", {k: v for k, v in self._open.items() if v}, {})
        _equal("overspent", [each for each in self._periods if overspent(each)], [])

    def _take(self, step: Step) -> None:
        match step:
            case Read(batch):
                self._read(batch)
            case Crash():
                self._open.clear()
                self._restart()
                self._periods += self._cashier.periods
                self._cashier.periods = self._periods
            case Begin(place, offset):
                if place in self._watcher.logs and offset > self._watcher.logs[place].following:
                    self._void(place)
                self._processor.begin({place: offset})
                self._watcher.begin(place, offset)
            case Tick(place, at_us):
                if place in self._watcher.logs:
                    events = self._processor.watch.advance(place, at_us)
                    self._compare(events, self._watcher.move(place, at_us))
            case Change(overrides):
                self._change(overrides)

    def _void(self, place: Partition) -> None:
        """Somebody else read on: what was open there is the other's to tell."""
        for name, epoch, lane in list(self._open):
            if place == (TOPICS.collected(Lane(lane)), len(name) - 1):
                del self._open[name, epoch, lane]

    def _change(self, overrides: Mapping[str, Mapping[str, int]]) -> None:
        self._overrides = self._cashier.overrides = overrides
        self._quotas.take({name.encode(): json.dumps(each).encode() for name, each in overrides.items()})

    def _read(self, batch: Sequence[Record]) -> None:
        decided = self._processor.process([record.arrival for record in batch])
        expected: list[Told] = []
        held: dict[tuple[EventKind, str, int, str], set[int]] = {}
        fates: list[tuple[Verdict, str | None]] = []
        for record in batch:
            expected += self._watcher.take(record)
            verdict = self._cashier.judge(record) if record.facts is not None else Verdict.ADMITTED
            fates.append((verdict, _topic(verdict, record.arrival.lane)))
            if record.facts is not None and verdict is not Verdict.ADMITTED:
                who = record.facts
                held.setdefault((HELD[verdict], who.collector, who.epoch, who.lane), set()).add(who.seq)
            self.fates[verdict] += 1
        _equal("fates", [record.topic if record else None for record in decided.records], [topic for _, topic in fates])
        check_passed_on(batch, decided)
        _equal("held", held_of(decided.events), held)
        self._compare([event for event in decided.events if event.kind not in HELD.values()], expected)
        self._note(event for event in decided.events if event.kind in HELD.values())

    def _compare(self, events: Sequence[Event], expected: Iterable[Told]) -> None:
        _equal("told", sorted(map(_told, events)), sorted(expected))
        self._note(events)
        for event in events:
            if event.kind is K.CONFLICT and event.collector not in self._history.two_agents:
                raise Broken(f"conflict of {event.collector}, of which there is one agent")
            if event.kind is K.CLOCK_SKEW and event.collector not in self._history.odd_clocks:
                raise Broken(f"the clocks of {event.collector} are right")

    def _note(self, events: Iterable[Event]) -> None:
        """One id is one event, however often it is told."""
        for event in events:
            self.told.append(event)
            if event.kind is K.GAP:
                self._open.setdefault((event.collector, event.epoch, event.lane or ""), set()).update(event.ranges)
            elif event.kind in (K.GAP_FILLED, K.GAP_CONFIRMED):
                self._open.setdefault((event.collector, event.epoch, event.lane or ""), set()).difference_update(event.ranges)
            before = self._ids.setdefault(event.id, event)
            _equal("time of one id", (event.at_us, event.ranges), (before.at_us, before.ranges))


def play(seed: int, summary: Summary) -> None:
    """One seed; raises Broken."""
    history = make_history(seed)
    one = Play(history)
    one.run()
    summary.records += history.records
    summary.met.update(event.kind for event in one.told)
    summary.met.update({fate.value: count for fate, count in one.fates.items()})
    if seed % AGAIN == 0:
        again = Play(history)
        again.run()
        _equal("ids made again", [(e.id, e.detail) for e in again.told], [(e.id, e.detail) for e in one.told])
    if seed % 50 == 0:
        check_bounds(seed)


def simulate(seeds: Iterable[int], *, most_problems: int = 3) -> Summary:
    """Many seeds; a line for each that fails, with the way to see it again, until there are too many."""
    logger = logging.getLogger("pganalytics.streams.quotas")
    level = logger.level
    logger.setLevel(logging.ERROR)
    summary, began = Summary(), time.process_time()
    try:
        for seed in seeds:
            try:
                play(seed, summary)
            except Exception as error:  # noqa: BLE001 - whatever a fault in the rules raises, the seed must be told
                text = " ".join(f"{type(error).__name__}: {error}".split())[:600]
                summary.problems.append(f'{text}; again: make soak ARGS="--histories 1 --seed {seed}"')
                if len(summary.problems) >= most_problems:
                    break
            summary.histories += 1
    finally:
        logger.setLevel(level)
    summary.seconds = time.process_time() - began
    return summary


def describe(summary: Summary) -> list[str]:
    """The report, for people."""
    pace = summary.histories / summary.seconds if summary.seconds else 0.0
    met = ", ".join(f"{name} {count}" for name, count in sorted(summary.met.items()))
    return [
        f"{summary.histories} histories, {summary.records} records, {summary.seconds:.1f} s of one core, {pace:.0f} per second",
        f"met: {met}",
        *(f"PROBLEM {each}" for each in summary.problems),
        f"problems {len(summary.problems)}",
    ]


def check_passed_on(batch: Sequence[Record], decided: Decided) -> None:
    """What goes on has its key, its body and its partition."""
    for record, sent in zip(batch, decided.records, strict=True):
        came = record.arrival
        if sent is not None and (sent.key, sent.value, sent.partition) != (came.key, came.value, came.partition):
            raise Broken(f"a record was altered: {came} became {sent}")


def held_of(events: Iterable[Event]) -> dict[tuple[EventKind, str, int, str], set[int]]:
    """The seqs that events name as deferred or shed."""
    held: dict[tuple[EventKind, str, int, str], set[int]] = {}
    for event in events:
        if event.kind in HELD.values():
            held.setdefault((event.kind, event.collector, event.epoch, event.lane or ""), set()).update(event.ranges)
    return held


def check_bounds(seed: int) -> None:
    """A sender that makes everything up fills no memory, and its records have one fate each."""
    random = Random(seed)
    processor = Processor(TOPICS, Quotas(Quota(1, 50, 400, burst_s=5, critical_burst_s=8, ceiling_s=4)), TERMS)
    maps = (processor._accounts, processor.watch._sights, processor.watch._pulses)
    for each in maps:
        each.most = FEW
    batch = [_forged(random, number) for number in range(300)]
    for first in range(0, len(batch), 50):
        part = batch[first : first + 50]
        decided = processor.process([record.arrival for record in part])
        check_passed_on(part, decided)
        held: dict[tuple[EventKind, str, int, str], set[int]] = {}
        for record, sent in zip(part, decided.records, strict=True):
            if record.facts is not None and (sent is None or sent.topic == TOPICS.deferred):
                who, kind = record.facts, K.SHED if sent is None else K.DEFERRED
                held.setdefault((kind, who.collector, who.epoch, who.lane), set()).add(who.seq)
        _equal("held", held_of(decided.events), held)
        for time_ in processor.watch.times.values():
            time_.deadlines.most = FEW
    _equal("too many entries", [len(each) for each in maps if len(each) > FEW], [])
    sights, known = processor.watch._sights._entries.values(), processor.watch._pulses._entries.values()
    _equal("too many holes", [sight for sight in sights if len(sight.holes) > MOST_HOLES], [])
    _equal("too many epochs", [p for p in known if len(p.known) > MOST_EPOCHS or len(p.listed) > MOST_LISTED], [])
    queues = [each.deadlines for each in processor.watch.times.values()]
    _equal("too many deadlines", [q for q in queues if len(q) > 50 + FEW or len(q._heap) > 2 * (50 + FEW) + SLACK], [])


def _forged(random: Random, number: int) -> Record:
    """Half of it of one sequence with ever more holes, the rest of anybody."""
    lane, name, epoch = random.choice(LANES), f"x{random.randrange(40)}", random.choice((1, 2, random.randint(1, MAX_LONG)))
    seq = random.choice((1, 7, random.randint(1, 10**9), MAX_LONG))
    if number % 2:
        lane, name, epoch, seq = Lane.NORMAL, "y", 1, 2 * number + 1
    beat = None
    if lane is Lane.CRITICAL:
        others = tuple(random.sample(range(1, 2000), 200)) if number % 3 else ()
        beat = HeartbeatFacts(dict.fromkeys(LANES, MAX_LONG), others, others[:100], up=True, control=0)
    metric = "heartbeat" if beat else "database"
    at_us = START_US + number * 100_000
    came: Arrival = arrival(
        seq, collector=name, lane=lane, epoch=epoch, metric=metric, rows=2**40, offset=number, at_us=at_us, beat=beat
    )
    return Record(came, Facts(name, epoch, lane, seq, at_us, metric, 2**40, beat))


def _topic(verdict: Verdict, lane: Lane) -> str | None:
    if verdict is Verdict.SHED:
        return None
    return TOPICS.deferred if verdict is Verdict.DEFERRED else TOPICS.admitted(lane)


def _told(event: Event) -> Told:
    lane = event.lane or ""
    return (event.kind, event.collector, event.epoch, lane, tuple(event.ranges), event.topic, event.offset, event.at_us)


def _equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise Broken(f"{what}: {_different(got, expected)}")


def _different(got: object, expected: object) -> str:
    if isinstance(got, list) and isinstance(expected, list):
        return f"without cause {[e for e in got if e not in expected]}, wanting {[e for e in expected if e not in got]}"
    return f"{got} is not {expected}"
