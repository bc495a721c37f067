"""The workload of compose.yaml: a server that is away takes nothing from the others, and one that is back has its own again."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from compose.compose_model import COMPOSE
from compose.laptop import programs
from pganalytics.embedded.leash import Child
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from waiting import until

PASSWORD = "word"
CLIENTS = {"shop1": 5, "shop2": 5}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    """One server with what the workload wants."""
    with PostgresServer.start(tmp_path / "server") as running:
        with psycopg.connect(running.conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL("create role shop login password {}").format(PASSWORD))
            for name in CLIENTS:
                connection.execute(sql.SQL("create database {} owner shop").format(sql.Identifier(name)))
        yield running


@pytest.fixture
def workload(server: PostgresServer, tmp_path: Path) -> Iterator[Child]:
    """On that server, and before it on one that never answers."""
    (tmp_path / "password").write_text(PASSWORD, encoding="utf-8")
    environment = {
        "PATH": f"{programs()}:{os.environ['PATH']}",
        "TARGETS": f"127.0.0.1:{free_port()} 127.0.0.1:{server.port}",
        "PASSWORD_FILE": str(tmp_path / "password"),
    }
    child = Child.start([COMPOSE / "workload/run"], env=environment, stdout=tmp_path / "workload.log", name="workload", grace_s=5)
    yield child
    child.terminate(10)


def clients(server: PostgresServer) -> dict[str, set[int]]:
    """Who of pgbench is connected, by database."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        rows = connection.execute("select datname, pid from pg_stat_activity where application_name = 'pgbench'").fetchall()
    return {name: {pid for database, pid in rows if database == name} for name in CLIENTS}


def all_work(server: PostgresServer) -> bool:
    """Whether each database has its clients."""
    return {name: len(pids) for name, pids in clients(server).items()} == CLIENTS


def test_a_server_that_is_away_takes_nothing_from_the_others(server: PostgresServer, workload: Child, tmp_path: Path) -> None:
    until(lambda: all_work(server))
    before = clients(server)

    def asked() -> int:
        return (tmp_path / "workload.log").read_text(encoding="utf-8").count("refused")

    tried = asked()
    until(lambda: asked() >= tried + len(CLIENTS) * 2, what="the other is tried again")
    assert clients(server) == before
    assert workload.poll() is None


def test_a_server_that_is_back_has_its_work_again(server: PostgresServer, workload: Child) -> None:
    until(lambda: all_work(server))
    before = clients(server)
    server.restart()
    until(lambda: all_work(server))
    assert not any(pids & before[name] for name, pids in clients(server).items())
    assert workload.poll() is None


def test_it_ends_with_all_its_parts_when_it_is_told_to(server: PostgresServer, workload: Child) -> None:
    until(lambda: all_work(server))
    assert workload.terminate(10) == 0
    until(lambda: not any(clients(server).values()), 10)
