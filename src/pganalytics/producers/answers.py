"""Asking a target: a lease, the variant that fits, one pipelined round trip, and a plain answer."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg

from pganalytics.producers import failures
from pganalytics.producers.admission import LimitsNotKept, StatementPooling, SuperuserRefused
from pganalytics.producers.catalogue import Catalogue, Variant
from pganalytics.producers.collectors import Job
from pganalytics.producers.extension_guard import Cursor, ExtensionMoved, has_moved, watch_extensions
from pganalytics.producers.pools import BudgetExhausted, CannotConnect, Pools
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.results import Failed, Gone, Kind, Unavailable
from pganalytics.producers.session import DeadlinePassed, Session, Stopping, limit_transaction, server_facts
from pganalytics.producers.startup_probe import Trust, probe
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.postgres import authorities_of, sslmode_of
from pganalytics.schemas.metric import Scope

MARGIN_S = 1.0
PROBE_TIMEOUT_S = 2.0
MARK = re.compile(r"/\* pganalytics:\w+ \*/")
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
PLANS_KEPT_S = 600.0
"""Readings at longer intervals are planned each time: theirs are large plans, which would take the server's memory for hours."""
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
Rows = list[tuple[Any, ...]]
Step = tuple[str, Cursor, bool | None]
"""A statement, what takes its rows, and whether its plan is kept; None: as the session does."""


@dataclass(frozen=True, slots=True)
class Table:
    """What one statement gave: names of the columns, and the rows."""

    names: list[str]
    rows: Rows


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
        with_extensions = self._catalogue.needs_extension(job.key.metric)
        if session.facts is not None and (session.facts.extensions is not None or not with_extensions):
            variant = self._catalogue.choose(job.key.metric, session.facts)
            if isinstance(variant, Variant) or variant.kind is Kind.VERSION:
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
    """One round trip, which is one transaction: the server ends it with the pipeline. What several metrics share as
    context is asked for once; where anything counts, before and after all."""
    if session.facts is None:
        raise AssertionError("a variant was chosen by facts")
    texts = [variant.statements(session.facts, job.parameters) for job, variant in asked]
    asked_for = [(job, _unmarked(context)) for (job, _), (context, _) in zip(asked, texts, strict=True) if context is not None]
    befores = {text: session.cursor(binary=True) for _, text in asked_for}
    afters = {text: session.cursor(binary=True) for job, text in asked_for if job.schema.counts}
    groups = [{name: session.cursor(binary=True) for name in each} for _, each in texts]
    in_order: list[Step] = [(text, cursor, None) for text, cursor in befores.items()]
    in_order += [
        (statements[name], cursor, None if job.interval_s <= PLANS_KEPT_S else False)
        for (job, _), (_, statements), cursors in zip(asked, texts, groups, strict=True)
        for name, cursor in cursors.items()
    ]
    in_order += [(text, cursor, None) for text, cursor in afters.items()]
    asked_us = time.time_ns() // 1000
    _run(session, asked, in_order)
    answered_us = time.time_ns() // 1000
    session.heavy = session.heavy or any(_is_heavy(job, cursors) for (job, _), cursors in zip(asked, groups, strict=True))
    before, after = ({text: _table(cursor) for text, cursor in frame.items()} for frame in (befores, afters))
    return [
        Answer(
            asked_us=asked_us,
            answered_us=answered_us,
            before=before[_unmarked(context)] if context is not None else None,
            groups={name: _table(cursor) for name, cursor in cursors.items()},
            after=after.get(_unmarked(context)) if context is not None else None,
        )
        for (context, _), cursors in zip(texts, groups, strict=True)
    ]


def _is_heavy(job: Job, cursors: Mapping[str, Cursor]) -> bool:
    return job.schema.scope is Scope.DATABASE and sum(cursor.rowcount for cursor in cursors.values()) > MANY_ROWS


def _run(session: Session, asked: Sequence[tuple[Job, Variant]], steps: Sequence[Step]) -> None:
    """The whole transaction. Raises ExtensionMoved, and then nothing of it was run."""
    if session.facts is None:
        raise AssertionError("a variant was chosen by facts")
    watches: list[Cursor] = []
    try:
        with session.pipeline():
            limit_transaction(session, max(job.timeout_s for job, _ in asked))
            watches += watch_extensions(session, session.facts, [variant for _, variant in asked])
            for text, cursor, prepare in steps:
                cursor.execute(text, prepare=prepare)
    except psycopg.Error as error:
        if has_moved(watches, error):
            raise ExtensionMoved("the extension is not where it was") from error
        raise


def _table(cursor: Cursor) -> Table:
    result = cursor.pgresult
    names = [(result.fname(place) or b"").decode() for place in range(result.nfields)] if result is not None else []
    return Table(names, cursor.fetchall())


@lru_cache(maxsize=256)
def _unmarked(context: str) -> str:
    """With a mark that is not the metric's: the text may serve several."""
    return MARK.sub("/* pganalytics */", context, count=1)
