"""Counts what each collector sends, looks at it once per interval, and makes the orders and their events. No I/O, no clock.

A collector's pace is what it sent between two looks, by the time that it took to *read* that: a spool released after an outage
holds hours of readings and says nothing of too short intervals. So the time between looks is the broker's or, where the
collector's own times lie further apart, theirs; whoever forges those only spares himself an order, not the quota.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pganalytics.schemas.control import Control, Reason
from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.headers import HEARTBEAT, Headers
from pganalytics.schemas.topics import Topics
from pganalytics.streams.bounded import Bounded
from pganalytics.streams.control import Look, Policy, State, look_at, restored
from pganalytics.streams.events import make_event
from pganalytics.streams.quota import TOKEN, Limits
from pganalytics.streams.records import Arrival, Outgoing

MOST_COLLECTORS = 50_000
SILENT_US = 90_000_000
"""Three heartbeats."""
WHY = {Reason.QUOTA: "it stays over its quota", Reason.LAG: "the sink is far behind", Reason.CALM: "it may"}


@dataclass(slots=True)
class Tally:
    """One collector since `since_us`: what it sent, of that what was deferred, and the earliest and latest time of reading.
    `beat_us`: its last heartbeat; 0 before the first."""

    since_us: int
    earliest_us: int
    latest_us: int
    records: int = 0
    rows: int = 0
    size: int = 0
    deferred: int = 0
    beat_us: int = 0

    def load(self, elapsed_us: int, limits: Limits) -> float:
        """Its pace as a multiple of its quota: the worst of records, rows and bytes."""
        took_us = max(elapsed_us, self.latest_us - self.earliest_us, 1)
        amounts = zip((self.records, self.rows, self.size), limits.earned, strict=True)
        return max(amount * TOKEN / (earned * took_us) for amount, earned in amounts)


@dataclass(frozen=True, slots=True)
class Told:
    """An order for the topic `control`, and the event of a change; None when an order is only given again."""

    order: Outgoing
    event: Event | None


class Controller:
    """For one worker and one thread. `lag`: the sink's by partition, as a share of the retention; another thread may replace
    the mapping. `now_us`: when the newest record was appended. Without a `policy` nobody is told anything."""

    def __init__(self, topics: Topics, policy: Policy | None) -> None:
        self.lag: Mapping[int, float] = {}
        self.now_us = 0
        self._topics = topics
        self._policy = policy
        self._tallies: Bounded[str, Tally] = Bounded(MOST_COLLECTORS)
        self._states: Bounded[str, State] = Bounded(MOST_COLLECTORS)

    def adopt(self, orders: Mapping[str, tuple[Control, int]]) -> None:
        """Go on where others, or this process before it was restarted, left off: the newest orders and their append times."""
        newest = sorted(orders.items(), key=lambda each: each[1][1])[-MOST_COLLECTORS:]
        for collector, (control, appended_us) in newest:
            known = self._states.get(collector)
            if known is None or known.version < control.version:
                self._states.put(collector, restored(control, appended_us))

    def count(self, arrival: Arrival, headers: Headers, limits: Limits, *, deferred: bool) -> Told | None:
        """Take a record into account, after looking at what came before it when it is time to."""
        collector = headers.identity.collector
        self.now_us = max(self.now_us, arrival.at_us)
        tally, told = self._tallies.get(collector), None
        if tally is None:
            tally = self._start(collector, arrival.at_us, headers, 0)
        elif self._policy is not None and arrival.at_us - tally.since_us >= self._policy.interval_us:
            told = self._look(arrival, collector, tally, limits)
            tally = self._start(collector, arrival.at_us, headers, tally.beat_us)
        tally.records += 1
        tally.rows += headers.rows
        tally.size += arrival.size
        tally.deferred += deferred
        tally.earliest_us = min(tally.earliest_us, headers.collected_at_us)
        tally.latest_us = max(tally.latest_us, headers.collected_at_us)
        if headers.metric == HEARTBEAT:
            tally.beat_us = max(tally.beat_us, arrival.at_us)
        return told

    def is_silent(self, collector: str, at_us: int) -> bool:
        """Whether a collector that sent heartbeats before has sent none for a while."""
        tally = self._tallies.get(collector)
        return tally is not None and 0 < tally.beat_us < at_us - SILENT_US

    def slowed(self) -> int:
        """Collectors that are told to read less often."""
        return sum(state.pressure > 1 for state in self._states.values())

    def _start(self, collector: str, at_us: int, headers: Headers, beat_us: int) -> Tally:
        tally = Tally(at_us, headers.collected_at_us, headers.collected_at_us, beat_us=beat_us)
        self._tallies.put(collector, tally)
        return tally

    def _look(self, arrival: Arrival, collector: str, tally: Tally, limits: Limits) -> Told | None:
        policy, before = self._policy, self._states.get(collector)
        if policy is None or (before is not None and arrival.at_us <= before.told_us):
            return None  # processed again after a restart: what came of it is known
        look = Look(
            at_us=arrival.at_us,
            load=tally.load(arrival.at_us - tally.since_us, limits),
            deferred=tally.deferred / max(1, tally.records),
            lag=self.lag.get(arrival.partition, 0.0),
        )
        state, control = look_at(before or State(), look, policy)
        if before is not None or state != State():
            self._states.put(collector, state)
        if control is None:
            return None
        order = Outgoing(self._topics.control, None, collector.encode(), control.encode())
        changed = (before or State()).pressure != state.pressure
        return Told(order, _event(arrival, collector, control) if changed else None)


def _event(arrival: Arrival, collector: str, control: Control) -> Event:
    detail = f"intervals {control.normal:.2f} times as long: {WHY[control.reason]}"
    if control.rows:
        detail += f"; at most {control.rows} rows in detail"
    if control.pressure == 1:
        detail = "intervals as the settings say"
    kind = EventKind.SLOWED if control.pressure > 1 else EventKind.RESUMED
    return make_event(kind, arrival, collector, detail)
