"""The spool: what is read and not yet acknowledged by Kafka, on disk.

- A record has its seq from the transaction that commits it: 1, 2, 3... per (collector, epoch, lane), never reused or skipped.
- The record and the movement of its baseline commit together, or neither does.
- A record is deleted by `acknowledge` alone. A crash between Kafka's answer and the deletion sends it again: harmless.
- Above the soft limit snapshots are refused (`Refused`), but for critical ones: the last part is theirs, up to `limit_bytes`.
  The same when the disk has little room left, see `disk_room`. Heartbeats are never refused for either, as a collector has at
  most one unsent.

Any thread may call the methods; each returns when its effect is durable.
"""

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Container, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Self, TypeVar

from pganalytics.producers import epochs, spool_records
from pganalytics.producers.compression import compress
from pganalytics.producers.disk_room import DiskRoom
from pganalytics.producers.group_commit import GroupCommit, Refused
from pganalytics.producers.records import Record, Snapshot, SpoolState, Unsent
from pganalytics.producers.spool_file import lock_folder, open_file
from pganalytics.runtime.errors import Unreachable
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import MetricSchema

T = TypeVar("T")
Spawn = Callable[[str, Callable[[], None]], object]
BuildHeartbeat = Callable[[SpoolState, bool], tuple[Record, HeartbeatFacts]]


def never_final(state: SpoolState) -> bool:
    """More will follow."""
    del state
    return False


def daemon_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """A thread without a lifecycle, for users of the spool that are no agent."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


class Spool:
    """One file, one writer thread. Make it with `open`, end it with `close`."""

    def __init__(self, connection: sqlite3.Connection, lock: IO[str], limit_bytes: int, soft_bytes: int) -> None:
        self._lock = lock
        self._limit_bytes = limit_bytes
        self._soft_bytes = soft_bytes
        self._codecs: dict[str, RecordCodec] = {}
        self._schemas: dict[str, str] = dict(connection.execute("select id, text from schemas").fetchall())
        self._arrived = threading.Event()
        self._inserted: set[Lane] = set()
        self._arrivals: Counter[Lane] = Counter()
        self._disk = DiskRoom(Path(lock.name).parent, connection)
        self._usage: tuple[int, int] = connection.execute("select records, bytes from usage").fetchone()
        self._writer = GroupCommit(connection, self._note_usage)

    @classmethod
    def open(cls, folder: Path, *, limit_bytes: int = 1 << 30, soft_limit: float = 0.8, spawn: Spawn = daemon_thread) -> Self:
        """Open or make the spool in `folder`; `soft_limit` is a share of `limit_bytes`.

        SettingsError when another agent has it, Unreachable when it cannot be used; a damaged one is set aside.
        """
        with contextlib.ExitStack() as half_open:
            lock = half_open.enter_context(lock_folder(folder))
            connection = half_open.enter_context(contextlib.closing(open_file(folder)))
            try:
                connection.execute("delete from schemas where id not in (select schema from records)")
                spool = cls(connection, lock, limit_bytes, int(limit_bytes * soft_limit))
            except sqlite3.Error as error:
                raise Unreachable(f"spool in {folder}: cannot be used ({error}): make room, or mend the disk") from error
            half_open.pop_all()
        spawn("spool", spool._writer.run)
        return spool

    def close(self, timeout_s: float = 10.0) -> None:
        """Finish what was handed in, and let another agent have the folder."""
        self._writer.close(timeout_s)
        self._lock.close()

    @property
    def usage(self) -> tuple[int, int]:
        """(records, bytes) after the last commit."""
        return self._usage

    @property
    def fill(self) -> float:
        """How much of the soft limit is taken, after the last commit; from 1 on readings are held back."""
        return self._usage[1] / self._soft_bytes

    @property
    def busy_since(self) -> float | None:
        """Since when (time.monotonic) the transaction at hand goes on; None while there is none."""
        return self._writer.busy_since

    def arrivals(self, lane: Lane) -> int:
        """Commits with new records of a lane, since the spool was opened."""
        return self._arrivals[lane]

    def refusal(self, lane: Lane) -> str | None:
        """Why a snapshot of this lane would be refused now, after the last commit; None when it would not."""
        return self._refusal(lane, self._usage[1])

    def wait_for_records(self, timeout_s: float) -> None:
        """Return when a record was committed since the last call, or after the time. For one thread, the sender's."""
        self._arrived.wait(timeout_s)
        self._arrived.clear()

    def start_epoch(self, collector: str, epoch: int) -> None:
        """Begin an epoch; the collector's older ones have ended."""
        self._do(lambda db: epochs.start(db, collector, epoch))

    def end_epoch(self, collector: str, epoch: int) -> None:
        """No record will be added to it."""
        self._do(lambda db: epochs.end(db, collector, epoch))

    def collectors(self) -> list[str]:
        """Every collector with an epoch here: each must have heartbeats."""
        return self._do(epochs.collectors, reads=True)

    def unsent_epochs(self) -> set[tuple[str, int]]:
        """(collector, epoch) of which something is in the spool."""
        return set(self._do(lambda db: db.execute("select distinct collector, epoch from records").fetchall(), reads=True))

    def append(self, snapshot: Snapshot) -> Identity | None:
        """Commit a snapshot; the identity of its record, None when it has none. Raises Refused and changes nothing then."""
        return self.append_many([snapshot])[0]

    def append_many(self, snapshots: Sequence[Snapshot]) -> list[Identity | None]:
        """Commit all in one transaction, or none."""
        if not snapshots:
            return []
        packed = [compress(one.record.rest) if one.record else b"" for one in snapshots]
        return self._do(lambda db: self._append(db, list(zip(snapshots, packed, strict=True))))

    def heartbeat(
        self, collector: str, epoch: int, build: BuildHeartbeat, is_final: Callable[[SpoolState], bool] = never_final
    ) -> "Future[Identity | None]":
        """Build a heartbeat in the transaction that gives its seq; the future's result is None while another one is unsent.

        `build` gets the spool's state and whether this heartbeat ends the epoch, as `is_final` decides; only an epoch of which
        nothing else is unsent can end. The future raises EpochEnded when that has happened already.
        """
        return self._writer.submit(lambda db: self._heartbeat(db, collector, epoch, build, is_final))

    def unsent(self, lane: Lane, *, limit: int, exclude: Container[object], schemas: Collection[str]) -> list[Unsent]:
        """The oldest records of a lane that are not in `exclude` and whose schema is in `schemas`."""
        return self._do(lambda db: spool_records.unsent(db, lane, limit, exclude, schemas), reads=True)

    def acknowledge(self, ids: Collection[int]) -> None:
        """Kafka has these: delete them, and the epochs that a heartbeat among them called final."""
        self._do(lambda db: spool_records.acknowledge(db, ids))

    def shorten(self, record: int, error: str) -> None:
        """Kafka refuses this one for good: only a stub of it is kept, with the error's name."""
        self._do(lambda db: spool_records.shorten(db, record, error))

    def schemas(self) -> dict[str, str]:
        """Texts of all schemas that records here have or had, by id."""
        return self._schemas

    def baseline(self, collector: str, metric: str, database: str = "") -> list[bytes]:
        """The log of a baseline, from its last full entry on."""
        found = self._do(
            lambda db: db.execute(
                "select body from baselines where collector = ? and metric = ? and database = ? order by number",
                (collector, metric, database),
            ).fetchall(),
            reads=True,
        )
        return [row[0] for row in found]

    def drop_baselines(self, whose: Collection[tuple[str, str, str]]) -> None:
        """Forget the baselines of these (collector, metric, database)."""
        delete = "delete from baselines where collector = ? and metric = ? and database = ?"
        self._do(lambda db: db.executemany(delete, list(whose)).rowcount)

    def keep_baselines_of(self, collectors: Collection[str]) -> None:
        """Drop the baselines of all others: whoever reads those targets meanwhile counts from his own."""
        marks = ",".join("?" * len(collectors))
        self._do(lambda db: db.execute(f"delete from baselines where collector not in ({marks})", list(collectors)).rowcount)  # noqa: S608

    def _do(self, call: Callable[[sqlite3.Connection], T], *, reads: bool = False) -> T:
        return self._writer.submit(call, reads=reads).result()

    def _append(self, db: sqlite3.Connection, snapshots: Sequence[tuple[Snapshot, bytes]]) -> list[Identity | None]:
        """`snapshots`: each with the compressed rest of its record."""
        (used,) = db.execute("select bytes from usage").fetchone()
        identities: list[Identity | None] = []
        added = 0
        for snapshot, rest in snapshots:
            identity, record, movement = None, snapshot.record, snapshot.movement
            lane = record.schema.lane if record is not None else Lane.NORMAL
            if (why := self._refusal(lane, used + added if record is not None else 0)) is not None:
                raise Refused(why)
            self._disk.take(len(rest) + (len(movement.body) if movement is not None else 0))
            if record is not None:
                identity, size = self._insert(db, record, rest, None)
                added += size
            if movement is not None:
                spool_records.move_baseline(db, movement)
            identities.append(identity)
        spool_records.note_usage(db, sum(identity is not None for identity in identities), added)
        return identities

    def _refusal(self, lane: Lane, used_bytes: int) -> str | None:
        if used_bytes >= self._limit_bytes:
            return "spool_full"
        if used_bytes >= self._soft_bytes and lane is not Lane.CRITICAL:
            return "spool_soft_limit"
        return "disk" if self._disk.is_short(lane) else None

    def _heartbeat(
        self,
        db: sqlite3.Connection,
        collector: str,
        epoch: int,
        build: BuildHeartbeat,
        is_final: Callable[[SpoolState], bool],
    ) -> Identity | None:
        if db.execute("select 1 from records where collector = ? and facts is not null", (collector,)).fetchone():
            return None
        seq = epochs.next_seq(db, collector, epoch, Lane.CRITICAL)
        state = epochs.state(db, collector, epoch)
        final = state.own.all_sent and is_final(state)
        record, facts = build(state, final)
        rest = compress(record.rest)
        identity, size = self._insert(db, record, rest, facts, seq)
        spool_records.note_usage(db, 1, size)
        if final:
            epochs.end(db, collector, epoch)
        return identity

    def _insert(
        self, db: sqlite3.Connection, record: Record, rest: bytes, facts: HeartbeatFacts | None, seq: int | None = None
    ) -> tuple[Identity, int]:
        """Its identity, and the bytes that it takes."""
        schema = record.schema
        seq = seq or epochs.next_seq(db, record.collector, record.epoch, schema.lane)
        identity = Identity(record.collector, record.epoch, schema.lane, seq)
        size = spool_records.insert(db, identity, record, self._codec(schema).assemble(identity, b""), rest, facts)
        if schema.id not in self._schemas:
            self._schemas = {**self._schemas, schema.id: schema.text}
        self._inserted.add(schema.lane)
        return identity, size

    def _codec(self, schema: MetricSchema) -> RecordCodec:
        if schema.id not in self._codecs:
            self._codecs[schema.id] = RecordCodec(schema)
        return self._codecs[schema.id]

    def _note_usage(self, db: sqlite3.Connection) -> None:
        self._usage = db.execute("select records, bytes from usage").fetchone()
        self._disk.measure(db)
        if self._inserted:
            self._arrivals.update(self._inserted)
            self._inserted.clear()
            self._arrived.set()
