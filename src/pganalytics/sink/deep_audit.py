"""The audit that trusts nothing: it looks for what is on its way, and counts the rows of the tables.

The order makes it right while everything runs: first the store as it is at one moment, then the streams' commits, then
the ends of the collected topics (the critical lane first), then the ends of the admitted topics and of the events. What
a commit says is done was delivered before it; so every record lies before one of these ends, or the store has it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka.admin import AdminClient

from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.kafka import admin
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import LANES, Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.sink import store
from pganalytics.sink.catalogue import READ_TIMEOUT_S, Catalogue
from pganalytics.sink.log_ends import commits, log_ends, log_starts
from pganalytics.sink.records import Partition, Span
from pganalytics.sink.report import NOTHING_ODD, AuditReport, Counts, Finding, OddThings, report
from pganalytics.sink.shares import weights
from pganalytics.sink.snapshot import LedgerRow, StoredRows, StoreSnapshot, read_snapshot
from pganalytics.sink.unread import Unread, read_spans


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """All that is known of one stream. `found`: seqs of records that lie unread in Kafka; `shed`: of unread shed events."""

    ledger: LedgerRow = field(default_factory=LedgerRow)
    rows: StoredRows = field(default_factory=StoredRows)
    found: Ranges = field(default_factory=Ranges)
    shed: Ranges = field(default_factory=Ranges)
    emitted: int = 0
    sent: Ranges = field(default_factory=Ranges)


def deep_audit(settings: Settings, *, collector: str | None = None) -> AuditReport:
    """Count everything independently; raises Unreachable, SettingsError."""
    store.check(settings)
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    snapshot = read_snapshot(settings.store, collector)
    client = admin(settings.kafka)
    collected, ends = _spans_of_collected(settings, topics, client)
    admitted = _spans_of_admitted(settings, topics, client, snapshot.positions)
    unread = Unread()
    with CompactedReader(settings.kafka, topics.schemas, name="audit-schemas") as texts:
        catalogue = Catalogue(texts)
        catalogue.add(snapshot.schemas)
        catalogue.read_all(READ_TIMEOUT_S)
        for message in read_spans(settings.kafka, {**collected, **admitted}):
            unread.note(message, catalogue.known, topics=topics, ends=ends)
    return weigh(facts(snapshot, unread, collector), collector=collector, odd=snapshot.odd)


def facts(snapshot: StoreSnapshot, unread: Unread, collector: str | None) -> dict[Stream, StreamFacts]:
    """What is known, by stream. Pure."""
    found = {stream: Ranges.numbers(seqs) for stream, seqs in unread.seqs.items()}
    emitted: dict[Stream, int] = {}
    sent: dict[Stream, Ranges] = {}
    for beat in unread.beats:
        for stream, highest in beat.emitted.items():
            emitted[stream] = max(emitted.get(stream, 0), highest)
            sent[stream] = sent.get(stream, Ranges()) | beat.sent[stream]
    streams = {*snapshot.ledger, *snapshot.rows, *found, *unread.shed, *emitted}
    return {
        stream: StreamFacts(
            ledger=snapshot.ledger.get(stream, LedgerRow()),
            rows=snapshot.rows.get(stream, StoredRows()),
            found=found.get(stream, Ranges()),
            shed=unread.shed.get(stream, Ranges()),
            emitted=emitted.get(stream, 0),
            sent=sent.get(stream, Ranges()),
        )
        for stream in sorted(streams)
        if collector is None or stream.collector == collector
    }


def weigh(known: Mapping[Stream, StreamFacts], *, collector: str | None, odd: OddThings = NOTHING_ODD) -> AuditReport:
    """The report. Pure."""
    counts: list[tuple[str, Counts]] = []
    findings: list[Finding] = []
    for stream, fact in known.items():
        count, found = _weigh_stream(stream, fact)
        counts.append((stream.collector, count))
        findings += found
    return report(counts, deep=True, collector=collector, findings=findings, odd=odd)


def _weigh_stream(stream: Stream, fact: StreamFacts) -> tuple[Counts, list[Finding]]:
    ledger, rows = fact.ledger, fact.rows
    settled = ledger.stored | ledger.dead | ledger.shed | ledger.missing
    on_its_way = (fact.found | fact.shed) - settled
    highest = max([ledger.emitted, fact.emitted, *(seqs.spans[-1][1] for seqs in (on_its_way,) if seqs)])
    open_seqs = Ranges.of([(1, highest)]) - settled - on_its_way
    lost = open_seqs & (ledger.sent | fact.sent | ledger.deferred)
    gone = ledger.stored - rows.seqs
    unexplained = max(0, len(gone) - rows.dropped)
    strange = rows.seqs - ledger.stored
    count = Counts(
        emitted=highest,
        stored=len(ledger.stored) - unexplained,
        dead=len(ledger.dead),
        shed=len(ledger.shed),
        in_spool=len(open_seqs - lost),
        in_kafka=len(on_its_way),
        missing=len(ledger.missing) + len(lost) + unexplained,
        duplicates=rows.count - len(rows.seqs) + len(strange),
    )
    named = [
        Finding("missing", stream, ledger.missing | lost),
        Finding("row_missing", stream, gone if unexplained else Ranges(), exact=rows.dropped == 0),
        Finding("double", stream, rows.twice | strange),
    ]
    return count, [finding for finding in named if finding.seqs]


def _spans_of_collected(
    settings: Settings, topics: Topics, client: AdminClient
) -> tuple[dict[Partition, Span], dict[Partition, int]]:
    """What the streams have not finished, and the ends by which heartbeats are judged."""
    timeout_s = settings.kafka.timeout_s
    collected = _partitions(topics, [topics.collected(lane) for lane in LANES])
    done = commits(settings.kafka, f"{topics.prefix}.streams", collected)
    ends: dict[Partition, int] = {}
    for lane in (Lane.CRITICAL, *(lane for lane in LANES if lane is not Lane.CRITICAL)):
        ends |= log_ends(client, _partitions(topics, [topics.collected(lane)]), timeout_s)
    return _spans(client, done, ends, timeout_s), ends


def _spans_of_admitted(
    settings: Settings, topics: Topics, client: AdminClient, positions: Mapping[Partition, int]
) -> dict[Partition, Span]:
    """What the sink has not read."""
    timeout_s = settings.kafka.timeout_s
    ends = log_ends(client, _partitions(topics, weights(topics)), timeout_s)
    return _spans(client, positions, ends, timeout_s)


def _spans(
    client: AdminClient, done: Mapping[Partition, int], ends: Mapping[Partition, int], timeout_s: float
) -> dict[Partition, Span]:
    """From where somebody is to the ends; from the log's start where that is unknown or outside of the log."""
    starts = log_starts(client, ends, timeout_s)
    spans = {}
    for partition, end in ends.items():
        first = done.get(partition, -1)
        spans[partition] = Span(first if starts[partition] <= first <= end else starts[partition], end)
    return spans


def _partitions(topics: Topics, names: Iterable[str]) -> list[Partition]:
    return [(name, number) for name in names for number in range(topics.partitions)]
