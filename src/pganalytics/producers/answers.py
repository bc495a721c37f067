"""Asking a target: a lease, the variant that fits, one pipelined round trip, and a plain answer."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from pganalytics.producers import failures
from pganalytics.producers.catalogue import Catalogue, Variant
from pganalytics.producers.collectors import Job
from pganalytics.producers.pools import BudgetExhausted, CannotConnect, Pools
from pganalytics.producers.results import Failed, Unavailable
from pganalytics.producers.session import DeadlinePassed, Session, Stopping, limit_transaction, server_facts
from pganalytics.producers.startup_probe import probe
from pganalytics.runtime.errors import SettingsError

MARGIN_S = 1.0
PROBE_TIMEOUT_S = 2.0
Rows = list[tuple[Any, ...]]


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


class Questions:
    """Any worker may ask; a call takes at most the connect timeout, the query's timeout and small margins."""

    def __init__(self, pools: Pools, catalogue: Catalogue) -> None:
        self._pools = pools
        self._catalogue = catalogue

    def ask(self, job: Job) -> Answer | Unavailable | Failed:
        """One reading. A pooled connection that turns out to be dead is replaced once: the server was restarted."""
        for last_try in (False, True):
            used = False
            try:
                with self._pools.lease(job.key.collector, job.target, job.target.dbname) as session:
                    used = session.used
                    return self._on(session, job)
            except CannotConnect as error:
                return self._explain(job, error.cause)
            except BudgetExhausted as error:
                return failures.failed("connection_budget", str(error), of_target=False)
            except psycopg.Error as error:
                outcome = failures.of_reading(error)
                went_away = isinstance(outcome, Failed) and outcome.kind in ("lost", "sqlstate:57P01", "sqlstate:57P02")
                if last_try or not (used and went_away):
                    return outcome
                self._pools.drop(job.key.collector, job.target.dbname)
        raise AssertionError("the second try returns")

    def _on(self, session: Session, job: Job) -> Answer | Unavailable:
        session.deadline = time.monotonic() + job.timeout_s + MARGIN_S
        variant = self._variant(session, job)
        if isinstance(variant, Unavailable):
            session.rollback()
            return variant
        try:
            return _query(session, variant, job)
        except (psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable):
            session.facts = None  # the extension was changed under us: look again next time
            raise

    def _variant(self, session: Session, job: Job) -> Variant | Unavailable:
        """Chosen by cached facts; asked anew before anybody is told to do something."""
        with_extensions = self._catalogue.needs_extension(job.key.metric)
        if session.facts is not None and (session.facts.extensions is not None or not with_extensions):
            variant = self._catalogue.choose(job.key.metric, session.facts)
            if isinstance(variant, Variant):
                return variant
        limit_transaction(session, job.timeout_s)
        session.facts = server_facts(session, with_extensions=with_extensions)
        return self._catalogue.choose(job.key.metric, session.facts)

    def _explain(self, job: Job, cause: Exception) -> Failed:
        if isinstance(cause, SettingsError):
            return failures.failed("password", str(cause), of_target=True)
        if not isinstance(cause, psycopg.Error):
            return failures.failed("lost", str(cause), of_target=True)
        target, kind = job.target, ""
        if cause.sqlstate is None and not isinstance(cause, psycopg.errors.ConnectionTimeout | DeadlinePassed | Stopping):
            kind = probe(
                target.host,
                target.port,
                user=target.user,
                dbname=target.dbname,
                timeout_s=PROBE_TIMEOUT_S,
                with_tls=target.sslmode not in ("disable", "allow"),
            )
        return failures.of_connecting(cause, kind)


def _query(session: Session, variant: Variant, job: Job) -> Answer:
    if session.facts is None:
        raise AssertionError("a variant was chosen by facts")
    context, groups = variant.statements(session.facts, job.parameters)
    frame = [] if context is None else [context]
    cursors = [session.cursor(binary=True) for _ in (*frame, *groups, *frame)]
    asked_us = time.time_ns() // 1000
    with session.pipeline():
        limit_transaction(session, job.timeout_s)
        for cursor, text in zip(cursors, (*frame, *groups.values(), *frame), strict=True):
            cursor.execute(text)
        session.execute("commit")
    answered_us = time.time_ns() // 1000
    tables = [Table([column.name for column in cursor.description or ()], cursor.fetchall()) for cursor in cursors]
    return Answer(
        asked_us=asked_us,
        answered_us=answered_us,
        before=tables[0] if frame else None,
        groups=dict(zip(groups, tables[len(frame) :], strict=False)),
        after=tables[-1] if frame else None,
    )
