"""A primary and its standby of one major version, read by a role with pg_monitor and nothing else. For the tests of metrics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from integration.producers_feed import Asker, Watched, watched
from integration.versions import binaries_of
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.answers import Answer
from pganalytics.producers.tables import Table
from waiting import until

SETTINGS = {
    "archive_command": ":",
    "archive_mode": "on",
    "autovacuum": "off",
    "max_prepared_transactions": "10",
    "track_io_timing": "on",
    "wal_retrieve_retry_interval": "100ms",
    "wal_keep_size": "256MB",
    "wal_level": "logical",
}
Row = dict[str, Any]


@dataclass
class Pair:
    """`watched` is a database of the primary, which the standby has, too. The askers read as an agent does."""

    primary: PostgresServer
    standby: PostgresServer
    watched: Watched

    @property
    def major(self) -> int:
        return self.primary.major

    @cached_property
    def primary_asker(self) -> Asker:
        return Asker(self.watched.target("primary"))

    @cached_property
    def standby_asker(self) -> Asker:
        return Asker(self.watched.target("standby", port=self.standby.port))

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A session of the superuser in the watched database of the primary."""
        return psycopg.connect(self.primary.conninfo(self.watched.dbname), autocommit=True, prepare_threshold=None, **options)

    def connect_standby(self, **options: Any) -> psycopg.Connection[Any]:
        """The same on the standby."""
        return psycopg.connect(self.standby.conninfo(self.watched.dbname), autocommit=True, prepare_threshold=None, **options)

    def caught_up(self) -> None:
        """Wait until the standby has replayed what the primary has written."""
        with self.connect() as primary, psycopg.connect(self.standby.conninfo(), autocommit=True) as standby:
            primary.execute("select pg_logical_emit_message(true, '', '')")  # its commit makes all before it reach the disk
            end = value(primary, "select pg_current_wal_flush_lsn()::text")
            until(lambda: value(standby, "select pg_last_wal_replay_lsn() >= %s::pg_lsn", end), what="replay")


@contextmanager
def pair_of(major: int, folder: Path) -> Iterator[Pair]:
    """Both servers, running and connected to each other."""
    with (
        PostgresServer.start(folder / "primary", binaries=binaries_of(major), settings=SETTINGS) as primary,
        primary.start_standby(folder / "standby", settings=SETTINGS) as standby,
    ):
        pair = Pair(primary, standby, watched(primary, folder, extension=False))
        pair.caught_up()
        yield pair
        pair.primary_asker.pools.close()
        pair.standby_asker.pools.close()
        for server in (pair.standby, pair.primary):
            server.stop("immediate")  # nobody needs their checkpoints


def rows_of(asker: Asker, metric: str, group: str = "rows") -> list[Row]:
    """What a metric's query says now."""
    return dicts(answer_of(asker, metric).groups[group])


def context_of(asker: Asker, metric: str) -> Row:
    """The same of its context."""
    table = answer_of(asker, metric).before
    assert table is not None
    return dicts(table)[0]


def answer_of(asker: Asker, metric: str) -> Answer:
    """The whole answer; it must be one."""
    answer = asker.ask(metric)
    assert isinstance(answer, Answer), answer
    return answer


def dicts(table: Table) -> list[Row]:
    """Rows by the names of their columns."""
    return [dict(zip(table.names, row, strict=True)) for row in table.rows]


def value(connection: psycopg.Connection[Any], query: str, *parameters: Any) -> Any:
    """The one value that a query gives."""
    row = connection.execute(query, parameters or None).fetchone()
    assert row is not None
    return row[0]


def view(connection: psycopg.Connection[Any], query: str) -> list[Row]:
    """What a view says, by the names of its columns."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def calm(told: Callable[[], Any], *readings: Callable[[], Any]) -> tuple[Any, ...]:
    """What the server told, and readings of ours while it told the same before and after them."""
    found: list[tuple[Any, ...]] = []

    def happened() -> bool:
        before, ours, after = told(), [reading() for reading in readings], told()
        if before == after:
            found.append((before, *ours))
        return bool(found)

    until(happened, what="two equal readings")
    return found[0]


def us(at: Any) -> int | None:
    """Microseconds of a time or an interval."""
    return None if at is None else round(at.timestamp() * 1e6 if hasattr(at, "timestamp") else at.total_seconds() * 1e6)


def send(connection: psycopg.Connection[Any], query: str) -> None:
    """Begin a statement that will have to wait, and return."""
    connection.pgconn.send_query(query.encode())


def configure(server: PostgresServer, **settings: str) -> None:
    """Change the server's own settings and have it read them; an empty value takes a change back."""
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        for name, chosen in settings.items():
            admin.execute(f"alter system set {name} = '{chosen}'" if chosen else f"alter system reset {name}")
        admin.execute("select pg_reload_conf()")
