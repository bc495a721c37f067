"""Connections to the store. Every wait for the server ends: a server that is silent for too long is a lost connection."""

import time
from collections.abc import Generator
from typing import Any, Self, TypeVar

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.postgres import ENCRYPTING, conninfo, sslmode_of
from pganalytics.runtime.settings import Server
from pganalytics.sink.outages import first_line

CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 60
SILENCE_S = 75.0
"""Longer than any statement may take: the server itself is gone, suspended or cut off."""

T = TypeVar("T")


class StoreConnection(psycopg.Connection[TupleRow]):
    """Autocommit, so that every transaction is a visible block. SQL parameters are $1, $2..."""

    silence_s = SILENCE_S

    @classmethod
    def open(cls, server: Server, *, name: str, statement_timeout_s: int = STATEMENT_TIMEOUT_S) -> Self:
        """Connect; raises psycopg.OperationalError, SettingsError."""
        text = conninfo(server, connect_timeout=CONNECT_TIMEOUT_S, application_name=f"pganalytics {name}")
        connection = cls.connect(text, autocommit=True, cursor_factory=psycopg.RawCursor)
        connection.silence_s = statement_timeout_s + SILENCE_S - STATEMENT_TIMEOUT_S
        connection.execute(
            "select set_config(s.name, s.value, false) from unnest($1::text[], $2::text[]) as s (name, value)",
            _columns(
                {
                    "search_path": "pg_catalog",
                    "TimeZone": "UTC",
                    "synchronous_commit": "on",
                    "default_transaction_isolation": "read committed",
                    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
                    "statement_timeout": f"{statement_timeout_s}s",
                    "idle_in_transaction_session_timeout": "60s",
                }
            ),
        )
        return connection

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """psycopg's wait, ended by OperationalError when nothing comes for `silence_s`; the connection is then closed."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.silence_s:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer for {self.silence_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result


def open_or_explain(server: Server, *, name: str, statement_timeout_s: int = STATEMENT_TIMEOUT_S) -> StoreConnection:
    """Connect; raises Unreachable with one line that names the server and the cure."""
    try:
        return StoreConnection.open(server, name=name, statement_timeout_s=statement_timeout_s)
    except psycopg.OperationalError as error:
        raise Unreachable(explain(server, error)) from error


def explain(server: Server, error: psycopg.OperationalError) -> str:
    """Why a connection failed and what to do. Told by what the server answers elsewhere, not by the error's text."""
    where = f"store {server.host}:{server.port}"
    match _ping(server):
        case pq.Ping.OK:
            if _lacks_database(server):
                return f"{where}: there is no database {server.dbname}: as a superuser, CREATE DATABASE {_name(server.dbname)}"
            keys = "store.user and its password" + (
                ", store.sslmode and store.sslrootcert" if sslmode_of(server) in ENCRYPTING else ""
            )
            return f"{where}: login as {server.user} failed ({first_line(error)}): check {keys}"
        case pq.Ping.REJECT:
            return f"{where}: the server is starting or stopping, or takes no connections: try again"
        case _:
            return f"{where}: no PostgreSQL answers: start it, or set store.host and store.port"


def _ping(server: Server) -> int:
    text = make_conninfo("", host=server.host, port=server.port, dbname=server.dbname, connect_timeout=CONNECT_TIMEOUT_S)
    return pq.PGconn.ping(text.encode())


def _lacks_database(server: Server) -> bool:
    """Whether the maintenance database lets us in and knows no such database."""
    try:
        with psycopg.connect(conninfo(server, dbname="postgres", connect_timeout=CONNECT_TIMEOUT_S), autocommit=True) as other:
            found = other.execute("select 1 from pg_catalog.pg_database where datname = %s", [server.dbname])
            return found.fetchone() is None
    except psycopg.OperationalError:
        return False


def _name(name: str) -> str:
    return name if name.isidentifier() and name.islower() else '"' + name.replace('"', '""') + '"'


def _columns(settings: dict[str, str]) -> tuple[list[str], list[str]]:
    return list(settings), list(settings.values())
