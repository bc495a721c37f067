"""The demo's servers: one broker, one store, and targets of different major versions, all started at once."""

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg
from psycopg import sql

from pganalytics.embedded.binaries import PostgresBinaries, choose_postgres
from pganalytics.embedded.kafka import Broker, kafka_broker
from pganalytics.embedded.postgres import PostgresServer

MAJORS = 2
STORE_DATABASE = "pganalytics"
ROLE = "pganalytics"
STORE_SETTINGS = {"track_commit_timestamp": "on"}
"""The demo reads from commit timestamps how long a record took; the product does not need them."""

T = TypeVar("T")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class DemoTarget:
    """One watched server."""

    name: str
    server: PostgresServer
    databases: tuple[str, ...]
    password_file: Path


@dataclass(frozen=True)
class DemoServers:
    """What runs."""

    broker: Broker
    store: PostgresServer
    targets: tuple[DemoTarget, ...]


def start_servers(
    folder: Path, stack: ExitStack, *, targets: int, databases: int, bootstrap: str | None, tell: Tell
) -> DemoServers:
    """Start everything side by side; each server is handed to `stack`. Raises EmbeddedError."""
    binaries = choose_postgres(MAJORS)
    with ThreadPoolExecutor(max_workers=targets + 2, thread_name_prefix="demo-start") as pool:
        broker = pool.submit(_timed, "kafka", lambda: kafka_broker(folder / "kafka", bootstrap), tell)
        store = pool.submit(_timed, "store", lambda: _store(folder / "store", binaries[0]), tell)
        watched = [pool.submit(_timed, f"db{i + 1}", _starter(folder, i, binaries, databases), tell) for i in range(targets)]
    failures = [broker.exception(), store.exception(), *(target.exception() for target in watched)]
    if broker.exception() is None:
        stack.enter_context(broker.result())
    if store.exception() is None:
        stack.enter_context(store.result())
    for target in watched:
        if target.exception() is None:
            stack.enter_context(target.result().server)
    for error in failures:
        if error is not None:
            raise error
    return DemoServers(broker.result(), store.result(), tuple(target.result() for target in watched))


def _starter(folder: Path, place: int, binaries: list[PostgresBinaries], databases: int) -> Callable[[], DemoTarget]:
    return lambda: _target(folder, place, binaries[place % len(binaries)], databases)


def _timed(name: str, start: Callable[[], T], tell: Tell) -> T:
    began = time.monotonic()
    made = start()
    tell(f"{name:<8} {_about(made)}  ({time.monotonic() - began:.1f} s)")
    return made


def _about(made: object) -> str:
    if isinstance(made, DemoTarget):
        return f"PostgreSQL {made.server.version} at 127.0.0.1:{made.server.port}, {len(made.databases)} databases"
    if isinstance(made, PostgresServer):
        return f"PostgreSQL {made.version} at 127.0.0.1:{made.port}"
    return f"broker at {getattr(made, 'bootstrap', '?')}"


def _store(folder: Path, binaries: PostgresBinaries) -> PostgresServer:
    server = PostgresServer.start(folder, binaries=binaries, settings=STORE_SETTINGS)
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(STORE_DATABASE)))
    return server


def _target(folder: Path, place: int, binaries: PostgresBinaries, databases: int) -> DemoTarget:
    """A server with databases and a role that may read statistics and nothing else."""
    name = f"db{place + 1}"
    server = PostgresServer.start(folder / name, binaries=binaries, settings={"track_io_timing": "on"})
    names = tuple(f"shop{number + 1}" for number in range(databases))
    password = secrets.token_urlsafe(18)
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("create extension if not exists pg_stat_statements")
        connection.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(ROLE), sql.Literal(password)))
        connection.execute(sql.SQL("grant pg_monitor to {}").format(sql.Identifier(ROLE)))
        for database in names:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
    password_file = folder / f"{name}.password"
    password_file.touch(mode=0o600)
    password_file.write_text(password + "\n", encoding="utf-8")
    return DemoTarget(name, server, names, password_file)
