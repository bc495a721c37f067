"""What the store knows of the fleet and of the pipeline, for one screen."""

from dataclasses import dataclass

import psycopg

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.settings import Settings
from pganalytics.sink import store
from pganalytics.sink.audit import read_audit
from pganalytics.sink.connection import StoreConnection, open_or_explain
from pganalytics.sink.outages import first_line
from pganalytics.sink.report import AuditReport
from pganalytics.sink.statements import statement

LATELY_S = 900.0
NEEDED = ("heartbeat", "metric_status", "statements")


@dataclass(frozen=True, slots=True)
class Collector:
    """One collector by its newest heartbeat. `agent` is empty and `up` None when that heartbeat is not in the tables any more.

    `ended`: its newest epoch has ended. `unreadable`: metrics that cannot be read, `reason` that of the first. `coverage`: the
    worst share of statements' time that was sent in detail lately; None when there was none.
    """

    name: str
    heartbeat_age_s: float
    ended: bool
    agent: str
    up: bool | None
    error: str
    spool_records: int
    spool_bytes: int
    unreadable: int
    reason: str
    coverage: float | None


@dataclass(frozen=True, slots=True)
class Noticed:
    """Events of one kind of one collector in the last LATELY_S. `last_age_s`: of the newest."""

    collector: str
    kind: str
    count: int
    last_age_s: float


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the store says."""

    collectors: tuple[Collector, ...]
    events: tuple[Noticed, ...]
    audit: AuditReport


def read_overview(settings: Settings) -> Overview:
    """Ask the store; raises Unreachable with one line that names it and the cure."""
    store.check(settings)
    with open_or_explain(settings.store, name="status") as connection:
        try:
            events = connection.execute(statement("status_events"), [LATELY_S]).fetchall()
            return Overview(_collectors(connection), tuple(Noticed(*row) for row in events), read_audit(connection, None))
        except psycopg.OperationalError as error:
            raise Unreachable(f"store {settings.store.host}:{settings.store.port}: {first_line(error)}: try again") from error


def _collectors(connection: StoreConnection) -> tuple[Collector, ...]:
    """None as long as no agent has sent what is asked for: tables are made with their first record."""
    there = connection.execute(
        "select count(*) from unnest($1::text[]) as n (name) where to_regclass('metrics.' || n.name) is not null", [list(NEEDED)]
    ).fetchone()
    text = statement("status_collectors") if there == (len(NEEDED),) else statement("status_epochs")
    rows = connection.execute(text).fetchall()
    return tuple(
        Collector(name, age_s, ended, agent or "", up, error or "", records or 0, size or 0, unreadable, reason, coverage)
        for name, age_s, ended, agent, up, error, records, size, unreadable, reason, coverage in rows
    )
