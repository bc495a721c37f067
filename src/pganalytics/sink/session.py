"""One connection to the store, and the writing of batches through it from beginning to end.

The order that nothing may change: tables and partitions, the batch judged as a whole, dead letters acknowledged by Kafka,
then the one transaction.
"""

import logging
from collections.abc import Callable
from typing import Self

from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import Server
from pganalytics.sink.batch import Batch, Plan
from pganalytics.sink.catalogue import Catalogue
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.errors import Refused, TryAgain
from pganalytics.sink.layout import Conflict
from pganalytics.sink.letters import DeadLetters
from pganalytics.sink.records import Place, Poison, Reason
from pganalytics.sink.tables import Tables, read_schemas
from pganalytics.sink.writer import BatchWriter

logger = logging.getLogger(__name__)

ATTEMPTS = 4
Judge = Callable[[Batch], None]
"""Sees every batch before anything of it is sent or written, again when more of it is found to be dead; may raise."""


class Session:
    """What is known about the store ends with the connection: the next one may lead to a restored store."""

    def __init__(self, connection: StoreConnection, catalogue: Catalogue, letters: DeadLetters, judge: Judge) -> None:
        self.connection = connection
        self._catalogue = catalogue
        self._letters = letters
        self._judge = judge
        self._tables = Tables(connection)
        self._writer = BatchWriter(connection)

    @classmethod
    def open(cls, server: Server, catalogue: Catalogue, letters: DeadLetters, judge: Judge) -> Self:
        """Connect and learn the store's schemas; raises TryAgain, psycopg.Error."""
        try:
            connection = StoreConnection.open(server, name="sink")
        except SettingsError as error:
            raise TryAgain("password", str(error)) from error  # it was readable at the start: it is being changed
        for schemas in read_schemas(connection).values():
            catalogue.add(schemas)
        return cls(connection, catalogue, letters, judge)

    def write(self, batch: Batch) -> Plan:
        """Write a batch: what cannot be stored is dead-lettered, the rest stored. Raises Displaced, TryAgain, psycopg.Error."""
        for attempt in range(ATTEMPTS):
            batch = self._make_room(batch)
            self._judge(batch)
            self._letters.bury(batch.poisons)
            try:
                plan = self._writer.write(batch, self._catalogue.known)
            except Refused as error:
                logger.debug("batch refused", extra={"detail": str(error)})
                if attempt:
                    batch = self._without_refused(batch)
                else:
                    self._tables.forget()  # perhaps somebody has dropped a partition
            else:
                facts = {"rows": len(plan.new), "duplicates": plan.duplicates, "dead": len(batch.poisons)}
                logger.debug("batch written", extra=facts)
                return plan
        raise TryAgain("refused", "PostgreSQL refuses a batch, and none of its rows alone")

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.close()

    def _without_refused(self, batch: Batch) -> Batch:
        culprits = self._writer.find_refused(batch.rows, self._catalogue.known)
        return batch.condemned({poison.message.place: poison for poison in culprits})

    def _make_room(self, batch: Batch) -> Batch:
        """Tables and partitions for all rows; a row whose schema cannot have a table becomes a dead letter."""
        verdicts: dict[Place, Poison] = {}
        days: set[tuple[str, int]] = set()
        for row in batch.rows:
            entry = self._catalogue.known[row.schema]
            conflict = entry if isinstance(entry, Conflict) else self._tables.ensure(entry.schema)
            if conflict is not None:
                self._catalogue.refuse(row.schema, conflict)
                verdicts[row.message.place] = Poison(
                    row.message, Reason.REFUSED_SCHEMA, conflict.detail, row.identity, row.metric, row.beat
                )
            else:
                days.add((row.metric, row.day))
        for metric, day in sorted(days):
            self._tables.ensure_day(metric, day)
        return batch.condemned(verdicts) if verdicts else batch
