"""That an extension still lies where it was found: asked in the transaction of its queries, before them.

The owner of a database may rename a schema and make another of its name, in which a function named like the extension's waits for
a session that looked before. PostgreSQL runs nothing of a pipeline behind a statement that failed.
"""

from collections.abc import Iterable
from typing import Any

import psycopg

from pganalytics.producers.catalogue import ServerFacts, Variant
from pganalytics.producers.session import Session

STILL_THERE = """/* pganalytics */ select 1 operator(pg_catalog./) pg_catalog.count(*)
from pg_catalog.pg_extension e
join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) e.extnamespace
where e.extname operator(pg_catalog.=) %s::pg_catalog.name and n.nspname operator(pg_catalog.=) %s::pg_catalog.name
"""
"""Divides by zero when it is not there."""
Cursor = psycopg.Cursor[tuple[Any, ...]]


class ExtensionMoved(psycopg.DataError):
    """An extension is not in the schema in which it was found: it has to be looked for again."""


def watch_extensions(session: Session, facts: ServerFacts, variants: Iterable[Variant]) -> list[Cursor]:
    """Ask for each extension that these queries read; within the pipeline, before the queries."""
    names = sorted({variant.extension[0] for variant in variants if variant.extension is not None})
    return [session.execute(STILL_THERE, (name, facts.installed[name].schema)) for name in names]


def has_moved(watches: Iterable[Cursor], error: psycopg.Error) -> bool:
    """Whether it is one of these that failed, and not a query behind them."""
    return isinstance(error, psycopg.errors.DivisionByZero) and any(cursor.pgresult is None for cursor in watches)
