"""The deep audit's arithmetic: every record is exactly one thing, and what is nowhere is named."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.deep_audit import StreamFacts, weigh
from pganalytics.sink.report import AuditReport, Counts
from pganalytics.sink.snapshot import LedgerRow, StoredRows

STREAM = Stream("c", 1, Lane.NORMAL)
FATES = (
    "stored",
    "dead",
    "shed",
    "missing",
    "lost",
    "deferred_lost",
    "found",
    "found_unsent",
    "shed_unread",
    "spool",
    "row_gone",
    "double",
)


def numbers(fates: list[str], *wanted: str) -> Ranges:
    return Ranges.numbers(seq for seq, fate in enumerate(fates, 1) if fate in wanted)


def facts_of(fates: list[str]) -> StreamFacts:
    """A stream in which seq 1, 2, 3... met these fates."""
    stored = numbers(fates, "stored", "row_gone", "double")
    rows = numbers(fates, "stored", "double")
    return StreamFacts(
        ledger=LedgerRow(
            emitted=len(fates),
            stored=stored,
            dead=numbers(fates, "dead"),
            shed=numbers(fates, "shed"),
            missing=numbers(fates, "missing"),
            deferred=numbers(fates, "deferred_lost"),
            sent=Ranges.of([(1, len(fates))]) - numbers(fates, "spool", "found_unsent", "deferred_lost"),
        ),
        rows=StoredRows(count=len(rows) + fates.count("double"), seqs=rows, twice=numbers(fates, "double")),
        found=numbers(fates, "found", "found_unsent"),
        shed=numbers(fates, "shed_unread"),
    )


def weighed(facts: StreamFacts) -> AuditReport:
    return weigh({STREAM: facts}, collector=None)


@given(st.lists(st.sampled_from(FATES), max_size=40))
def test_every_fate_is_counted_as_what_it_is(fates: list[str]) -> None:
    report = weighed(facts_of(fates))
    count = report.total
    assert count.balanced
    assert count == Counts(
        emitted=len(fates),
        stored=sum(fates.count(fate) for fate in ("stored", "double")),
        dead=fates.count("dead"),
        shed=fates.count("shed"),
        in_spool=fates.count("spool"),
        in_kafka=sum(fates.count(fate) for fate in ("found", "found_unsent", "shed_unread")),
        missing=sum(fates.count(fate) for fate in ("missing", "lost", "deferred_lost", "row_gone")),
        duplicates=fates.count("double"),
    )
    assert report.ok == (not count.missing and not count.duplicates)
    named = {finding.what: finding.seqs for finding in report.findings}
    assert named.get("missing", Ranges()) == numbers(fates, "missing", "lost", "deferred_lost")
    assert named.get("row_missing", Ranges()) == numbers(fates, "row_gone")
    assert named.get("double", Ranges()) == numbers(fates, "double")


def test_rows_that_retention_dropped_are_not_missed() -> None:
    ledger = LedgerRow(emitted=10, stored=Ranges.of([(1, 10)]))
    rows = Ranges.of([(5, 10)])
    assert weighed(StreamFacts(ledger, StoredRows(6, rows, dropped=4))).ok
    report = weighed(StreamFacts(ledger, StoredRows(6, rows, dropped=3)))
    assert report.total.missing == 1
    assert (report.findings[0].what, report.findings[0].exact) == ("row_missing", False)


def test_rows_that_the_ledger_does_not_know_are_double() -> None:
    report = weighed(StreamFacts(rows=StoredRows(2, Ranges.of([(1, 2)]))))
    assert report.total.duplicates == 2
    assert not report.ok


def test_a_missing_row_does_not_hide_a_double_one() -> None:
    """Counts alone would cancel."""
    ledger = LedgerRow(emitted=3, stored=Ranges.of([(1, 3)]))
    report = weighed(StreamFacts(ledger, StoredRows(3, Ranges.of([(1, 2)]), twice=Ranges.numbers([1]))))
    assert (report.total.missing, report.total.duplicates) == (1, 1)


def test_an_unread_heartbeat_reveals_a_lost_tail() -> None:
    ledger = LedgerRow(emitted=3, stored=Ranges.of([(1, 3)]))
    rows = StoredRows(3, Ranges.of([(1, 3)]))
    report = weighed(StreamFacts(ledger, rows, emitted=6, sent=Ranges.of([(1, 5)])))
    assert report.total == Counts(emitted=6, stored=3, missing=2, in_spool=1)


def test_a_record_above_all_counts_raises_them() -> None:
    report = weighed(StreamFacts(found=Ranges.numbers([3])))
    assert report.total == Counts(emitted=3, in_kafka=1, in_spool=2)


def test_a_collector_that_was_never_seen_is_not_well() -> None:
    report = weigh({}, collector="nobody")
    assert not report.ok
    assert report.to_json()["absent"] == "nobody"
