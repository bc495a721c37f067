"""The audit by the ledger: what became of every record that heartbeats named or that the sink saw."""

import time

from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.sink import store
from pganalytics.sink.connection import StoreConnection, open_or_explain
from pganalytics.sink.epoch_ends import read_odd_epochs
from pganalytics.sink.multiranges import from_multirange
from pganalytics.sink.report import AuditReport, Counts, DeadReason, Finding, OddThings, report
from pganalytics.sink.statements import statement

PAUSE_S = 0.5


def audit(settings: Settings, *, collector: str | None = None) -> AuditReport:
    """Count by the ledger; raises Unreachable, SettingsError. What is on its way is not looked for: `deep_audit` does."""
    store.check(settings)
    with open_or_explain(settings.store, name="audit") as connection:
        return read_audit(connection, collector)


def wait_until_settled(settings: Settings, *, timeout_s: float, collector: str | None = None) -> AuditReport:
    """Audit until nothing is in a spool or in Kafka, or the time is up; the last report. Raises Unreachable."""
    deadline = time.monotonic() + timeout_s
    store.check(settings)
    with open_or_explain(settings.store, name="audit") as connection:
        while True:
            found = read_audit(connection, collector)
            left_s = deadline - time.monotonic()
            if (found.total.settled and found.absent is None) or left_s <= 0:
                return found
            time.sleep(min(PAUSE_S, left_s))


def read_audit(connection: StoreConnection, collector: str | None) -> AuditReport:
    """One reading. Counts and ranges are of one moment."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        rows = connection.execute(statement("audit"), [collector]).fetchall()
        missing = connection.execute(statement("missing_read"), [collector]).fetchall()
        odd = read_odd_things(connection, collector)
    counts = [(name, Counts(*map(int, numbers))) for name, *numbers in rows]
    findings = [Finding("missing", Stream(name, epoch, Lane(lane)), from_multirange(seqs)) for name, epoch, lane, seqs in missing]
    return report(counts, deep=False, collector=collector, findings=findings, odd=odd)


def read_odd_things(connection: StoreConnection, collector: str | None) -> OddThings:
    """Epochs that did not end as they should, and why records are dead."""
    reasons = connection.execute(statement("dead_reasons"), [collector]).fetchall()
    return OddThings(tuple(read_odd_epochs(connection, collector)), tuple(DeadReason(*row) for row in reasons))
