"""Every query on a server of each version: its columns fit the schema, its numbers are the server's own, psql runs it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.producers_feed import Asker, Watched, watched
from integration.versions import MAJORS, binaries_of
from pganalytics.embedded.binaries import find_postgres
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers import session
from pganalytics.producers.answers import Answer
from pganalytics.producers.diff import Difference
from pganalytics.producers.reading import Reading, layout_of
from pganalytics.schemas.metric import builtin_schemas
from waiting import until

EXTENSIONS = ("1.8", "1.9", "1.10", "1.11", "1.12")


@pytest.fixture(scope="module", params=MAJORS, ids=lambda major: f"PG{major}")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    major: int = request.param
    with PostgresServer.start(tmp_path_factory.mktemp(f"pg{major}"), binaries=binaries_of(major)) as started:
        yield started


@pytest.fixture
def asker(server: PostgresServer, tmp_path: Path) -> Iterator[Asker]:
    one = Asker(watched(server, tmp_path).target("one"))
    yield one
    one.pools.close()


def counters(metric: str, difference: Difference, reading: Reading, key: tuple[int, ...]) -> dict[str, int]:
    """Deltas of one row by name."""
    names = [field.name for field in layout_of(builtin_schemas()[metric]).longs]
    row = [one[: len(key)] for one in reading.keys].index(key)
    return dict(zip(names, difference.longs[row].tolist(), strict=True))


def test_the_heartbeat_s_reading(asker: Asker, server: PostgresServer) -> None:
    answer = asker.ask("heartbeat")
    assert isinstance(answer, Answer)
    got = first_row(answer)
    fields = {field.name: field for field in builtin_schemas()["heartbeat"].scalars}
    assert set(got) - {"server_time"} <= set(fields)
    for name, value in got.items():
        assert isinstance(value, str if name in fields and fields[name].primitive == "string" else int | None), name
    assert (got["role"], got["server_version"] // 10000, got["max_connections"]) == ("primary", server.major, 100)
    assert got["connections"] >= 1
    assert 2**31 - 10**6 < got["xid_left"] <= 2**31


def test_an_old_transaction_and_its_xmin_are_seen(asker: Asker, server: PostgresServer) -> None:
    with psycopg.connect(server.conninfo()) as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select pg_current_xact_id()")
        until(lambda: pulse(asker)["oldest_transaction"] > 100_000)
        assert pulse(asker)["oldest_xmin_age"] >= 1


def pulse(asker: Asker) -> dict[str, Any]:
    answer = asker.ask("heartbeat")
    assert isinstance(answer, Answer)
    return first_row(answer)


def first_row(answer: Answer) -> dict[str, Any]:
    table = answer.groups["rows"]
    return dict(zip(table.names, table.rows[0], strict=True))


def test_every_version_of_the_extension(server: PostgresServer, tmp_path: Path) -> None:
    """An old extension on a new server is read with the extension's own query."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        offered = {
            row[0]
            for row in connection.execute("select version from pg_available_extension_versions where name = 'pg_stat_statements'")
        }
    tried = [version for version in EXTENSIONS if version in offered]
    assert len(tried) >= min(3, server.major - 12)
    for version in tried:
        target = watched(server, tmp_path, extension=False)
        with psycopg.connect(server.conninfo(target.dbname), autocommit=True) as connection:
            connection.execute(f"create extension pg_stat_statements version '{version}'")
            asker = Asker(target.target("one"))
            asker.begin("statements")
            for _ in range(7):
                connection.execute("select count(*) from visits", prepare=False)
            query = "select queryid from pg_stat_statements where query like 'select count(*) from visits%%' and dbid = %s::oid"
            oid = connection.execute("select oid from pg_database where datname = current_database()").fetchone()
            assert oid is not None
            found = connection.execute(query, (oid[0],)).fetchone()
            assert found is not None
            difference, reading = asker.moved("statements")
            assert difference is not None
            got = counters("statements", difference, reading, (found[0], oid[0]))
            assert (got["calls"], got["rows"]) == (7, 7), version
            assert got["total_exec_time"] > 0
            assert (reading.context.lineage_us is None) == (version == "1.8")
            asker.pools.close()


def test_commits_and_rows_are_the_server_s_own(asker: Asker, server: PostgresServer) -> None:
    dbname = str(asker.jobs["database"].target.dbname)
    with psycopg.connect(server.conninfo(dbname), autocommit=True) as connection:
        oid = connection.execute("select oid from pg_database where datname = current_database()").fetchone()
        assert oid is not None
        begin_at_rest(asker, oid[0])
        for _ in range(50):
            connection.execute("insert into visits select generate_series(1, 10)")
    inserted = 0

    def all_seen() -> bool:
        nonlocal inserted
        difference, reading = asker.moved("database")
        assert difference is not None
        inserted += counters("database", difference, reading, (oid[0],))["tup_inserted"]
        return inserted >= 500

    until(all_seen)
    assert inserted == 500


def begin_at_rest(asker: Asker, database: int) -> None:
    """Begin when the statistics have arrived; before PostgreSQL 15 a process of its own collects them, half a second late."""

    def is_quiet() -> bool:
        asker.begin("database")
        time.sleep(0.6)
        difference, reading = asker.moved("database")
        return difference is not None and counters("database", difference, reading, (database,))["tup_inserted"] == 0

    until(is_quiet)


def test_a_reset_is_noticed_and_nothing_is_counted_twice(asker: Asker, server: PostgresServer) -> None:
    dbname = asker.jobs["statements"].target.dbname
    with psycopg.connect(server.conninfo(dbname), autocommit=True, prepare_threshold=None) as connection:
        for _ in range(9):
            connection.execute("select 1 from visits")
        asker.begin("statements")
        connection.execute('select "Odd ""schema""".pg_stat_statements_reset()')
        told = server.major >= 14  # the server says when it was; else only a counter that went back shows it
        times = 11 if told else 7
        for _ in range(times):  # more than before the reset: the counter alone does not show it
            connection.execute("select 1 from visits")
        difference, _ = asker.moved("statements")
    assert difference is not None
    assert (difference.whole, difference.reason) == ((True, "stats_reset") if told else (False, ""))
    calls = [row[0] for row in difference.longs[:, [2]].tolist()]
    assert times in calls


def test_a_crash_that_discards_the_statistics_is_noticed(tmp_path: Path) -> None:
    """SIGKILL of one backend: the statistics are gone, the postmaster's start time is not changed."""
    with PostgresServer.start(tmp_path / "own", binaries=binaries_of(MAJORS[0])) as own:
        target = watched(own, tmp_path)
        asker = Asker(target.target("one"))
        commits = load(own, target, 300)
        until(lambda: seen_commits(asker, target) >= commits)
        asker.begin("database")
        with psycopg.connect(own.conninfo(), autocommit=True) as victim:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            until(lambda: answers(own))
        more = load(own, target, 20)
        until(lambda: seen_commits(asker, target) >= more)
        difference, reading = asker.moved("database")
        assert difference is not None
        assert (difference.whole, difference.reason) == (True, "crash")
        assert (difference.longs >= 0).all()
        row = reading.others["datname"].index(target.dbname)
        assert more <= difference.longs[row, 0] < commits
        asker.pools.close()


def load(server: PostgresServer, target: Watched, times: int) -> int:
    with psycopg.connect(server.conninfo(target.dbname), autocommit=True) as connection:
        for _ in range(times):
            connection.execute("insert into visits values (1)")
    return times


def seen_commits(asker: Asker, target: Watched) -> int:
    answer = asker.ask("database")
    if not isinstance(answer, Answer):
        return 0
    table = answer.groups["rows"]
    commits, names = table.names.index("xact_commit"), table.names.index("datname")
    return next(int(row[commits]) for row in table.rows if row[names] == target.dbname)


def answers(server: PostgresServer) -> bool:
    try:
        with psycopg.connect(server.conninfo()):
            return True
    except psycopg.OperationalError:
        return False


def test_psql_runs_every_query_that_fits_unchanged(server: PostgresServer, tmp_path: Path) -> None:
    target = watched(server, tmp_path)
    psql = next(path for binaries in find_postgres() if (path := binaries.bin_dir / "psql").is_file())
    with psycopg.connect(server.conninfo(target.dbname)) as connection:
        version = connection.execute("select extversion from pg_extension where extname = 'pg_stat_statements'").fetchone()
    assert version is not None
    folder = resources.files("pganalytics.producers").joinpath("queries")
    fitting = ["heartbeat/13.sql", f"statements/{version[0]}.sql", "query_text/1.8.sql"]
    fitting += [f"database/{major}.sql" for major in (13, 14, 18) if major <= server.major]
    fitting += [f"activity/{major}.sql" for major in (13, 14) if major <= server.major]
    for name in fitting:
        done = subprocess.run(
            [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.conninfo(target.dbname), "-f", str(folder.joinpath(name))],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), name
        assert "row" in done.stdout


def test_names_that_are_not_utf8_break_nothing(server: PostgresServer, tmp_path: Path) -> None:
    """A database whose name is Latin-1, read from a SQL_ASCII database, which hands bytes through."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("create database plain encoding 'SQL_ASCII' locale 'C' template template0")
    with psycopg.connect(server.conninfo("plain", client_encoding="SQL_ASCII"), autocommit=True) as connection:
        connection.execute(b'create database "caf\xe9" template template0')
    try:
        target = watched(server, tmp_path)
        asker = Asker({**target.target("one"), "dbname": "plain"})
        assert "caf\ufffd" in asker.read("database").others["datname"]
        asker.pools.close()
    finally:
        with psycopg.connect(server.conninfo("plain", client_encoding="SQL_ASCII"), autocommit=True) as connection:
            connection.execute(b'drop database "caf\xe9"')


def test_the_session_is_pinned_and_read_only(asker: Asker) -> None:
    job = asker.jobs["heartbeat"]
    with asker.pools.lease("one", job.target, job.target.dbname) as leased:
        shown = {
            name: leased.execute(f"show {name}").fetchone()[0]  # type: ignore[index]
            for name in ("search_path", "default_transaction_read_only", "lock_timeout", "application_name")
        }
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            leased.execute("create table public.mine ()")
    assert shown == {
        "search_path": "pg_catalog,pg_temp",
        "default_transaction_read_only": "on",
        "lock_timeout": "1s",
        "application_name": "pganalytics",
    }


def test_no_query_is_compiled(asker: Asker) -> None:
    """Compiling a query over views of statistics would cost the server seconds, where it has a compiler."""
    job = asker.jobs["heartbeat"]
    with asker.pools.lease("one", job.target, job.target.dbname) as leased, leased.transaction():
        session.limit_transaction(leased, 5)
        assert leased.execute("show jit").fetchone() == ("off",)


def test_plans_are_kept_and_their_loss_is_mended(asker: Asker) -> None:
    """Whoever takes the plans away, for example a pooler that hides itself, costs a connection."""
    job = asker.jobs["heartbeat"]
    for _ in range(3):
        assert isinstance(asker.ask("heartbeat"), Answer)
    with asker.pools.lease("one", job.target, job.target.dbname) as leased:
        pid = leased.info.backend_pid
        kept = leased.execute(
            "select count(*) from pg_prepared_statements where statement like '%pganalytics:heartbeat%'"
        ).fetchone()
        leased.pgconn.exec_(b"deallocate all")  # which psycopg does not see
    assert kept is not None
    assert kept[0] >= 1
    assert isinstance(asker.ask("heartbeat"), Answer)
    with asker.pools.lease("one", job.target, job.target.dbname) as leased:
        assert leased.info.backend_pid != pid
