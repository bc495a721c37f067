"""The spool's SQL about epochs: who emitted how much, what is unsent, what is over. Called inside the spool's transactions."""

import sqlite3
from collections.abc import Iterable

from pganalytics.producers.records import EpochState, SpoolState
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.schemas.ranges import Ranges

OLD_EPOCHS_LISTED = 50
RANGES_LISTED = 32
_EMITTED = "emitted_critical, emitted_normal, emitted_bulk"


class EpochEnded(Exception):
    """The epoch was not started or has ended: nothing can be added, the agent is stopping."""


def start(db: sqlite3.Connection, collector: str, epoch: int) -> None:
    """Begin an epoch; all others of the collector have ended. Those that emitted nothing were never heard of and go."""
    db.execute("delete from epochs where collector = ? and emitted_critical + emitted_normal + emitted_bulk = 0", (collector,))
    db.execute("update epochs set ended = 1 where collector = ?", (collector,))
    db.execute("insert into epochs (collector, epoch) values (?, ?)", (collector, epoch))


def next_seq(db: sqlite3.Connection, collector: str, epoch: int, lane: Lane) -> int:
    """The next seq of a lane; raises EpochEnded."""
    row = db.execute(
        f"update epochs set emitted_{lane.value} = emitted_{lane.value} + 1 "  # noqa: S608  (a closed list of lanes)
        f"where collector = ? and epoch = ? and not ended returning emitted_{lane.value}",
        (collector, epoch),
    ).fetchone()
    if row is None:
        raise EpochEnded(f"epoch {epoch} of collector {collector} is not open")
    return int(row[0])


def end(db: sqlite3.Connection, collector: str, epoch: int) -> None:
    """No record will be added."""
    db.execute("update epochs set ended = 1 where collector = ? and epoch = ?", (collector, epoch))


def forget(db: sqlite3.Connection, collector: str, epochs: Iterable[int]) -> None:
    """Drop epochs that an acknowledged heartbeat called final."""
    db.executemany("delete from epochs where collector = ? and epoch = ? and ended", [(collector, one) for one in epochs])


def collectors(db: sqlite3.Connection) -> list[str]:
    """Every collector that has an epoch here."""
    return [row[0] for row in db.execute("select distinct collector from epochs order by collector")]


def unsent(db: sqlite3.Connection, collector: str, epoch: int) -> dict[Lane, Ranges]:
    """Ranges of seqs that are still in the spool, found by the index alone."""
    rows = db.execute(
        "select lane, min(seq), max(seq) from (select lane, seq, seq - row_number() over (partition by lane order by seq) as run "
        "from records where collector = ? and epoch = ?) group by lane, run",
        (collector, epoch),
    ).fetchall()
    return {lane: Ranges.of((low, high) for name, low, high in rows if name == lane.value) for lane in LANES}


def state(db: sqlite3.Connection, collector: str, epoch: int) -> SpoolState:
    """What a heartbeat of this collector has to say; the old epochs that it lists go to the end of the rotation."""
    own = db.execute(
        f"select epoch, {_EMITTED} from epochs where collector = ? and epoch = ?",  # noqa: S608
        (collector, epoch),
    ).fetchone()
    total = db.execute("select count(*) from epochs where collector = ? and epoch <> ?", (collector, epoch)).fetchone()[0]
    old = db.execute(
        f"select epoch, {_EMITTED} from epochs where collector = ? and epoch <> ? order by listed, epoch limit ?",  # noqa: S608
        (collector, epoch, OLD_EPOCHS_LISTED),
    ).fetchall()
    db.executemany(
        "update epochs set listed = listed + 1 where collector = ? and epoch = ?", [(collector, row[0]) for row in old]
    )
    records, size = db.execute("select records, bytes from usage").fetchone()
    return SpoolState(
        spool_id=db.execute("select spool_id from meta").fetchone()[0],
        records=records,
        size=size,
        own=_state(db, collector, own),
        old=tuple(_state(db, collector, row) for row in old),
        old_total=total,
    )


def _state(db: sqlite3.Connection, collector: str, row: tuple[int, ...]) -> EpochState:
    epoch, *emitted = row
    exact = unsent(db, collector, epoch)
    return EpochState(
        epoch,
        dict(zip(LANES, emitted, strict=True)),
        {lane: ranges.merged_outward(RANGES_LISTED) for lane, ranges in exact.items()},
    )
