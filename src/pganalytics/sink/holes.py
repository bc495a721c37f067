"""What was sent and has not arrived, by the ledger; and the hints of the streams about it."""

from dataclasses import dataclass
from datetime import datetime

from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink import store
from pganalytics.sink.connection import open_or_explain
from pganalytics.sink.multiranges import from_multirange
from pganalytics.sink.statements import statement

HINTS_S = 86_400.0
MOST_HINTS = 50


@dataclass(frozen=True, slots=True)
class Hole:
    """Seqs of one stream that were sent and are neither stored, dead nor shed. `missing` of them are in no topic any more;
    `deferred` wait for room; the others are on their way, or the accountant will find them.

    `noticed_at`: of the oldest event about them; `beat_at`: of the newest heartbeat of the epoch, so they were sent before it.
    """

    stream: Stream
    seqs: Ranges
    missing: Ranges
    deferred: Ranges
    noticed_at: datetime | None
    beat_at: datetime | None


@dataclass(frozen=True, slots=True)
class Hint:
    """What the streams told of a gap; it may be closed since."""

    at: datetime
    kind: str
    collector: str
    epoch: int
    lane: str
    seqs: Ranges
    detail: str


def read_holes(settings: Settings) -> tuple[list[Hole], list[Hint]]:
    """Both at one moment; raises Unreachable."""
    store.check(settings)
    with open_or_explain(settings.store, name="gaps") as connection, connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        rows = connection.execute(statement("open_read_since")).fetchall()
        hints = connection.execute(statement("hints_read"), [HINTS_S, MOST_HINTS]).fetchall()
    holes = [
        Hole(
            Stream(name, epoch, Lane(lane)),
            seqs=from_multirange(seqs),
            missing=from_multirange(missing),
            deferred=from_multirange(deferred),
            noticed_at=noticed_at,
            beat_at=beat_at,
        )
        for name, epoch, lane, seqs, missing, deferred, noticed_at, beat_at in rows
    ]
    return holes, [
        Hint(at, kind, name, epoch, lane or "", from_multirange(seqs), text) for at, kind, name, epoch, lane, seqs, text in hints
    ]
