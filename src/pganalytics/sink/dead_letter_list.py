"""The store's list of dead letters, and what became of each since: the ledger says that."""

from dataclasses import dataclass
from datetime import datetime

import psycopg

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.settings import Settings
from pganalytics.sink import store
from pganalytics.sink.connection import open_or_explain
from pganalytics.sink.outages import first_line
from pganalytics.sink.records import Reason
from pganalytics.sink.statements import statement


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters; None is any. Times are the broker's, of the record that was dead-lettered."""

    collector: str | None = None
    metric: str | None = None
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that could not be stored. `now`: dead, stored, shed, missing, under_way, or unattributed."""

    place: str
    at: datetime
    collector: str | None
    epoch: int | None
    lane: str | None
    seq: int | None
    metric: str | None
    reason: str
    detail: str
    now: str


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """Dead letters alike. `dead`: those that are not stored since. `newest` and `detail` are of the newest."""

    reason: str
    collector: str | None
    metric: str | None
    letters: int
    dead: int
    newest: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class DeadLetterList:
    """The newest groups and the newest letters; `groups_total` and `letters_total` count those beyond the limit too."""

    groups: tuple[DeadGroup, ...]
    letters: tuple[DeadLetter, ...]
    groups_total: int
    letters_total: int


def read_list(settings: Settings, wanted: Wanted, *, limit: int) -> DeadLetterList:
    """At most `limit` groups and letters, newest first; raises Unreachable, SettingsError."""
    store.check(settings)
    which = [wanted.collector, wanted.metric, wanted.reason, wanted.since, wanted.until, limit]
    with open_or_explain(settings.store, name="dead letters") as connection:
        try:
            with connection.transaction():
                connection.execute("set transaction isolation level repeatable read, read only")
                groups = connection.execute(statement("dead_letters_groups"), which).fetchall()
                letters = connection.execute(statement("dead_letters_read"), which).fetchall()
        except psycopg.OperationalError as error:
            where = f"store {settings.store.host}:{settings.store.port}"
            raise Unreachable(f"{where}: {first_line(error)}: try again") from error
    totals = groups[0][-2:] if groups else (0, 0)
    return DeadLetterList(
        groups=tuple(DeadGroup(*group[:-2]) for group in groups),
        letters=tuple(DeadLetter(*letter) for letter in letters),
        groups_total=int(totals[0]),
        letters_total=int(totals[1]),
    )
