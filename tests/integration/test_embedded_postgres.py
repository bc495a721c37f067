"""A real PostgreSQL, here for a test and gone after it."""

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pganalytics.embedded.accounts import scratch_folder, server_account
from pganalytics.embedded.binaries import choose_postgres
from pganalytics.embedded.errors import PortInUse, StartFailed
from pganalytics.embedded.machine import Machine
from pganalytics.embedded.postgres import PostgresServer
from waiting import until


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[PostgresServer]]:
    started: list[PostgresServer] = []
    try:
        for binaries in choose_postgres(2):
            directory = tmp_path_factory.mktemp(f"postgres{binaries.major}")
            started.append(PostgresServer.start(directory, binaries=binaries, settings={"work_mem": "5MB"}))
        yield started
    finally:
        for server in started:
            server.remove()


@pytest.fixture
def server(servers: list[PostgresServer]) -> Iterator[PostgresServer]:
    servers[0].start_again()
    yield servers[0]
    servers[0].resume()


def listeners(pids: set[int]) -> set[str]:
    """The local addresses (hexadecimal, as in /proc/net/tcp*) where these processes listen."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and row[9] in inodes}


def test_two_majors_answer_with_their_versions_and_count_statements(servers: list[PostgresServer]) -> None:
    assert len({server.major for server in servers}) == 2
    for server in servers:
        with psycopg.connect(server.conninfo(application_name="test")) as client:
            assert client.info.server_version // 10_000 == server.major
            client.execute("create extension if not exists pg_stat_statements")
            assert client.execute("select count(*) from pg_stat_statements").fetchone() is not None
            assert client.execute("show work_mem").fetchone() == ("5MB",)


def test_servers_are_told_apart_by_their_system_identifier(servers: list[PostgresServer]) -> None:
    query = "select system_identifier from pg_control_system()"
    found = set()
    for server in servers:
        with psycopg.connect(server.conninfo()) as client:
            found.add(client.execute(query).fetchone())
    assert len(found) == len(servers)


@pytest.mark.parametrize("password", ["", "wrong"])
def test_no_password_and_a_wrong_one_are_refused(server: PostgresServer, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.conninfo(password=password, passfile="/dev/null"))


def test_the_password_is_in_a_private_file_and_in_no_list_of_processes(server: PostgresServer) -> None:
    assert server.password_file.read_text().strip() == server.password
    assert stat.S_IMODE(server.password_file.stat().st_mode) == 0o600
    assert server.password_file.stat().st_uid == os.geteuid()
    assert server.password not in server.log_path.read_text()
    assert server.password.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc")
def test_it_listens_on_loopback_only(server: PostgresServer) -> None:
    assert listeners({server.pid}) == {f"0100007F:{server.port:04X}"}


def test_a_port_in_use_is_refused(server: PostgresServer, tmp_path: Path) -> None:
    with pytest.raises(PortInUse, match=str(server.port)):
        PostgresServer.start(tmp_path, port=server.port)


def test_a_setting_that_postgres_refuses_fails_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="no_such_setting"):
        PostgresServer.start(tmp_path, settings={"no_such_setting": "1"})


def test_data_lies_in_a_directory_that_the_server_reaches_and_a_second_one_is_refused() -> None:
    directory = scratch_folder(server_account(), "pganalytics-test-", machine=Machine.here())
    try:
        with PostgresServer.start(directory) as server:
            assert server.data.parent == directory
            with pytest.raises(StartFailed, match="directory of its own"):
                PostgresServer.start(directory)
            assert server.is_running
        assert server.data.exists()
    finally:
        shutil.rmtree(directory)


def test_nothing_is_left_outside_a_directory_that_the_server_does_not_reach(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with PostgresServer.start(tmp_path) as server:
        data = server.data
    assert data.is_relative_to(tmp_path) or not data.parent.exists()


@pytest.mark.parametrize("end", ["stop", "crash", "kill"])
def test_committed_rows_survive(server: PostgresServer, end: str) -> None:
    port = server.port
    with psycopg.connect(server.conninfo()) as client:
        client.execute("create table if not exists kept (how text)")
        client.execute("insert into kept values (%s)", [end])
    getattr(server, end)()
    assert not server.is_running
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.conninfo(connect_timeout=2))
    server.start_again()
    assert server.port == port
    with psycopg.connect(server.conninfo()) as client:
        assert client.execute("select 1 from kept where how = %s", [end]).fetchone() == (1,)


def test_a_suspended_server_keeps_connections_and_answers_nothing(server: PostgresServer) -> None:
    with psycopg.connect(server.conninfo()) as client:
        server.suspend()
        started = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.conninfo(connect_timeout=2))
        assert time.monotonic() - started >= 1.5
        assert server.is_running
        server.resume()
        assert client.execute("select 1").fetchone() == (1,)


def test_a_standby_follows_and_leaves_nothing(server: PostgresServer, tmp_path: Path) -> None:
    with server.start_standby(tmp_path / "standby") as standby, psycopg.connect(server.conninfo(), autocommit=True) as client:
        client.execute("create table followed (n int)")
        with psycopg.connect(standby.conninfo(), autocommit=True) as reader:
            until(lambda: reader.execute("select to_regclass('followed') is not null").fetchone() == (True,))
            assert reader.execute("select pg_is_in_recovery()").fetchone() == (True,)
        data, log = standby.data, standby.log_path
    assert data.is_relative_to(tmp_path) or not data.parent.exists()
    assert log.is_relative_to(tmp_path)
    assert server.is_running
