"""Which of the waiting jobs a worker takes together. Pure.

All that waits for one database goes in one round trip. Where the target is known to be well its other databases come in turn; but
critical jobs wait for nobody else's database.
"""

from collections.abc import Collection, Mapping

from pganalytics.producers.schedule import JobKey
from pganalytics.producers.workers import Candidate

MOST_TOGETHER = 16
"""Databases that a worker reads one after the other before somebody else is served."""


def candidates(waiting: Mapping[JobKey, Candidate], busy: Collection[JobKey], trusted: Collection[str]) -> list[Candidate]:
    """Who may be admitted: of those that would be taken together, the first."""
    first: dict[object, Candidate] = {}
    for one in _free(waiting, busy):
        first.setdefault(one.key.collector if _takes_turns(one, trusted) else one.key, one)
    return list(first.values())


def taken_with(
    admitted: Candidate, waiting: Mapping[JobKey, Candidate], busy: Collection[JobKey], trusted: Collection[str]
) -> tuple[JobKey, ...]:
    """The admitted job and what comes with it, database by database."""
    key = admitted.key
    if not key.database:
        return (key,)
    near = [one.key for one in _free(waiting, busy) if one.key.database and one.key.collector == key.collector]
    databases = [key.database]
    if _takes_turns(admitted, trusted):
        databases += sorted({other.database for other in near} - {key.database})[: MOST_TOGETHER - 1]
    return (key, *(other for name in databases for other in near if other.database == name and other != key))


def _free(waiting: Mapping[JobKey, Candidate], busy: Collection[JobKey]) -> list[Candidate]:
    """Who waits, and not for a database that a worker has taken already."""
    taken = {(key.collector, key.database) for key in busy if key.database}
    return [one for key, one in waiting.items() if (key.collector, key.database) not in taken]


def _takes_turns(one: Candidate, trusted: Collection[str]) -> bool:
    return bool(one.key.database) and not one.critical and one.key.collector in trusted
