"""The store's structure: numbered SQL files, applied in order, once each, under a lock.

A file that was applied never changes: a store whose record of it differs was made by something else, and is refused.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from pganalytics.sink.connection import StoreConnection

LOCK_SPACE = 1_885_827_443
"""First key of our advisory locks in the store."""
MIGRATIONS_LOCK = 1
TABLES_LOCK = 2

_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
BOOTSTRAP = """
create schema if not exists pganalytics;
create table if not exists pganalytics.migrations (
    number integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
);
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `checksum` is the SHA-256 of its bytes."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """By which a later change is noticed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@cache
def packaged() -> tuple[Migration, ...]:
    """The files that come with the package, in order."""
    folder = resources.files("pganalytics.sink").joinpath("sql")
    found = [
        Migration(int(match[1]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if (match := _FILE.fullmatch(entry.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.number))


def problems(files: Sequence[Migration], applied: Mapping[int, tuple[str, str]]) -> list[str]:
    """Why a store with these files applied (number: name, checksum) is not ours, one line each. Pure."""
    ours = {migration.number: migration for migration in files}
    found = []
    for number, (name, checksum) in sorted(applied.items()):
        if number not in ours:
            found.append(f"migration {name} is unknown here: the store was set up by a later version; upgrade pganalytics")
        elif ours[number].checksum != checksum:
            found.append(
                f"migration {name} differs from {ours[number].name}, which comes with this version: use another database"
            )
    return found


def pending(files: Iterable[Migration], applied: Mapping[int, tuple[str, str]]) -> list[Migration]:
    """What is still to apply, in order. Pure."""
    return [migration for migration in files if migration.number not in applied]


def read_applied(connection: StoreConnection) -> dict[int, tuple[str, str]]:
    """Name and checksum of every file applied; nothing when the store was never set up."""
    if connection.execute("select to_regclass('pganalytics.migrations')").fetchone() == (None,):
        return {}
    rows = connection.execute("select number, name, checksum from pganalytics.migrations").fetchall()
    return {number: (name, checksum) for number, name, checksum in rows}


def apply(connection: StoreConnection, files: Sequence[Migration]) -> list[str]:
    """Apply what is pending, in the transaction that the caller holds with the lock; the names of the files applied."""
    connection.execute(BOOTSTRAP)
    todo = pending(files, read_applied(connection))
    for migration in todo:
        connection.execute(migration.text)
        connection.execute(
            "insert into pganalytics.migrations (number, name, checksum) values ($1, $2, $3)",
            [migration.number, migration.name, migration.checksum],
        )
    return [migration.name for migration in todo]


def lock(connection: StoreConnection, what: int) -> None:
    """Take one of our locks until the end of the transaction; raises on lock_timeout."""
    connection.execute("select pg_advisory_xact_lock($1, $2)", [LOCK_SPACE, what])
