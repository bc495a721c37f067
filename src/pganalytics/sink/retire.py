"""An operator gives up a collector: of its open epochs nothing will follow. The accountant then settles what is left of them.

Nothing is thrown away: a record that turns up later is stored all the same, and a heartbeat takes the word back.
"""

import time
from dataclasses import dataclass

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.partitioner import partition_of
from pganalytics.schemas.topics import Topics
from pganalytics.sink import store
from pganalytics.sink.audit import read_audit
from pganalytics.sink.connection import StoreConnection, open_or_explain
from pganalytics.sink.errors import TryAgain
from pganalytics.sink.letters import Letters, of_epoch
from pganalytics.sink.multiranges import from_multirange
from pganalytics.sink.statements import statement

PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class OpenEpoch:
    """An epoch that has not ended. `alive`: a heartbeat came not long ago. `left`: records emitted and not settled."""

    epoch: int
    orphaned: bool
    alive: bool
    left: int


@dataclass(frozen=True, slots=True)
class Retirement:
    """`kept`: epochs that are alive. `missing`: of the collector, now. `under_way`: what the accountant has not settled yet."""

    retired: tuple[OpenEpoch, ...]
    kept: tuple[OpenEpoch, ...]
    missing: int
    under_way: int


def retire(settings: Settings, collector: str, *, silent_s: float, wait_s: float) -> Retirement | None:
    """Retire the open epochs that are orphaned or silent for `silent_s`; None when the store has never seen the collector.

    Waits up to `wait_s` for the sink to settle what is left. Raises Unreachable, SettingsError.
    """
    store.check(settings)
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    with open_or_explain(settings.store, name="retire") as connection:
        if collector not in read_audit(connection, collector).collectors:
            return None
        found = [OpenEpoch(*row) for row in connection.execute(statement("epochs_of"), [collector, silent_s]).fetchall()]
        chosen = tuple(one for one in found if not one.alive)
        if chosen:
            _tell(settings, topics, collector, chosen)
            connection.execute(statement("epochs_retire"), [collector, [one.epoch for one in chosen]])
        missing, under_way = _wait(connection, collector, {one.epoch for one in chosen}, wait_s)
    return Retirement(chosen, tuple(one for one in found if one.alive), missing, under_way)


def _tell(settings: Settings, topics: Topics, collector: str, chosen: tuple[OpenEpoch, ...]) -> None:
    number = partition_of(collector, topics.partitions)
    details = {one.epoch: f"an operator gave up the {one.left} records that were left of it" for one in chosen}
    try:
        Letters(settings.kafka, topics).tell(
            [of_epoch(EventKind.RETIRED, topics, collector, epoch, number, detail) for epoch, detail in details.items()]
        )
    except TryAgain as error:
        raise Unreachable(f"kafka {settings.kafka.bootstrap}: {error.detail}: nothing is retired, try again") from error


def _wait(connection: StoreConnection, collector: str, epochs: set[int], wait_s: float) -> tuple[int, int]:
    """(missing records of the collector, records of these epochs that are not settled yet)"""
    deadline = time.monotonic() + wait_s
    while True:
        rows = connection.execute(statement("open_read"), [[collector]]).fetchall()
        under_way = sum(len(from_multirange(seqs)) for _, epoch, _, seqs, _ in rows if epoch in epochs)
        if not under_way or time.monotonic() >= deadline:
            return read_audit(connection, collector).total.missing, under_way
        time.sleep(PAUSE_S)
