"""What becomes of a batch: records admitted, deferred or shed, and events. No I/O, no clock; decides on headers alone.

A record whose headers cannot be read, or belie its key or its topic, goes unchanged to the admitted topic of the lane that
it came in: the sink dead-letters it, with its bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pganalytics.schemas.errors import HeaderError
from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.headers import HEARTBEAT, Headers, stamp
from pganalytics.schemas.identity import Identity, Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.streams import quota
from pganalytics.streams.bounded import Bounded
from pganalytics.streams.controller import Controller
from pganalytics.streams.events import make_event
from pganalytics.streams.lanes import Destination, Facts, choose, topic_of
from pganalytics.streams.quota import Account, Limits, Load, Verdict
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.records import Arrival, HeaderPairs, Outgoing, Partition
from pganalytics.streams.rules import Rules
from pganalytics.streams.watch import Terms, Watch

MOST_COLLECTORS = 50_000
OURS = frozenset(name for name, _ in stamp(0, 0))
HELD = {Verdict.DEFERRED: EventKind.DEFERRED, Verdict.SHED: EventKind.SHED}
OVER_QUOTA, BY_RULE, BEYOND_CEILING = "over quota", "a rule defers it", "beyond the ceiling of its quota"


@dataclass(slots=True)
class Run:
    """Consecutive seqs of one sequence that had one fate in this batch, for one reason. `first` is the record that began it."""

    first: Arrival
    why: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What is sent for one batch. `records`: one for each arrival, in its order, None where it is shed. `events`: after them.
    `orders`: for agents."""

    records: list[Outgoing | None]
    events: list[Event]
    orders: list[Outgoing] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What has been decided of a batch so far."""

    records: list[Outgoing | None] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    held: dict[tuple[EventKind, Stream], list[Run]] = field(default_factory=dict)
    orders: list[Outgoing] = field(default_factory=list)


class Processor:
    """Holds what is known of collectors, in memory and bounded; what a restart forgets is one burst, and holes not yet seen.

    `rules` may be replaced at any time, by any thread.
    """

    def __init__(
        self,
        topics: Topics,
        quotas: Quotas,
        terms: Terms,
        *,
        rules: Rules | None = None,
        controller: Controller | None = None,
    ) -> None:
        self.rules = rules or Rules()
        self.controller = controller or Controller(topics, None)
        self._topics = topics
        self._quotas = quotas
        self._accounts: Bounded[str, Account] = Bounded(MOST_COLLECTORS)
        self.watch = Watch(topics, terms, self._is_over_quota)

    def begin(self, starts: Mapping[Partition, int]) -> None:
        """Reading of these partitions begins at these offsets, after an assignment."""
        for partition, offset in starts.items():
            self.watch.begin(partition, offset)

    def process(self, arrivals: Iterable[Arrival]) -> Decided:
        """Decide on a batch; everything returned must be acknowledged before the batch counts as finished."""
        outcome = Outcome()
        for arrival in arrivals:
            outcome.events += self.watch.see(arrival)
            headers = read_headers(arrival)
            if headers is None:
                topic = self._topics.admitted(arrival.lane)
                outcome.records.append(Outgoing(topic, arrival.partition, arrival.key, arrival.value, arrival.headers))
            else:
                self._decide(arrival, headers, outcome)
        events = outcome.events + [_held(kind, stream, run) for (kind, stream), runs in outcome.held.items() for run in runs]
        return Decided(outcome.records, events, outcome.orders)

    def _decide(self, arrival: Arrival, headers: Headers, outcome: Outcome) -> None:
        who = headers.identity
        outcome.events += self.watch.see_headers(arrival, headers)
        limits = self._quotas.limits_of(who.collector)
        account, verdict = self._judge(arrival, headers, limits)
        self._control(arrival, headers, limits, verdict, outcome)
        if verdict is Verdict.SHED:
            _note_held(outcome, EventKind.SHED, arrival, who, BEYOND_CEILING)
            outcome.records.append(None)
            return
        destination = self._choose(headers, arrival, account, verdict)
        if destination is Destination.DEFERRED:
            _note_held(outcome, EventKind.DEFERRED, arrival, who, OVER_QUOTA if verdict is Verdict.DEFERRED else BY_RULE)
        topic = topic_of(destination, self._topics)
        outcome.records.append(Outgoing(topic, arrival.partition, arrival.key, arrival.value, stamped(arrival)))

    def _judge(self, arrival: Arrival, headers: Headers, limits: Limits) -> tuple[Account, Verdict]:
        collector = headers.identity.collector
        load = Load(
            at_us=arrival.at_us,
            rows=min(headers.rows, arrival.size),  # a row is at least one byte of the body: more than that is a lie
            size=arrival.size,
            critical=arrival.lane is Lane.CRITICAL,
            heartbeat=headers.metric == HEARTBEAT,
            kept=self._quotas.is_kept(headers.metric),
        )
        account, verdict = quota.judge(self._accounts.get(collector), load, limits)
        self._accounts.put(collector, account)
        return account, verdict

    def _choose(self, headers: Headers, arrival: Arrival, account: Account, verdict: Verdict) -> Destination:
        """What is deferred is what goes to that topic, whoever sends it there: the events' ranges must be exactly that."""
        who = headers.identity
        if not self.rules.count:
            return choose(Facts(who.lane, verdict))
        facts = Facts(
            who.lane,
            verdict,
            headers.metric,
            who.collector,
            over_quota=_is_over(account, account.clock_us),
            silent=self.controller.is_silent(who.collector, arrival.at_us),
            open_gap=self.watch.has_open_gap(who.stream),
        )
        return self.rules.choose(facts)

    def _control(self, arrival: Arrival, headers: Headers, limits: Limits, verdict: Verdict, outcome: Outcome) -> None:
        told = self.controller.count(arrival, headers, limits, deferred=verdict is not Verdict.ADMITTED)
        if told is not None:
            outcome.orders.append(told.order)
            outcome.events += [told.event] if told.event is not None else []

    def _is_over_quota(self, collector: str, at_us: int) -> bool:
        account = self._accounts.get(collector)
        return account is not None and _is_over(account, at_us)


def _is_over(account: Account, at_us: int) -> bool:
    return at_us < max(account.deferred_until_us, account.shed_until_us)


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
    return make_event(EventKind.POSITION_OUTSIDE_LOG, first, nobody, detail)


def event_record(topics: Topics, event: Event) -> Outgoing:
    """An event as a record of its topic."""
    return Outgoing(topics.events, None, event.collector.encode(), event.encode())


def _note_held(outcome: Outcome, kind: EventKind, arrival: Arrival, who: Identity, why: str) -> None:
    runs = outcome.held.setdefault((kind, who.stream), [])
    if runs and runs[-1].why == why and runs[-1].low <= who.seq <= runs[-1].high + 1:
        runs[-1].high = max(runs[-1].high, who.seq)
    else:
        runs.append(Run(arrival, why, who.seq, who.seq))


def _held(kind: EventKind, stream: Stream, run: Run) -> Event:
    return make_event(kind, run.first, stream, run.why, Ranges(((run.low, run.high),)))
