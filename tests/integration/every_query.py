"""Every query of every metric that fits a server, one after the other, on a session of the agent's kind."""

from collections.abc import Sequence
from typing import Any

import psycopg

from pganalytics.producers.catalogue import Variant, load_catalogue
from pganalytics.producers.session import Session, limit_transaction, server_facts
from pganalytics.schemas.metric import builtin_schemas

CATALOGUE = load_catalogue(builtin_schemas())
NOW = {"listed_age_s": 0}
"""Parameters with which more is told than by default."""


def answers(connection: Session, path: str = "") -> list[tuple[str, str, list[tuple[Any, ...]]]]:
    """(metric, error, rows) of each statement of each metric that fits; `path`: another search path than the agent's."""
    with connection.transaction():
        limit_transaction(connection, 60)
        facts = server_facts(connection, with_extensions=True)
    found = []
    for metric in CATALOGUE.variants:
        variant = CATALOGUE.choose(metric, facts)
        if not isinstance(variant, Variant):
            continue
        context, groups = variant.statements(facts, {**builtin_schemas()[metric].parameters, **NOW})
        for text in (context or "select", *groups.values()):
            with connection.transaction(force_rollback=True):
                limit_transaction(connection, 60)
                if path:
                    connection.execute("select pg_catalog.set_config('search_path', %s, true)", (path,))
                found.append((metric, *answer(connection, text)))
    return found


def answer(connection: Session, text: str) -> tuple[str, list[tuple[Any, ...]]]:
    try:
        return "", connection.cursor(binary=True).execute(text.encode()).fetchall() if text != "select" else []
    except psycopg.Error as error:
        return str(error), []


def errors(found: Sequence[tuple[str, str, Any]]) -> list[tuple[str, str]]:
    return [(metric, error) for metric, error, _ in found if error]
