"""Everything that an agent would read, read once: what can be read of each target, what cannot, and what mends it.

Nothing is spooled or sent, and no broker is asked. Targets are asked side by side, each by one thread.
"""

import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import psycopg

from pganalytics.producers.answers import Answer, Questions
from pganalytics.producers.collectors import Job
from pganalytics.producers.discovery import discover
from pganalytics.producers.emission import ROWS
from pganalytics.producers.findings import CheckReport, Finding, Level, TargetReport
from pganalytics.producers.fitness import (
    busy_share,
    connection_hints,
    connections_kept,
    fleet_findings,
    pooler_lines,
    records_per_minute,
)
from pganalytics.producers.hints import STATEMENTS, Entries, hints_of
from pganalytics.producers.plan import Plan, make_plan
from pganalytics.producers.pooling import find_pooling
from pganalytics.producers.pools import BudgetExhausted, CannotConnect, Pools
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.results import Discovered, Failed
from pganalytics.producers.server_look import ServerLook, look
from pganalytics.producers.statuses import METRIC_STATUS
from pganalytics.producers.tables import Rows
from pganalytics.producers.verdicts import Seen, findings_of
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.postgres import is_local, sslmode_of
from pganalytics.runtime.settings import Settings, Target
from pganalytics.schemas.headers import HEARTBEAT

MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class _Read:
    """What came of one target, before it is judged."""

    seen: list[Seen]
    found: Discovered
    look: ServerLook | None
    reached: bool = True


def check(settings: Settings, only: str | None = None) -> CheckReport:
    """Read all targets, or one by its collector's id. Raises SettingsError."""
    plan = make_plan(settings, socket.gethostname())
    jobs = jobs_by_target(plan, only)
    stopped = threading.Event()
    pools = Pools(
        settings.collect.connections, settings.collect.connect_timeout_s, lambda: 0.0 if stopped.is_set() else float("inf")
    )
    checker = _Checker(plan, pools, Redaction(settings.collect.redact))
    threads = ThreadPoolExecutor(min(MOST_THREADS, settings.collect.workers), thread_name_prefix="check")
    try:
        reports = list(threads.map(checker.report, jobs.values()))
    finally:
        stopped.set()
        threads.shutdown(cancel_futures=True)
        pools.close()
    kept = sum(connections_kept(its[0].target, its, report.databases) for its, report in zip(jobs.values(), reports, strict=True))
    return CheckReport(reports, list(fleet_findings(settings, reports, kept)))


def jobs_by_target(plan: Plan, only: str | None) -> dict[str, list[Job]]:
    """The jobs of each collector; raises SettingsError when there is none of that id."""
    jobs: dict[str, list[Job]] = {}
    for job in plan.jobs:
        jobs.setdefault(job.key.collector, []).append(job)
    if only is None:
        return jobs
    if only not in jobs:
        raise SettingsError(f"--target {only!r}: no such target; known: {', '.join(sorted(jobs))}")
    return {only: jobs[only]}


class _Checker:
    def __init__(self, plan: Plan, pools: Pools, redaction: Redaction) -> None:
        self._plan = plan
        self._pools = pools
        self._questions = Questions(pools, plan.catalogue, redaction)

    def report(self, jobs: Sequence[Job]) -> TargetReport:
        """One target, by one thread."""
        target, collector = jobs[0].target, jobs[0].key.collector
        read = self._read([job for job in jobs if job.key.metric in self._plan.catalogue.variants])
        databases = len(read.found.databases)
        took_s: dict[str, float] = {}
        for seen in read.seen:
            took_s[seen.job.key.metric] = took_s.get(seen.job.key.metric, 0.0) + seen.took_s
        return TargetReport(
            collector=collector,
            host=target.host,
            port=target.port,
            databases=databases,
            reached=read.reached,
            look=read.look,
            verified=read.look is not None and bool(read.look.tls) and sslmode_of(target) == "verify-full",
            metrics=findings_of(read.seen, target.user, read.found.unavailable if any(job.is_template for job in jobs) else {}),
            hints=self._hints(target, jobs, read) if read.reached else [],
            records_per_minute=records_per_minute(jobs, databases),
            busy_share=busy_share(jobs, took_s),
        )

    def _read(self, jobs: Sequence[Job]) -> _Read:
        """The sign of life first: where the target cannot be read nothing else is tried."""
        read = _Read([], Discovered(frozenset(), {}), None)
        for job in sorted((job for job in jobs if not job.is_template), key=_first_things_first):
            read.seen.append(seen := self._ask(job))
            if isinstance(seen.outcome, Failed) and seen.outcome.of_target:
                return replace(read, reached=False)
            if job.key.metric == HEARTBEAT:
                read = replace(read, look=self._look(job))
            elif job.key.metric == METRIC_STATUS and isinstance(seen.outcome, Answer):
                read = replace(read, found=discover(job.target, [(row[0], row[1], row[2]) for row in rows_of(seen.outcome)]))
        for database in sorted(read.found.databases):
            for job in jobs:
                if job.is_template:
                    read.seen.append(self._ask(job.in_database(database)))
        return read

    def _ask(self, job: Job) -> Seen:
        began = time.monotonic()
        outcome = self._questions.ask(job)
        elapsed = time.monotonic() - began
        took_s = (outcome.answered_us - outcome.asked_us) / 1e6 if isinstance(outcome, Answer) else elapsed
        return Seen(job, outcome, took_s)

    def _look(self, job: Job) -> ServerLook | None:
        try:
            with self._pools.lease(job.key.collector, job.target, job.target.dbname) as session:
                seen = look(session)
                return replace(seen, pooling=find_pooling(session, job.target, job.target.dbname)) if seen.pooled else seen
        except (CannotConnect, BudgetExhausted, SettingsError, psycopg.Error):
            return None

    def _hints(self, target: Target, jobs: Sequence[Job], read: _Read) -> list[Finding]:
        if (seen := read.look) is None:
            return [Finding(Level.WARNING, "server", "its settings could not be read in time", "try again")]
        of_statements = {
            job.key.metric
            for job in jobs
            for one in self._plan.catalogue.variants.get(job.key.metric, ())
            if one.extension is not None and one.extension[0] == STATEMENTS
        }
        hints = hints_of(seen, wants_statements=bool(of_statements), entries=_entries(read.seen, of_statements))
        databases = len(read.found.databases)
        connections = [*connection_hints(target, jobs, databases, seen), *pooler_lines(target, jobs, databases, seen.pooling)]
        return [*_encryption(target, seen), *hints, *connections]


def rows_of(answer: Answer) -> Rows:
    """The rows of an answer's main group."""
    return answer.groups[ROWS].rows


def _first_things_first(job: Job) -> int:
    order = (HEARTBEAT, METRIC_STATUS)
    return order.index(job.key.metric) if job.key.metric in order else len(order)


def _entries(readings: Sequence[Seen], metrics: set[str]) -> Entries | None:
    """Of pg_stat_statements, by the reading that has its own counters beside the rows."""
    for one in readings:
        answer = one.outcome
        if isinstance(answer, Answer) and one.job.key.metric in metrics and answer.before is not None:
            said = dict(zip(answer.before.names, answer.before.rows[0], strict=True))
            return Entries(len(rows_of(answer)), said.get("dealloc"))
    return None


def _encryption(target: Target, seen: ServerLook) -> list[Finding]:
    if is_local(target.host) or (seen.tls and sslmode_of(target) == "verify-full"):
        return []
    what = f"encrypted ({seen.tls}), but not verified to be {target.host}" if seen.tls else "not encrypted"
    return [Finding(Level.WARNING, "connection", what, 'set sslmode = "verify-full" for the target')]
