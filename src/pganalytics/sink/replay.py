"""Sends records again: dead letters back to where they were read, admitted ones to their lane's topic. Commits no offsets.

It reads up to the ends that the topics have when it begins, so it never meets what it sends. It may be stopped at any point
and repeated: what is sent twice is stored once. With `forget` the store first lets go of each record, in one transaction
that is committed when Kafka has the record again: a crash leaves it stored, or on its way, never neither.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from confluent_kafka import KafkaException

from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.kafka import admin, topic_problems
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Identity
from pganalytics.schemas.partitioner import partition_of
from pganalytics.schemas.topics import Topics
from pganalytics.sink import store
from pganalytics.sink.catalogue import READ_TIMEOUT_S, Catalogue
from pganalytics.sink.connection import StoreConnection, open_or_explain
from pganalytics.sink.errors import TryAgain
from pganalytics.sink.forget import forget, settled
from pganalytics.sink.intake import Known, read_record
from pganalytics.sink.letters import Letters
from pganalytics.sink.log_ends import log_ends, log_offsets_at, log_starts
from pganalytics.sink.outages import as_sink_error, first_line
from pganalytics.sink.records import Partition, Row, Span
from pganalytics.sink.selection import Candidate, ReplaySource, Selection, Skip, candidate_of, identities, topics_of
from pganalytics.sink.tables import read_schemas
from pganalytics.sink.unread import read_spans

CHUNK_RECORDS = 200
CHUNK_BYTES = 8 * 1024 * 1024
ATTEMPTS = 5
PAUSE_S = 0.5
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Tally:
    """What was done, only with what is done for good. `sent`: in a dry run, what would be. `copies`: of what is counted once."""

    found: int = 0
    sent: int = 0
    stored: int = 0
    forgotten: int = 0
    copies: int = 0
    skipped: Counter[Skip] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        skipped = {skip.name.lower(): count for skip, count in sorted(self.skipped.items()) if count}
        numbers = {name: getattr(self, name) for name in ("found", "sent", "stored", "forgotten", "copies")}
        return {**numbers, "skipped": skipped}


class Replay:
    """One replay, for one thread. `tally` is right at any time, also after an exception."""

    def __init__(
        self, settings: Settings, source: ReplaySource, selection: Selection, *, dry_run: bool = False, forgets: bool = False
    ) -> None:
        self.tally = Tally()
        self._settings = settings
        self._source = source
        self._selection = selection
        self._dry_run = dry_run
        self._forgets = forgets
        self._topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
        self._letters = Letters(settings.kafka, self._topics)
        self._known: Known = {}
        self._digests: set[bytes] = set()
        self._taken: set[Identity] = set()

    def run(self, progress: Progress = lambda _read, _total: None) -> Tally:
        """Replay; `progress` hears how many records of how many are read. Raises Unreachable, SettingsError."""
        store.check(self._settings)
        if problems := topic_problems(self._settings.kafka, self._topics.table()):
            raise Unreachable("\n".join(problems))
        spans = self._spans()
        total = sum(max(0, span.following - span.first) for span in spans.values())
        try:
            with open_or_explain(self._settings.store, name="replay") as connection:
                self._learn(connection)
                self._replay(connection, spans, lambda read: progress(read, total))
        except psycopg.OperationalError as error:
            where = f"store {self._settings.store.host}:{self._settings.store.port}"
            raise Unreachable(f"{where}: {first_line(error)}: run it again, what comes twice is stored once") from error
        except (TryAgain, KafkaException) as error:
            where = f"kafka {self._settings.kafka.bootstrap}"
            raise Unreachable(f"{where}: {first_line(error)}: run it again, what comes twice is stored once") from error
        return self.tally

    def _replay(self, connection: StoreConnection, spans: Mapping[Partition, Span], progress: Callable[[int], None]) -> None:
        chunk: list[Candidate] = []
        size = 0
        for read, message in enumerate(read_spans(self._settings.kafka, spans), 1):
            candidate = candidate_of(message, self._source, self._topics)
            if candidate is not None and self._selection.takes(candidate) and self._is_fit(candidate):
                chunk.append(candidate)
                size += message.size
            if len(chunk) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
                self._pass(connection, chunk)
                chunk, size = [], 0
            progress(read)
        self._pass(connection, chunk)

    def _is_fit(self, candidate: Candidate) -> bool:
        """Whether to send it; counts it. With `forgets` only what the sink would store: the rest would be lost by it."""
        if self._source is ReplaySource.DEAD_LETTERS:  # one that dies again at each replay lies there again each time
            before = len(self._digests)
            self._digests.add(candidate.digest)
            if len(self._digests) == before:
                self.tally.copies += 1
                return False
        skip, who = candidate.hindrance, candidate.identity
        if self._forgets and skip is None and who is not None:
            if who in self._taken:
                self.tally.copies += 1
                return False
            if not isinstance(read_record(candidate.message, self._known, time.time_ns() // 1000), Row):
                skip = Skip.NOT_STORABLE
            else:
                self._taken.add(who)
        self.tally.found += 1
        if skip is not None:
            self.tally.skipped[skip] += 1
        return skip is None

    def _pass(self, connection: StoreConnection, chunk: Sequence[Candidate]) -> None:
        """One chunk. It is tried again when the store asks for that: nothing of it has happened then, or it does no harm."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._try(connection, chunk)
            except psycopg.OperationalError as error:
                if attempt == ATTEMPTS or connection.closed or not isinstance(as_sink_error(error), TryAgain):
                    raise
                time.sleep(PAUSE_S * attempt)
            else:
                return

    def _try(self, connection: StoreConnection, chunk: Sequence[Candidate]) -> None:
        if not chunk:
            return
        if self._forgets and not self._dry_run:
            with connection.transaction():
                gone, others = forget(connection, chunk)
                left = [each for each in chunk if each.identity not in others]
                self._letters.send([each.letter for each in left])
            self.tally.forgotten += len(gone)
            self.tally.skipped[Skip.OTHER_ROW] += len(others)
            self.tally.sent += len(left)
            return
        stored, known = settled(connection, identities(chunk))
        done = {who for who in identities(chunk) if who.seq in stored.get(who.stream, ())}
        left = [each for each in chunk if self._forgets or each.identity not in done]
        if not self._dry_run:
            self._letters.send([each.letter for each in left])
        elif self._forgets:
            self.tally.forgotten += sum(who.seq in known.get(who.stream, ()) for who in identities(chunk))
        self.tally.stored += len(chunk) - len(left)
        self.tally.sent += len(left)

    def _learn(self, connection: StoreConnection) -> None:
        """The schemas, as they are known when it begins."""
        if not self._forgets:
            return
        with CompactedReader(self._settings.kafka, self._topics.schemas, name="replay-schemas") as texts:
            catalogue = Catalogue(texts)
            for schemas in read_schemas(connection).values():
                catalogue.add(schemas)
            catalogue.read_all(READ_TIMEOUT_S)
            self._known = catalogue.known

    def _spans(self) -> dict[Partition, Span]:
        """What lies in the topics now, of the partitions and since the time that are asked for."""
        numbers = range(self._topics.partitions)
        if self._selection.collector is not None:
            number = partition_of(self._selection.collector, self._topics.partitions)
            numbers = range(number, number + 1)
        partitions = [(topic, number) for topic in topics_of(self._source, self._topics) for number in numbers]
        client, timeout_s = admin(self._settings.kafka), self._settings.kafka.timeout_s
        ends = log_ends(client, partitions, timeout_s)
        starts = log_starts(client, partitions, timeout_s)
        if self._selection.since_us is not None:
            found = log_offsets_at(client, partitions, at_ms=self._selection.since_us // 1000, timeout_s=timeout_s)
            starts = {where: found.get(where, ends[where]) for where in partitions}
        return {where: Span(starts[where], ends[where]) for where in partitions}
