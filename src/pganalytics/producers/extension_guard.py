"""That an extension still lies where it was found: asked in the transaction of its queries, before them.

The owner of a database may rename a schema and make another of its name, in which a function named like the extension's waits for
a session that looked before. PostgreSQL runs nothing of a pipeline behind a statement that failed.
"""

from collections.abc import Iterable

import psycopg

from pganalytics.producers.catalogue import ServerFacts, Variant
from pganalytics.producers.pipeline import Step

STILL_THERE = """/* pganalytics */ select 1 operator(pg_catalog./) pg_catalog.count(*)
from pg_catalog.pg_extension e
join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) e.extnamespace
where e.extname operator(pg_catalog.=) $1::pg_catalog.name and n.nspname operator(pg_catalog.=) $2::pg_catalog.name
"""
"""Divides by zero when it is not there."""


class ExtensionMoved(psycopg.DataError):
    """An extension is not in the schema in which it was found: it has to be looked for again."""


def watch_extensions(facts: ServerFacts, variants: Iterable[Variant]) -> list[Step]:
    """A step for each extension that these queries read, to be run before them."""
    names = sorted({variant.extension[0] for variant in variants if variant.extension is not None})
    return [Step(STILL_THERE, (name, facts.installed[name].schema)) for name in names]


def has_moved(error: psycopg.Error, *, of_watch: bool) -> bool:
    """Whether a step that failed says so; `of_watch`: it is one of these, and not a query behind them."""
    return of_watch and isinstance(error, psycopg.errors.DivisionByZero)
