"""What becomes of a batch: admitted or deferred records, and events. No I/O, no clock; decides on headers alone.

A record whose headers cannot be read, or belie its key or its topic, goes unchanged to the admitted topic of the lane that
it came in: the sink dead-letters it, with its bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pganalytics.schemas.errors import HeaderError
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.headers import HEARTBEAT, Headers, stamp
from pganalytics.schemas.identity import Identity, Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.streams import gaps, quota
from pganalytics.streams.bounded import Bounded
from pganalytics.streams.controller import Controller
from pganalytics.streams.gaps import Change, Sight
from pganalytics.streams.lanes import Destination, Facts, choose, topic_of
from pganalytics.streams.quota import Account, Limits, Load, Verdict
from pganalytics.streams.records import Arrival, HeaderPairs, Outgoing
from pganalytics.streams.rules import Rules

MOST_COLLECTORS = 50_000
MOST_SEQUENCES = 200_000
OURS = frozenset(name for name, _ in stamp(0, 0))
OVER_QUOTA, BY_RULE = "over quota", "a rule defers it"
KIND = {Change.OPENED: EventKind.GAP, Change.FILLED: EventKind.GAP_FILLED}


@dataclass(slots=True)
class Run:
    """Consecutive seqs of one sequence that were deferred in this batch, for one reason. `first` is the record that began it."""

    first: Arrival
    why: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What is sent for one batch. `records`: one for each arrival, in its order. `events`: to be sent after them. `orders`: for
    agents."""

    records: list[Outgoing]
    events: list[Event]
    orders: list[Outgoing] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What has been decided of a batch so far."""

    records: list[Outgoing] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    deferred: dict[Stream, list[Run]] = field(default_factory=dict)
    orders: list[Outgoing] = field(default_factory=list)


class Processor:
    """Holds what is known of collectors, in memory and bounded; what a restart forgets is one burst, and holes not yet seen.

    `rules` may be replaced at any time, by any thread.
    """

    def __init__(
        self, topics: Topics, limits: Limits, *, rules: Rules | None = None, controller: Controller | None = None
    ) -> None:
        self.rules = rules or Rules()
        self.controller = controller or Controller(topics, None)
        self._topics = topics
        self._limits = limits
        self._accounts: Bounded[str, Account] = Bounded(MOST_COLLECTORS)
        self._sights: Bounded[Stream, Sight] = Bounded(MOST_SEQUENCES)

    def process(self, arrivals: Iterable[Arrival]) -> Decided:
        """Decide on a batch; everything returned must be acknowledged before the batch counts as finished."""
        outcome = Outcome()
        for arrival in arrivals:
            headers = read_headers(arrival)
            if headers is None:
                topic = self._topics.admitted(arrival.lane)
                outcome.records.append(Outgoing(topic, arrival.partition, arrival.key, arrival.value, arrival.headers))
            else:
                self._decide(arrival, headers, outcome)
        events = outcome.events + [_deferred(stream, run) for stream, runs in outcome.deferred.items() for run in runs]
        return Decided(outcome.records, events, outcome.orders)

    def _decide(self, arrival: Arrival, headers: Headers, outcome: Outcome) -> None:
        who = headers.identity
        self._watch(arrival, who, outcome)
        exempt = who.lane is Lane.CRITICAL or headers.metric == HEARTBEAT
        load = Load(arrival.at_us, headers.rows, arrival.size, exempt)
        account, verdict = quota.judge(self._accounts.get(who.collector), load, self._limits)
        self._accounts.put(who.collector, account)
        self._control(arrival, headers, verdict, outcome)
        destination = self._choose(headers, arrival, account, verdict)
        if destination is Destination.DEFERRED:
            _note_deferred(outcome, arrival, who, OVER_QUOTA if verdict is Verdict.DEFERRED else BY_RULE)
        topic = topic_of(destination, self._topics)
        outcome.records.append(Outgoing(topic, arrival.partition, arrival.key, arrival.value, stamped(arrival)))

    def _choose(self, headers: Headers, arrival: Arrival, account: Account, verdict: Verdict) -> Destination:
        """What is deferred is what goes to that topic, whoever sends it there: the events' ranges must be exactly that."""
        who = headers.identity
        if not self.rules.count:
            return choose(Facts(who.lane, verdict))
        sight = self._sights.get(who.stream)
        facts = Facts(
            who.lane,
            verdict,
            headers.metric,
            who.collector,
            over_quota=account.clock_us < account.deferred_until_us,
            silent=self.controller.is_silent(who.collector, arrival.at_us),
            open_gap=sight is not None and bool(sight.holes.spans),
        )
        return self.rules.choose(facts)

    def _control(self, arrival: Arrival, headers: Headers, verdict: Verdict, outcome: Outcome) -> None:
        told = self.controller.count(arrival, headers, self._limits, deferred=verdict is not Verdict.ADMITTED)
        if told is not None:
            outcome.orders.append(told.order)
            outcome.events += [told.event] if told.event is not None else []

    def _watch(self, arrival: Arrival, who: Identity, outcome: Outcome) -> None:
        stream = who.stream
        sight, finding = gaps.see(self._sights.get(stream), who.seq)
        self._sights.put(stream, sight)
        if finding is not None:
            outcome.events.append(_event(KIND[finding.change], arrival, stream, finding.ranges, ""))


def read_headers(arrival: Arrival) -> Headers | None:
    """The headers; None when they cannot be read, or when key or topic say something else."""
    try:
        headers = Headers.decode(arrival.headers)
    except HeaderError:
        return None
    who = headers.identity
    if who.lane is not arrival.lane or arrival.key != who.collector.encode():
        return None
    return headers


def stamped(arrival: Arrival) -> HeaderPairs:
    """The record's headers with ours; what a sender put there under these names is replaced."""
    kept = [header for header in arrival.headers if header[0] not in OURS]
    return [*kept, *stamp(arrival.at_us, arrival.offset)]


def position_outside_log(topics: Topics, first: Arrival, detail: str) -> Event:
    """The event of a committed offset that the log does not have; `first` is the record with which reading goes on."""
    nobody = f"{topics.prefix}.streams"
    return Event(
        kind=EventKind.POSITION_OUTSIDE_LOG,
        source=Source.STREAMS,
        at_us=first.at_us,
        collector=nobody,
        epoch=0,
        lane=None,
        ranges=Ranges(),
        topic=first.topic,
        partition=first.partition,
        offset=first.offset,
        detail=detail,
    )


def event_record(topics: Topics, event: Event) -> Outgoing:
    """An event as a record of its topic."""
    return Outgoing(topics.events, None, event.collector.encode(), event.encode())


def _note_deferred(outcome: Outcome, arrival: Arrival, who: Identity, why: str) -> None:
    runs = outcome.deferred.setdefault(who.stream, [])
    if runs and runs[-1].why == why and runs[-1].low <= who.seq <= runs[-1].high + 1:
        runs[-1].high = max(runs[-1].high, who.seq)
    else:
        runs.append(Run(arrival, why, who.seq, who.seq))


def _deferred(stream: Stream, run: Run) -> Event:
    return _event(EventKind.DEFERRED, run.first, stream, Ranges(((run.low, run.high),)), run.why)


def _event(kind: EventKind, arrival: Arrival, stream: Stream, ranges: Ranges, detail: str) -> Event:
    return Event(
        kind=kind,
        source=Source.STREAMS,
        at_us=arrival.at_us,
        collector=stream.collector,
        epoch=stream.epoch,
        lane=stream.lane,
        ranges=ranges,
        topic=arrival.topic,
        partition=arrival.partition,
        offset=arrival.offset,
        detail=detail,
    )
