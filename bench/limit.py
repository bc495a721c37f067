"""The structural limit: the same readings by nothing but held connections and pipelined queries, decoded and thrown away.

And the floor: what is read is kept, compared, written to a file that is fsynced, and sent, by the least code that does so.
"""

import pickle
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import zstandard
from confluent_kafka import Producer

from bench.fleet import ROLE, Fleet
from pganalytics.producers.admission import admit
from pganalytics.producers.catalogue import Catalogue, ServerFacts, Variant
from pganalytics.producers.session import Session, server_facts
from pganalytics.schemas.metric import MetricSchema, Scope, builtin_schemas

Rows = list[tuple[Any, ...]]
KEY_COLUMNS = 3
COLD_TURNS = 5
"""Cycles of a minute until each database was read once: tables and indexes are read every five minutes."""
OFTEN_S = 300.0
"""What is read less often is left out there: sizes."""
SETTLE_EVERY = 10
"""Databases between two deletions of what Kafka has acknowledged."""


def _forget(place: int, rows: list[Rows]) -> None:
    del place, rows


@dataclass(frozen=True)
class Cost:
    """Seconds of one cycle."""

    wall_s: float
    client_cpu_s: float


class Limit:
    """Connections to each database, and what is asked there. One thread."""

    def __init__(self, fleet: Fleet, stack: ExitStack, catalogue: Catalogue, metrics: list[str]) -> None:
        self._asked: list[tuple[Session, list[str]]] = []
        self._cold: list[tuple[str, list[str]]] = []
        schemas = [builtin_schemas()[name] for name in metrics]
        for place, name in enumerate(["postgres", *fleet.names]):
            text = fleet.server.conninfo(name, user=ROLE, password="bench")
            connection = stack.enter_context(Session.connect(text))
            admit(connection, allow_superuser=False)
            connection.deadline = float("inf")
            facts = server_facts(connection, with_extensions=place == 0)
            connection.rollback()
            scope = Scope.INSTANCE if place == 0 else Scope.DATABASE
            of_scope = [each for each in schemas if each.scope is scope]
            self._asked.append((connection, _texts(catalogue, facts, of_scope)))
            often = [each for each in of_scope if each.interval_s <= OFTEN_S]
            self._cold.append((text, _texts(catalogue, facts, often)))

    def cycle(self, over_s: float = 0.0, use: Callable[[int, list[Rows]], None] = _forget) -> Cost:
        """All readings, one database after the other, spread over some seconds. `use` gets the database's place and its rows."""
        began, cpu = time.monotonic(), time.process_time()
        for place, (connection, texts) in enumerate(self._asked):
            time.sleep(max(0.0, began + place * over_s / len(self._asked) - time.monotonic()))
            cursors = [connection.cursor(binary=True) for _ in texts]
            with connection.pipeline():
                for cursor, text in zip(cursors, texts, strict=True):
                    cursor.execute(text.encode())
            rows = [cursor.fetchall() for cursor in cursors]
            connection.rollback()
            use(place, rows)
        return Cost(time.monotonic() - began, time.process_time() - cpu)

    def cold_cycle(self, number: int) -> None:
        """What no agent can do without that holds no connections to databases: the server's own readings over the held one, and
        those of one in COLD_TURNS databases, each over a connection that is opened for it and closed."""
        connection, texts = self._asked[0]
        for text in texts:
            connection.execute(text.encode())
        connection.rollback()
        for text, asked in self._cold[1 + number % COLD_TURNS :: COLD_TURNS]:
            with psycopg.connect(text, autocommit=True) as opened, opened.pipeline():
                for one in asked:
                    opened.execute(one.encode(), binary=True)


class Floor:
    """`use` is what an agent must do with a reading at the least: C code of the standard library and of librdkafka for all of it,
    one thread, no schema, no deltas, no limits, no second try."""

    def __init__(self, folder: Path, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._kept: dict[tuple[int, int], dict[Any, tuple[Any, ...]]] = {}
        self._acknowledged: list[tuple[int]] = []
        self._spool = sqlite3.connect(folder / "floor.db", isolation_level=None)
        for pragma in ("journal_mode = wal", "synchronous = full"):
            self._spool.execute(f"pragma {pragma}")
        self._spool.execute("create table records (id integer primary key, body blob)")

    def use(self, place: int, readings: list[Rows]) -> None:
        """Keep, compare, spool, send; forget what was acknowledged."""
        for number, rows in enumerate(readings):
            before, now = self._kept.get((place, number), {}), {row[:KEY_COLUMNS]: row for row in rows}
            self._kept[place, number] = now
            if changed := [row for key, row in now.items() if before.get(key) != row]:
                self._emit(pickle.dumps(changed))
        self._producer.poll(0)
        if place % SETTLE_EVERY == 0 and self._acknowledged:
            self._spool.execute("begin immediate")
            self._spool.executemany("delete from records where id = ?", self._acknowledged)
            self._spool.execute("commit")
            self._acknowledged.clear()

    def _emit(self, body: bytes) -> None:
        packed = zstandard.ZstdCompressor(level=3).compress(body)
        number = self._spool.execute("insert into records (body) values (?)", (packed,)).lastrowid or 0
        self._producer.produce(self._topic, body, on_delivery=lambda *_: self._acknowledged.append((number,)))


def _texts(catalogue: Catalogue, facts: ServerFacts, schemas: list[MetricSchema]) -> list[str]:
    """The rows of each metric, and what it says of the whole beside them, as the size of a database; without the readings that
    tell whether statistics were reset meanwhile."""
    texts: list[str] = []
    for schema in schemas:
        variant = catalogue.choose(schema.name, facts)
        if isinstance(variant, Variant):
            context, groups = variant.statements(facts, schema.parameters)
            if context is not None and not schema.counts:
                texts.append(context)
            texts += groups.values()
    return texts
