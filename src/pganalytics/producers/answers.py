"""Asking a target: a lease, the variant that fits, one pipelined round trip, and a plain answer."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import is_

import psycopg

from pganalytics.producers import failures
from pganalytics.producers.admission import LimitsNotKept, StatementPooling, SuperuserRefused
from pganalytics.producers.catalogue import Catalogue, Variant
from pganalytics.producers.collectors import Job
from pganalytics.producers.extension_guard import ExtensionMoved, has_moved
from pganalytics.producers.pipeline import StepFailed, run_together
from pganalytics.producers.pools import BudgetExhausted, CannotConnect, Pools
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.results import Failed, Gone, Kind, Unavailable
from pganalytics.producers.script import Script, write_script
from pganalytics.producers.session import (
    DeadlinePassed,
    Session,
    Stopping,
    limit_transaction,
    server_facts,
)
from pganalytics.producers.startup_probe import Trust, probe
from pganalytics.producers.tables import Table
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.postgres import authorities_of, sslmode_of
from pganalytics.schemas.metric import Scope

MARGIN_S = 1.0
PROBE_TIMEOUT_S = 2.0
DATABASE = "/* pganalytics */ select 1 from pg_catalog.pg_database d where d.datname operator(pg_catalog.=) %s::name"
KNOWN_CAUSES = (psycopg.errors.ConnectionTimeout, DeadlinePassed, Stopping, SuperuserRefused, StatementPooling, LimitsNotKept)
"""Errors of connecting that say themselves what is wrong."""
WENT_AWAY = ("lost", "sqlstate:57P01", "sqlstate:57P02")
PLANS_LOST = (
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.DuplicatePreparedStatement,
    psycopg.errors.FeatureNotSupported,
)
"""What a connection's prepared statements come to when an extension has got other columns, or when a pooler that hides itself
changes the server under them."""
CHANGED_UNDER_US = (
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedTable,
    ExtensionMoved,
)
"""Errors of a query when the extension is not what it was when we looked."""
MANY_ROWS = 2000
"""Of one reading of a database, after which the connection is not kept. The server process keeps what it has opened: 3.3 kB for a
relation whose size was asked, 1.8 kB for a definition, so that 2,000 cost what an idle process costs anyway (6 MB), and 40,000
would be 130 MB for as long as the connection is held. A new one costs milliseconds, at most every five minutes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. Times in microseconds of the agent's clock. `before` and `after` are what the context gave around the
    groups: when they tell of different statistics, the reading is torn."""

    asked_us: int
    answered_us: int
    before: Table | None
    groups: Mapping[str, Table]
    after: Table | None


Reply = Answer | Unavailable | Failed | Gone


class Questions:
    """Any worker may ask; a call takes at most the connect timeout, the query's timeout and small margins."""

    def __init__(self, pools: Pools, catalogue: Catalogue, redaction: Redaction = Redaction.LITERALS) -> None:
        """`redaction`: whether texts of errors pass that may quote data."""
        self._pools = pools
        self._catalogue = catalogue
        self._redaction = redaction

    def ask(self, job: Job) -> Reply:
        """One reading. A connection that turns out to be of no use any more is replaced once, for example because the server was
        restarted; so is what was known of an extension that has moved."""
        for last_try in (False, True):
            used = False
            try:
                with self._pools.lease(job.key.collector, job.target, job.database) as session:
                    used = session.used
                    return self._on(session, job)
            except CannotConnect as error:
                failure = self._explain(job, error.cause)
                if job.key.database and failure.kind == "authentication" and self._is_gone(job):
                    return Gone()
                return _of_database(job, failure, error.cause)
            except BudgetExhausted as error:
                return failures.failed("connection_budget", str(error), of_target=False)
            except psycopg.Error as error:
                outcome = failures.of_reading(error, self._redaction)
                of_connection = isinstance(error, PLANS_LOST) or (isinstance(outcome, Failed) and outcome.kind in WENT_AWAY)
                moved = isinstance(error, ExtensionMoved)
                if last_try or not (moved or (used and of_connection)):
                    return _of_database(job, outcome, error)
                if not moved:
                    self._pools.drop(job.key.collector, job.database)
        raise AssertionError("the second try returns")

    def ask_together(self, jobs: Sequence[Job]) -> list[Reply]:
        """Readings of one database in one round trip; one by one when that fails, so that one cannot spoil the others."""
        first = jobs[0]
        if len(jobs) == 1:
            return [self.ask(first)]
        try:
            with self._pools.lease(first.key.collector, first.target, first.database) as session:
                return self._together(session, jobs)
        except (CannotConnect, BudgetExhausted, psycopg.Error):
            return [self.ask(job) for job in jobs]

    def forget(self, collector: str, database: str) -> None:
        """It is read no more."""
        self._pools.leave_database(collector, database)

    def _together(self, session: Session, jobs: Sequence[Job]) -> list[Reply]:
        session.deadline = time.monotonic() + sum(job.timeout_s for job in jobs) + MARGIN_S
        chosen = [self._variant(session, job) for job in jobs]
        asked = [(job, variant) for job, variant in zip(jobs, chosen, strict=True) if isinstance(variant, Variant)]
        answers = iter(_query(session, asked) if asked else [])
        return [next(answers) if isinstance(variant, Variant) else variant for variant in chosen]

    def _on(self, session: Session, job: Job) -> Answer | Unavailable:
        session.deadline = time.monotonic() + job.timeout_s + MARGIN_S
        variant = self._variant(session, job)
        if isinstance(variant, Unavailable):
            return variant
        try:
            return _query(session, [(job, variant)])[0]
        except CHANGED_UNDER_US:
            session.facts = None  # look again next time
            raise

    def _variant(self, session: Session, job: Job) -> Variant | Unavailable:
        """Chosen by cached facts; asked anew before anybody is told to do something."""
        known = session.chosen.get(job.key.metric)
        if known is not None and known[0] is session.facts:
            return known[1]
        with_extensions = self._catalogue.needs_extension(job.key.metric)
        if session.facts is not None and (session.facts.extensions is not None or not with_extensions):
            variant = self._catalogue.choose(job.key.metric, session.facts)
            if isinstance(variant, Variant):
                session.chosen[job.key.metric] = session.facts, variant
                return variant
            if variant.kind is Kind.VERSION:
                return variant
        with session.transaction():
            limit_transaction(session, job.timeout_s)
            session.facts = server_facts(session, with_extensions=with_extensions)
        return self._catalogue.choose(job.key.metric, session.facts)

    def _is_gone(self, job: Job) -> bool:
        """Whether a database is not there any more: a login that fails does not say so."""
        try:
            with self._pools.lease(job.key.collector, job.target, job.target.dbname) as session:
                session.deadline = time.monotonic() + job.timeout_s + MARGIN_S
                with session.transaction():
                    limit_transaction(session, job.timeout_s)
                    found = session.execute(DATABASE, (job.key.database,)).fetchone()
                return found is None
        except (CannotConnect, BudgetExhausted, psycopg.Error):
            return False

    def _explain(self, job: Job, cause: Exception) -> Failed:
        if isinstance(cause, SettingsError):
            return failures.failed("password", str(cause), of_target=True)
        if not isinstance(cause, psycopg.Error):
            return failures.failed("lost", str(cause), of_target=True)
        target, kind = job.target, ""
        if cause.sqlstate is None and not isinstance(cause, KNOWN_CAUSES):
            kind = probe(
                target.host,
                target.port,
                user=target.user,
                dbname=target.dbname,
                timeout_s=PROBE_TIMEOUT_S,
                trust=Trust(sslmode_of(target), authorities_of(target)),
            )
        return failures.of_connecting(cause, kind, target.host, self._redaction)


def _of_database(job: Job, outcome: Failed | Unavailable, cause: Exception) -> Failed | Unavailable | Gone:
    if not job.key.database:
        return outcome
    return failures.of_database(job.key.database, outcome, getattr(cause, "sqlstate", None))


def _query(session: Session, asked: Sequence[tuple[Job, Variant]]) -> list[Answer]:
    """One round trip, which is one transaction. Raises ExtensionMoved, and then nothing of it was run."""
    script = _script(session, asked)
    asked_us = time.time_ns() // 1000
    try:
        tables = run_together(session, script.steps)
    except StepFailed as failed:
        if has_moved(failed.error, of_watch=0 < failed.place <= script.watches):
            raise ExtensionMoved("the extension is not where it was") from failed.error
        raise failed.error from None
    answered_us = time.time_ns() // 1000
    answers = [Answer(asked_us, answered_us, *found) for found in script.sort(tables)]
    session.heavy = session.heavy or any(_is_heavy(job, one.groups) for (job, _), one in zip(asked, answers, strict=True))
    return answers


def _script(session: Session, asked: Sequence[tuple[Job, Variant]]) -> Script:
    """Written once for the same jobs and facts."""
    if session.facts is None:
        raise AssertionError("a variant was chosen by facts")
    name = tuple([job.key.metric for job, _ in asked])
    known = session.scripts.get(name)
    if known is not None and known[0] is session.facts and all(map(is_, known[1], (job for job, _ in asked))):
        return known[2]
    script = write_script(session.facts, session.info.server_version, asked)
    session.scripts[name] = session.facts, [job for job, _ in asked], script
    return script


def _is_heavy(job: Job, groups: Mapping[str, Table]) -> bool:
    return job.schema.scope is Scope.DATABASE and sum([len(table.rows) for table in groups.values()]) > MANY_ROWS
