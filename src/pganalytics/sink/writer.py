"""One transaction per batch: rows, ledger, events and positions together, or nothing.

The order of locks is one for all sinks: ledger rows that are new, positions, ledger rows, each in key order. A replay, a
zombie and a duplicate change nothing: the positions fence the first two, the locked ledger rows tell the third.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.batch import Batch, Change, Plan, epochs, listings, plan, windows
from pganalytics.sink.beats import EpochBeat
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.dictionaries import note_latest
from pganalytics.sink.errors import Displaced, Refused
from pganalytics.sink.intake import Known
from pganalytics.sink.layout import quoted
from pganalytics.sink.letters import tidy
from pganalytics.sink.multiranges import from_multirange, to_multirange
from pganalytics.sink.outages import Meaning, first_line, meaning
from pganalytics.sink.packing import HEADER, TRAILER
from pganalytics.sink.records import KnownSchema, Partition, Poison, Reason, Row
from pganalytics.sink.statements import statement


class BatchWriter:
    """Writes batches through one connection. `ledger_lock` is a parameter so that a test can show what the lock is for."""

    def __init__(self, connection: StoreConnection, *, ledger_lock: str = statement("ledger_lock")) -> None:
        self._connection = connection
        self._ledger_lock = ledger_lock

    def write(self, batch: Batch, known: Known) -> Plan:
        """Write what is new. Tables and partitions must be there.

        Raises Displaced when the store is elsewhere, Refused when PostgreSQL refuses a row, psycopg.Error for the rest;
        then nothing is written.
        """
        with self._connection.transaction():
            stored = self._lock(batch)
            decided = plan(batch, stored)
            copy_rows(self._connection, decided.new, known)
            note_latest(self._connection, decided.new, known)
            self._settle(batch, decided.changes)
        return decided

    def find_refused(self, rows: Sequence[Row], known: Known) -> list[Poison]:
        """The rows that PostgreSQL refuses, found by halving in a transaction that writes nothing."""
        found: list[Poison] = []
        with self._connection.transaction(force_rollback=True):
            self._halve(rows, known, found)
        return found

    def _halve(self, rows: Sequence[Row], known: Known, found: list[Poison]) -> None:
        try:
            with self._connection.transaction(force_rollback=True):
                copy_rows(self._connection, rows, known)
        except Refused as error:
            if len(rows) == 1:
                row = rows[0]
                found.append(Poison(row.message, Reason.NOT_STORABLE, str(error), row.identity, row.metric, row.beat))
                return
            half = len(rows) // 2
            self._halve(rows[:half], known, found)
            self._halve(rows[half:], known, found)

    def _lock(self, batch: Batch) -> dict[Stream, Ranges]:
        """Lock positions and streams; what is stored of the batch's streams. Raises Displaced."""
        wanted = windows(batch)
        streams = _stream_columns(wanted)
        partitions = sorted(batch.spans)
        with self._connection.pipeline():
            if wanted:
                self._connection.execute(statement("ledger_insert"), streams)
            positions = self._connection.execute(statement("positions_lock"), _partition_columns(partitions))
            ledger = self._connection.execute(self._ledger_lock, [*streams, [to_multirange(seqs) for seqs in wanted.values()]])
        _check_fence(batch, {(topic, number): offset for topic, number, offset in positions})
        return {Stream(collector, epoch, Lane(lane)): from_multirange(seqs) for collector, epoch, lane, seqs in ledger}

    def _settle(self, batch: Batch, changes: Mapping[Stream, Change]) -> None:
        partitions = sorted(batch.spans)
        following = [batch.spans[partition].following for partition in partitions]
        with self._connection.pipeline():
            if changes:
                self._connection.execute(statement("ledger_update"), _change_columns(changes))
            for name, columns in _lists(batch).items():
                if columns and columns[0]:
                    self._connection.execute(statement(name), columns)
            self._connection.execute(statement("positions_update"), [*_partition_columns(partitions), following])


def copy_rows(connection: StoreConnection, rows: Sequence[Row], known: Known) -> None:
    """Binary COPY, one per schema; raises Refused when PostgreSQL refuses a value."""
    by_schema: dict[str, list[bytes]] = {}
    for row in rows:
        by_schema.setdefault(row.schema, []).append(row.packed)
    for identifier, packed in by_schema.items():
        entry = _schema(known, identifier)
        columns = ", ".join(map(quoted, entry.packer.names))
        text = f"copy metrics.{quoted(entry.schema.name)} ({columns}) from stdin (format binary)"
        try:
            with connection.cursor() as cursor, cursor.copy(text.encode()) as copy:
                copy.write(b"".join([HEADER, *packed, TRAILER]))
        except psycopg.Error as error:
            if error.sqlstate is not None and meaning(error.sqlstate) is Meaning.REFUSED:
                raise Refused(first_line(error)) from error
            raise


def mark_missing(connection: StoreConnection, lost: Mapping[Stream, Ranges]) -> None:
    """Name holes as missing, but for what was settled meanwhile. Locks in key order, as all who write the ledger."""
    in_order = {stream: lost[stream] for stream in sorted(lost)}
    columns = [*_stream_columns(in_order), [to_multirange(seqs) for seqs in in_order.values()]]
    with connection.transaction():
        connection.execute(statement("ledger_lock"), columns)
        connection.execute(statement("missing_add"), columns)


def _schema(known: Known, identifier: str) -> KnownSchema:
    entry = known[identifier]
    assert isinstance(entry, KnownSchema), "rows are made with schemas that are known"
    return entry


def _check_fence(batch: Batch, positions: Mapping[Partition, int]) -> None:
    for partition, span in batch.spans.items():
        if positions.get(partition) != span.first:
            where = f"{partition[0]}/{partition[1]}"
            raise Displaced(f"{where}: the store is at {positions.get(partition)}, the batch at {span.first}")


def _stream_columns(streams: Mapping[Stream, object]) -> list[Any]:
    return [
        [stream.collector for stream in streams],
        [stream.epoch for stream in streams],
        [stream.lane.value for stream in streams],
    ]


def _partition_columns(partitions: Sequence[Partition]) -> list[Any]:
    return [[topic for topic, _ in partitions], [number for _, number in partitions]]


def _change_columns(changes: Mapping[Stream, Change]) -> list[Any]:
    kinds = ("stored", "dead", "shed", "deferred", "sent")
    sets = [[to_multirange(getattr(change, kind)) for change in changes.values()] for kind in kinds]
    return [*_stream_columns(changes), *sets, [change.emitted for change in changes.values()]]


def _lists(batch: Batch) -> dict[str, list[Any]]:
    """Parameters of the statements that only some batches need, by name; each a list per column."""
    return {
        "epochs_upsert": _columns(_epoch(beat) for beat in epochs(batch)),
        "epochs_omit": _columns(
            (told.collector, told.appended_at_us, told.share, ",".join(map(str, told.epochs))) for told in listings(batch)
        ),
        "events_insert": _columns(_event(batch)),
        "dead_letters_insert": _columns(_dead(poison) for poison in batch.poisons),
    }


def _columns(rows: Any) -> list[Any]:
    return [list(column) for column in zip(*rows, strict=True)]


def _epoch(beat: EpochBeat) -> tuple[Any, ...]:
    final = beat.final or (None, None, None)
    return (beat.collector, beat.epoch, beat.spool_id, beat.at_us or None, beat.final is not None, *final)


def _event(batch: Batch) -> list[tuple[Any, ...]]:
    events = {noticed.event.id: noticed.event for noticed in batch.noticed}
    return [
        (
            identifier,
            event.kind.value,
            event.source.value,
            event.at_us,
            event.collector,
            event.epoch,
            event.lane.value if event.lane else None,
            to_multirange(event.ranges),
            event.topic,
            event.partition,
            event.offset,
            event.detail,
        )
        for identifier, event in events.items()
    ]


def _dead(poison: Poison) -> tuple[Any, ...]:
    place, who = poison.message.place, poison.identity
    return (
        place.topic,
        place.partition,
        place.offset,
        place.at_us,
        who.collector if who else None,
        who.epoch if who else None,
        who.lane.value if who else None,
        who.seq if who else None,
        poison.metric,
        poison.reason.value,
        tidy(poison.detail),
    )
