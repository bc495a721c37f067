"""How epochs end otherwise than by a final heartbeat: their spool is gone, or was put back to an earlier state.

An epoch that later heartbeats of its collector leave out is a suspect. It is judged like a record: only when all that lay on
its way has been read, and after a look into the collected topics, since what the streams lost could be its final heartbeat.
A heartbeat that names an orphaned epoch takes it back.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import LANES, Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.letters import Letters, of_epoch, spool_rolled_back
from pganalytics.sink.multiranges import MOST_SEQ, from_multirange
from pganalytics.sink.statements import statement

logger = logging.getLogger(__name__)

OMISSIONS = 3.0
"""So many complete listings in a row: the heartbeats of two agents that live under one id alternate, and orphan nobody."""
_ENOUGH = OMISSIONS - 1e-6
"""Listings of many epochs are shares that add up."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """An epoch whose spool seems to be gone, or to have been put back.

    `heartbeat_at`: its agent's clock at its last heartbeat. `omitted_from`: when the broker took the first heartbeat without
    it. What it read between these two is not counted. Either is None when no heartbeat tells it.
    """

    collector: str
    epoch: int
    spool_id: str | None
    heartbeat_at: datetime | None
    omitted_from: datetime | None

    @property
    def key(self) -> tuple[str, int]:
        """(collector, epoch)"""
        return self.collector, self.epoch

    @property
    def detail(self) -> str:
        """For people."""
        after = f"{self.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC" if self.heartbeat_at else "its start"
        before = f"{self.omitted_from:%Y-%m-%d %H:%M:%S} UTC" if self.omitted_from else "now"
        spool = f"spool {self.spool_id}" if self.spool_id else "its spool"
        return f"{spool} is gone; what was read between {after} and {before} and not sent is not counted"


@dataclass(frozen=True, slots=True)
class OddEpoch:
    """An epoch that did not end as it should, for audits. `what`: orphaned or rolled_back.

    `emitted`: highest seq known by lane. `unsent`: what is known to have been in its spool.
    """

    what: str
    who: Suspect
    emitted: Mapping[Lane, int]
    unsent: Mapping[Lane, Ranges]


def complete_epochs(connection: StoreConnection) -> None:
    """Note epochs that only records tell of, so that heartbeats can leave them out."""
    connection.execute(statement("epochs_complete"))


def read_suspects(connection: StoreConnection, collectors: Iterable[str] | None = None) -> list[Suspect]:
    """Those that are left out often enough and not called orphaned yet."""
    wanted = None if collectors is None else list(collectors)
    return [Suspect(*row) for row in connection.execute(statement("epochs_suspect"), [_ENOUGH, wanted]).fetchall()]


def orphan(connection: StoreConnection, letters: Letters, topics: Topics, number: int, suspects: Sequence[Suspect]) -> int:
    """Nothing of these is on its way: tell, and call them orphaned but for those that a heartbeat has named meanwhile.

    How many are orphaned now.
    """
    kind = EventKind.ORPHANED
    letters.tell([of_epoch(kind, topics, one.collector, one.epoch, number, one.detail) for one in suspects])
    orphaned = connection.execute(statement("epochs_orphan"), [_ENOUGH, *_columns(one.key for one in suspects)]).rowcount
    for one in suspects:
        logger.error("spool is gone", extra={"collector": one.collector, "epoch": one.epoch, "detail": one.detail})
    return orphaned


def tell_of_rolled_back(
    connection: StoreConnection, letters: Letters, topics: Topics, partition_if_ours: Callable[[str], int | None]
) -> int:
    """What is known above what a final heartbeat said, once. The number of epochs."""
    found: list[tuple[Stream, Ranges, int]] = []
    for name, epoch, lane, low, high in connection.execute(statement("epochs_rolled_back")).fetchall():
        number = partition_if_ours(name)
        if number is not None:
            found.append((Stream(name, epoch, Lane(lane)), Ranges.of([(low, high)]), number))
    if not found:
        return 0
    letters.tell([spool_rolled_back(topics, stream, seqs, number) for stream, seqs, number in found])
    epochs = {(stream.collector, stream.epoch) for stream, _, _ in found}
    connection.execute(statement("epochs_roll_back"), _columns(epochs))
    for stream, seqs, _ in found:
        facts = {"collector": stream.collector, "epoch": stream.epoch, "lane": stream.lane.value, "seqs": str(seqs)}
        logger.error("spool was put back to an earlier state", extra=facts)
    return len(epochs)


def strays(connection: StoreConnection, suspects: Iterable[Suspect]) -> dict[Stream, Ranges]:
    """All seqs of these epochs that are not in the store: whatever the collected topics have of them never arrived."""
    keys = {suspect.key for suspect in suspects}
    rows = connection.execute(statement("settled_read"), [sorted({name for name, _ in keys})]).fetchall()
    settled = {Stream(name, epoch, Lane(lane)): from_multirange(seqs) for name, epoch, lane, seqs in rows}
    streams = [Stream(name, epoch, lane) for name, epoch in keys for lane in LANES]
    return {stream: Ranges.of([(1, MOST_SEQ)]) - settled.get(stream, Ranges()) for stream in streams}


def read_odd_epochs(connection: StoreConnection, collector: str | None) -> list[OddEpoch]:
    """What audits have to say of epochs."""
    rows = connection.execute(statement("epochs_read"), [collector]).fetchall()
    return [
        OddEpoch(
            what,
            Suspect(*who),
            {lane: emitted.get(lane, 0) for lane in LANES},
            {lane: from_multirange(unsent[lane]) for lane in LANES if lane in unsent},
        )
        for what, *who, emitted, unsent in rows
    ]


def _columns(keys: Iterable[tuple[str, int]]) -> list[list[str] | list[int]]:
    in_order = sorted(keys)
    return [[name for name, _ in in_order], [epoch for _, epoch in in_order]]
