"""One connection to a target: how it is opened, what it may do, and the deadline that nothing it does can pass.

libpq alone waits for ever for a server that stopped in its tracks. Every wait of such a connection goes through a deadline of
ours instead, and ends early when the agent stops.
"""

import codecs
import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import psycopg
import psycopg.abc
from psycopg.adapt import Buffer, Loader, Transformer
from psycopg.pq import Format

from pganalytics.producers.catalogue import Extension, ServerFacts, Variant, version_of
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Target

if TYPE_CHECKING:
    from pganalytics.producers.collectors import Job
    from pganalytics.producers.script import Script

T = TypeVar("T")
APPLICATION = "pganalytics"
SEARCH_PATH = "pg_catalog, pg_temp"
LOCK_TIMEOUT_MS = 1000
IDLE_TIMEOUT_MS = 60_000
CONFIGURE_TIMEOUT_S = 5.0
CONSISTENT = "cache"
"""Before 15 there is no such setting. `none` gives the columns of one row from different moments; `snapshot` copies the
statistics of the whole database for each transaction."""


class DeadlinePassed(psycopg.OperationalError):
    """The target did not answer in time: the connection is of no use any more."""


class Stopping(psycopg.OperationalError):
    """The agent stops: the reading is given up."""


class ReplacingLoader(Loader):
    """Text of a target that is not valid (a name from a SQL_ASCII database) must not break the metric."""

    codec = "utf-8"

    def load(self, data: Buffer) -> str:
        """As the database has it, or else as UTF-8; undecodable bytes become U+FFFD."""
        raw = bytes(data)
        try:
            return raw.decode(self.codec)
        except UnicodeDecodeError:
            return raw.decode("utf-8", "replace")


def replacing_loaders(server_encoding: str) -> list[type[Loader]]:
    """For text and binary results of a database of this encoding. One that Python does not know is read as ASCII."""
    try:
        codec = codecs.lookup(server_encoding.replace("WIN", "cp").replace("KOI8", "koi8_")).name
    except LookupError:
        codec = "utf-8" if server_encoding == "SQL_ASCII" else "ascii"
    names = {"codec": codec}
    return [type("Replacing", (ReplacingLoader,), names | {"format": each}) for each in (Format.TEXT, Format.BINARY)]


class Session(psycopg.Connection[Any]):
    """A connection with a deadline (time.monotonic seconds) for everything that it waits for.

    `pooled`: a pooler stands between us and the server; `superuser`: what is done here is done with all rights;
    `superuser_behind`: a superuser that SET ROLE would make of us; `heavy`: its server process remembers so many
    relations that it should end.
    """

    deadline: float = float("inf")
    stop_at: Callable[[], float] | None = None
    used: bool = False
    pooled: bool = False
    superuser: bool = False
    superuser_behind: str | None = None
    heavy: bool = False
    facts: ServerFacts | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.chosen: dict[str, tuple[ServerFacts, Variant]] = {}
        """By metric the variant that fits, and the facts that it was chosen by."""
        self.plans: dict[str, bytes] = {}
        """Names of the plans that the server keeps for us, by statement."""
        self.numbers = count()
        """Of the plans, refused ones included."""
        self.columns: dict[str, list[str]] = {}
        """Names of the columns of statements whose plans the server keeps: it refuses a plan whose columns have changed."""
        self.scripts: dict[tuple[str, ...], tuple[ServerFacts, list[Job], Script]] = {}
        """By metrics that were asked for together: what was sent for these jobs, going by these facts."""
        self.ran: set[str] = set()
        """Statements that may have a plan and were run."""

    @cached_property
    def rows(self) -> psycopg.abc.Transformer:
        """Makes Python's values of results, by the loaders that the connection has when this is asked for first."""
        return Transformer.from_context(self)

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """As psycopg's, which wakes ten times a second: each time the deadline is looked at."""
        return super().wait(self._limited(gen), *args, **kwargs)

    def _limited(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if now > self.deadline:
                    self._give_up(gen, DeadlinePassed("the server did not answer in time"))
                if self.stop_at is not None and now > self.stop_at():
                    self._give_up(gen, Stopping("the agent stops"))
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result

    def _give_up(self, gen: Generator[Any, Any, Any], error: psycopg.Error) -> NoReturn:
        """Close first: what psycopg still tries on its way out must not wait again."""
        self.pgconn.finish()
        with contextlib.suppress(psycopg.Error, StopIteration):
            gen.throw(error)
        raise error


def connection_string(target: Target, dbname: str, connect_timeout_s: float) -> str:
    """For libpq: the pinned search path and the limits travel in the startup packet. Raises SettingsError."""
    options = {
        "search_path": SEARCH_PATH.replace(" ", ""),
        "default_transaction_read_only": "on",
        "statement_timeout": str(IDLE_TIMEOUT_MS),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT_MS),
    }
    return conninfo(
        target,
        dbname=dbname,
        application_name=APPLICATION,
        client_encoding="UTF8",
        connect_timeout=max(1, round(connect_timeout_s)),
        tcp_user_timeout=30_000,
        options=" ".join(f"-c {name}={value}" for name, value in options.items()),
    )


def limit_transaction(session: psycopg.Connection[Any], timeout_s: float) -> None:
    """Run the first statement of each transaction."""
    session.execute(transaction_limits(session.info.server_version, timeout_s).encode())


@lru_cache(maxsize=256)
def transaction_limits(server_version: int, timeout_s: float) -> str:
    """The first statement of each transaction: through a pooler the settings of the session may be another client's.

    No JIT: the planner takes views of statistics for large tables, and would compile for longer than such a query runs.
    """
    settings = {
        "transaction_read_only": "on",
        "search_path": SEARCH_PATH,
        "statement_timeout": max(1, round(timeout_s * 1000)),
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT_MS,
        "jit": "off",
    }
    if server_version >= 150000:
        settings["stats_fetch_consistency"] = CONSISTENT
    calls = (f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in settings.items())
    return f"/* pganalytics */ select {', '.join(calls)}"


FACTS = """pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
    pg_catalog.current_database()::pg_catalog.text, current_user::pg_catalog.text,
    pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')"""
FACTS_COUNT = 4


def facts_of(row: Sequence[Any]) -> ServerFacts:
    """Of the columns FACTS; nothing is known of extensions."""
    number, dbname, role, reads_all = row
    return ServerFacts((number // 10000,), dbname, role, reads_all, None)


def server_facts(session: psycopg.Connection[Any], *, with_extensions: bool) -> ServerFacts:
    """What decides about the variants of queries. Extensions are looked at only where they matter: whoever locks their catalogue
    shall not silence the other metrics."""
    row = session.execute(f"/* pganalytics */ select {FACTS}").fetchone()
    if row is None:
        raise AssertionError("it has one row")
    return replace(facts_of(row), extensions=_extensions(session) if with_extensions else None)


def _extensions(session: psycopg.Connection[Any]) -> dict[str, Extension]:
    found = session.execute(
        "/* pganalytics */ select e.extname::pg_catalog.text, e.extversion, n.nspname::pg_catalog.text, "
        "pg_catalog.has_schema_privilege(n.oid, 'USAGE') "
        "from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) e.extnamespace"
    ).fetchall()
    return {name: Extension(version_of(version), *where) for name, version, *where in found}
