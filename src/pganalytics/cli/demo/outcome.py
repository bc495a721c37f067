"""What a run of the demo showed: the deep audit and a few figures, all read from the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import psycopg.rows

from pganalytics.cli.demo.breaks import Break, describe
from pganalytics.cli.demo.servers import DemoServers
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.report import AuditReport

FIRST_ROW = """
select extract(epoch from min(pg_xact_commit_timestamp(xmin)))::float8 from metrics.statements where cardinality(queryid) > 0
"""
STATEMENT_ROWS = "select coalesce(sum(cardinality(queryid)), 0)::bigint from metrics.statements"
EVENTS = "select kind, count(*)::bigint from pganalytics.events group by 1 order by 1"
LANES = """
select lane, max(emitted) > 0, sum(coalesce((select sum(upper(s) - lower(s)) from unnest(stored) s), 0)) > 0
from pganalytics.ledger group by 1 order by 1
"""


@dataclass(frozen=True)
class Outcome:
    """`ok` is what the exit code says. Times in seconds; latency is from `collected_at` to the store's commit."""

    report: AuditReport
    problems: tuple[str, ...]
    first_row_s: float | None
    server_versions: tuple[str, ...]
    statement_rows: int
    latency_p50_s: float | None
    latency_p99_s: float | None
    events: dict[str, int]
    breaks: tuple[Break, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every point of the promise held."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        totals = self.report.total
        return {
            "ok": self.ok,
            "first_row_s": _rounded(self.first_row_s),
            "collectors": len(self.report.collectors),
            "server_versions": list(self.server_versions),
            "records": {
                "emitted": totals.emitted,
                "stored": totals.stored,
                "dead": totals.dead,
                "shed": totals.shed,
                "in_spool": totals.in_spool,
                "in_kafka": totals.in_kafka,
                "missing": totals.missing,
            },
            "duplicates": totals.duplicates,
            "statement_rows": self.statement_rows,
            "latency_s": {"p50": _rounded(self.latency_p50_s), "p99": _rounded(self.latency_p99_s)},
            "events": self.events,
            "breaks": [one.as_json() for one in self.breaks],
        }

    def summary(self) -> str:
        """A few lines for people."""
        verdict = "every record that was emitted is stored, once" if self.ok else "PROBLEM: " + "; ".join(self.problems)
        events = ", ".join(f"{count} {kind}" for kind, count in self.events.items()) or "none"
        killed = describe(self.breaks) + "\n" if self.breaks else ""
        return (
            f"PostgreSQL {', '.join(self.server_versions)}; {self.statement_rows} statement rows, "
            f"the first after {_text(self.first_row_s)}\n"
            f"from reading to commit: {_text(self.latency_p50_s)} at the median, "
            f"{_text(self.latency_p99_s)} at the 99th percentile\n"
            f"events: {events}\n{killed}{verdict}"
        )


def measure(settings: Settings, servers: DemoServers, *, began_us: int, breaks: Sequence[Break]) -> Outcome:
    """Audit deeply and read the figures; raises Unreachable when broker or store do not answer."""
    report = deep_audit(settings)
    with psycopg.connect(conninfo(settings.store), row_factory=psycopg.rows.tuple_row) as store:
        p50, p99 = _row(store, latency())
        (first,) = _row(store, FIRST_ROW)
        (statement_rows,) = _row(store, STATEMENT_ROWS)
        events: dict[str, int] = dict(store.execute(EVENTS).fetchall())
        silent = [lane for lane, used, stored in store.execute(LANES).fetchall() if used and not stored]
    return Outcome(
        report=report,
        problems=_problems(report, silent, statement_rows, breaks),
        first_row_s=None if first is None else first - began_us / 1e6,
        server_versions=tuple(sorted({target.server.version for target in servers.targets})),
        statement_rows=statement_rows,
        latency_p50_s=p50,
        latency_p99_s=p99,
        events=events,
        breaks=tuple(breaks),
    )


def latency() -> str:
    """The query for the times from reading to commit, of all metrics of the package: (median, 99th percentile) in seconds."""
    times = (
        f"select extract(epoch from pg_xact_commit_timestamp(xmin) - collected_at)::float8 from metrics.{metric}"  # noqa: S608
        for metric in builtin_schemas()
    )
    ranks = ", ".join(f"percentile_cont({share}) within group (order by seconds)" for share in (0.5, 0.99))
    return f"select {ranks} from ({' union all '.join(times)}) as records (seconds)"  # noqa: S608


def _problems(report: AuditReport, silent_lanes: list[str], statement_rows: int, breaks: Sequence[Break]) -> tuple[str, ...]:
    totals = report.total
    wrong = [
        f"{count} {name}"
        for name, count in (
            ("missing", totals.missing),
            ("in_spool", totals.in_spool),
            ("in_kafka", totals.in_kafka),
            ("duplicates", totals.duplicates),
        )
        if count
    ]
    wrong += [f"nothing of lane {lane} was stored" for lane in silent_lanes]
    wrong += [f"{one.part} was killed and did not recover" for one in breaks if one.recovered_s is None]
    if not totals.stored:
        wrong.append("nothing was stored")
    if not statement_rows:
        wrong.append("no statement rows were stored")
    if not report.ok and not wrong:
        wrong.append("the audit found a problem")
    return tuple(wrong)


def _row(store: psycopg.Connection[Any], query: str) -> Any:
    return store.execute(query.encode()).fetchone()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _text(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"
