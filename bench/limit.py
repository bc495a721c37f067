"""The structural limit: the same readings by nothing but held connections and pipelined queries, decoded and thrown away."""

import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench.fleet import ROLE, Fleet
from pganalytics.producers.admission import admit
from pganalytics.producers.catalogue import Catalogue, ServerFacts, Variant
from pganalytics.producers.session import Session, server_facts
from pganalytics.schemas.metric import MetricSchema, Scope, builtin_schemas


@dataclass(frozen=True)
class Cost:
    """Seconds of one cycle."""

    wall_s: float
    client_cpu_s: float


class Limit:
    """Connections to each database, and what is asked there. One thread."""

    def __init__(self, fleet: Fleet, stack: ExitStack, catalogue: Catalogue, metrics: list[str]) -> None:
        self._asked: list[tuple[Session, list[str]]] = []
        schemas = [builtin_schemas()[name] for name in metrics]
        for place, name in enumerate(["postgres", *fleet.names]):
            text = fleet.server.conninfo(name, user=ROLE, password="bench")
            connection = stack.enter_context(Session.connect(text))
            admit(connection, allow_superuser=False)
            connection.deadline = float("inf")
            facts = server_facts(connection, with_extensions=place == 0)
            connection.rollback()
            scope = Scope.INSTANCE if place == 0 else Scope.DATABASE
            self._asked.append((connection, _texts(catalogue, facts, [each for each in schemas if each.scope is scope])))

    def cycle(self, over_s: float = 0.0) -> Cost:
        """All readings, one database after the other, spread over some seconds."""
        began, cpu = time.monotonic(), time.process_time()
        for place, (connection, texts) in enumerate(self._asked):
            time.sleep(max(0.0, began + place * over_s / len(self._asked) - time.monotonic()))
            cursors = [connection.cursor(binary=True) for _ in texts]
            with connection.pipeline():
                for cursor, text in zip(cursors, texts, strict=True):
                    cursor.execute(text.encode())
            for cursor in cursors:
                cursor.fetchall()
            connection.rollback()
        return Cost(time.monotonic() - began, time.process_time() - cpu)


def _texts(catalogue: Catalogue, facts: ServerFacts, schemas: list[MetricSchema]) -> list[str]:
    """The rows of each metric, without the readings that tell whether statistics were reset meanwhile."""
    texts: list[str] = []
    for schema in schemas:
        variant = catalogue.choose(schema.name, facts)
        if isinstance(variant, Variant):
            _, groups = variant.statements(facts, schema.parameters)
            texts += groups.values()
    return texts
