"""What becomes of a batch: records admitted, deferred or shed, and events. No I/O, no clock; decides on headers alone.

A record whose headers cannot be read, or belie its key or its topic, goes unchanged to the admitted topic of the lane that
it came in: the sink dead-letters it, with its bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pganalytics.schemas.errors import HeaderError
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.headers import HEARTBEAT, Headers, stamp
from pganalytics.schemas.identity import Identity, Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.streams import quota
from pganalytics.streams.bounded import Bounded
from pganalytics.streams.lanes import Facts, choose, topic_of
from pganalytics.streams.quota import Account, Load, Verdict
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.records import Arrival, HeaderPairs, Outgoing, Partition
from pganalytics.streams.watch import Terms, Watch

MOST_COLLECTORS = 50_000
OURS = frozenset(name for name, _ in stamp(0, 0))
HELD = {Verdict.DEFERRED: EventKind.DEFERRED, Verdict.SHED: EventKind.SHED}
WHY = {EventKind.DEFERRED: "over quota", EventKind.SHED: "beyond the ceiling of its quota"}


@dataclass(slots=True)
class Run:
    """Consecutive seqs of one sequence that had one fate in this batch. `first` is the record that began it."""

    first: Arrival
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What is sent for one batch. `records`: one for each arrival, in its order, None where it is shed. `events`: after them."""

    records: list[Outgoing | None]
    events: list[Event]


@dataclass(slots=True)
class Outcome:
    """What has been decided of a batch so far."""

    records: list[Outgoing | None] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    held: dict[tuple[EventKind, Stream], list[Run]] = field(default_factory=dict)


class Processor:
    """Holds what is known of collectors, in memory and bounded; what a restart forgets is one burst, and holes not yet seen."""

    def __init__(self, topics: Topics, quotas: Quotas, terms: Terms) -> None:
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
        return Decided(outcome.records, events)

    def _decide(self, arrival: Arrival, headers: Headers, outcome: Outcome) -> None:
        who = headers.identity
        outcome.events += self.watch.see_headers(arrival, headers)
        verdict = self._judge(arrival, headers)
        if verdict is not Verdict.ADMITTED:
            _note_held(outcome, HELD[verdict], arrival, who)
        if verdict is Verdict.SHED:
            outcome.records.append(None)
            return
        topic = topic_of(choose(Facts(who.lane, verdict)), self._topics)
        outcome.records.append(Outgoing(topic, arrival.partition, arrival.key, arrival.value, stamped(arrival)))

    def _judge(self, arrival: Arrival, headers: Headers) -> Verdict:
        collector = headers.identity.collector
        load = Load(
            at_us=arrival.at_us,
            rows=min(headers.rows, arrival.size),  # a row is at least one byte of the body: more than that is a lie
            size=arrival.size,
            critical=arrival.lane is Lane.CRITICAL,
            heartbeat=headers.metric == HEARTBEAT,
            kept=self._quotas.is_kept(headers.metric),
        )
        account, verdict = quota.judge(self._accounts.get(collector), load, self._quotas.limits_of(collector))
        self._accounts.put(collector, account)
        return verdict

    def _is_over_quota(self, collector: str, at_us: int) -> bool:
        account = self._accounts.get(collector)
        return account is not None and at_us < max(account.deferred_until_us, account.shed_until_us)


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


def _note_held(outcome: Outcome, kind: EventKind, arrival: Arrival, who: Identity) -> None:
    runs = outcome.held.setdefault((kind, who.stream), [])
    if runs and runs[-1].low <= who.seq <= runs[-1].high + 1:
        runs[-1].high = max(runs[-1].high, who.seq)
    else:
        runs.append(Run(arrival, who.seq, who.seq))


def _held(kind: EventKind, stream: Stream, run: Run) -> Event:
    return _event(kind, run.first, stream, Ranges(((run.low, run.high),)), WHY[kind])


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
