"""The server of the benchmark: many databases with tables, indexes and statements, of which some move in each cycle."""

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from bench.processes import own_cpu_s
from pganalytics.embedded.binaries import PostgresBinaries
from pganalytics.embedded.postgres import PostgresServer

TABLES, INDEXES_PER_TABLE, STATEMENTS = 20, 2, 50
"""In each database."""
CHANGING = 0.17
ROLE = "watcher"
SETTINGS = {
    "max_connections": "400",
    "pg_stat_statements.max": "20000",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
    "log_connections": "on",
}
"""Nothing but the workload and the readings shall cost anything while it is measured."""


@dataclass
class Fleet:
    """A server with its databases and the connections of the workload. `moved`: statements that ran since `forget`."""

    server: PostgresServer
    names: list[str]
    connections: list[psycopg.Connection[Any]]
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    moved: set[tuple[str, int]] = field(default_factory=set)

    def work(self) -> None:
        """One cycle's worth: a share of all statements, each of them once or twice."""
        for name, connection in zip(self.names, self.connections, strict=True):
            chosen = self.chance.sample(range(STATEMENTS), round(STATEMENTS * CHANGING))
            for number in chosen:
                connection.execute(_statement(number).encode(), prepare=False)
                self.moved.add((name, number))

    def cpu_s(self) -> float:
        """CPU seconds of the workload's own backends."""
        return sum(own_cpu_s(connection.info.backend_pid) for connection in self.connections)

    def connections_of_role(self) -> tuple[int, int]:
        """(held now, opened since the server's start) by the agent."""
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            held = connection.execute("select count(*) from pg_stat_activity where usename = %s", (ROLE,)).fetchone()
        log = self.server.log_path.read_text(encoding="utf-8", errors="replace")
        return (held or (0,))[0], log.count(f"connection authorized: user={ROLE} ")

    def entries(self) -> tuple[int, int]:
        """(entries of pg_stat_statements, those that are the agent's own)."""
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            row = connection.execute(
                "select count(*), count(*) filter (where r.rolname = %s) from pg_stat_statements(false) s "
                "left join pg_roles r on r.oid = s.userid",
                (ROLE,),
            ).fetchone()
        return row or (0, 0)


def start_fleet(folder: Path, stack: ExitStack, binaries: PostgresBinaries, databases: int) -> Fleet:
    """Make everything; each database is a copy of one."""
    server = stack.enter_context(PostgresServer.start(folder / "target", binaries=binaries, settings=SETTINGS))
    names = [f"app{number:03}" for number in range(databases)]
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute("create extension if not exists pg_stat_statements")
        admin.execute(sql.SQL("create role {} login password 'bench'").format(sql.Identifier(ROLE)))
        admin.execute(sql.SQL("grant pg_monitor to {}").format(sql.Identifier(ROLE)))
        admin.execute(sql.SQL("alter role {} set pg_stat_statements.track = 'none'").format(sql.Identifier(ROLE)))
        admin.execute("create database model")
        with psycopg.connect(server.conninfo("model"), autocommit=True) as model:
            for number in range(TABLES):
                model.execute(f"create table t{number} (a int primary key, b int, c text)".encode())
                model.execute(f"insert into t{number} select n, n % 7, 'text ' || n from generate_series(1, 100) n".encode())
                model.execute(f"create index on t{number} (b)".encode())
            model.execute("vacuum analyze")
        for name in names:
            admin.execute(sql.SQL("create database {} template model").format(sql.Identifier(name)))
        admin.execute("drop database model")
    connections = [
        stack.enter_context(psycopg.connect(server.conninfo(name), autocommit=True, prepare_threshold=None)) for name in names
    ]
    fleet = Fleet(server, names, connections)
    for connection in connections:
        for number in range(STATEMENTS):
            connection.execute(_statement(number).encode(), prepare=False)
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute("checkpoint")
    time.sleep(1.0)
    return fleet


def _statement(number: int) -> str:
    """Of a shape of its own, so that it has a queryid of its own; every other one writes."""
    table, columns = f"t{number % TABLES}", ", ".join(["b"] * (1 + number // TABLES))
    if number % 2:
        return f"update {table} set b = b + 1 where a = {1 + number} and ({columns}) is not null"
    return f"select {columns} from {table} where a = {1 + number}"
