"""`pganalytics check`: what it says of real servers, and that what it says to paste mends them."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme
from psycopg import sql
from rich.console import Console

from integration.pooler import Pooler
from integration.producers_feed import Watched, silent_server, watched, with_targets
from integration.test_producers_databases import COLUMNS, own_metric
from integration.tls import certificate_file, encrypt
from pganalytics.cli.advice import Advice
from pganalytics.cli.check import show
from pganalytics.embedded.binaries import fetch_postgres, find_postgres
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.check import check
from pganalytics.producers.findings import CheckReport, Finding, Level, TargetReport
from pganalytics.producers.pooling import Pooling
from pganalytics.producers.role_sql import READERS
from pganalytics.runtime.settings import Settings
from waiting import until

ENVIRON = {key: value for key, value in os.environ.items() if not key.startswith("PGANALYTICS_")}
STATEMENTS = {"statements", "query_text"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One of our own: what is pasted concerns the whole server."""
    with PostgresServer.start(tmp_path_factory.mktemp("check"), binaries=fetch_postgres(17)) as started:
        yield started


def own(one: Watched, name: str, **more: object) -> dict[str, object]:
    """A target that looks at no database but its own: the server is shared by the tests."""
    return one.target(name, databases=[one.dbname], **more)


def checked(*targets: dict[str, object], **sections: Any) -> CheckReport:
    settings = with_targets(Settings.model_validate(sections), *targets)
    return check(Settings.model_validate({**settings.model_dump(), "metrics": {}}))


def only(report: CheckReport) -> TargetReport:
    (target,) = report.targets
    return target


def levels(target: TargetReport) -> dict[str, Level]:
    return {one.subject: one.level for one in target.findings}


def finding(target: TargetReport, subject: str) -> Finding:
    return next(one for one in target.findings if one.subject == subject)


def psql(server: PostgresServer, script: str, typed: str = "") -> None:
    """As if the script had been pasted; `typed` answers what it asks at its end, from standard input without a terminal."""
    program = next(path for binaries in find_postgres() if (path := binaries.bin_dir / "psql").is_file())
    done = subprocess.run(
        [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.conninfo()],
        input=script + typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_pasted_mends_what_is_missing(server: PostgresServer, tmp_path: Path) -> None:
    poor = watched(server, tmp_path, extension=False, grant=False)
    before = only(checked(own(poor, "poor")))
    missing = {one.subject for one in before.metrics if one.level is Level.MISSING}
    assert missing >= STATEMENTS | {"activity"}
    assert {"heartbeat", "database", "metric_status"} & missing == set()
    assert finding(before, "database").took_s is not None
    for _ in range(2):  # the privilege is missed first, then the extension, or the other way round
        report = only(checked(own(poor, "poor")))
        psql(server, "\n".join(dict.fromkeys(one.paste for one in report.metrics if one.level is Level.MISSING)))
    after = only(checked(own(poor, "poor")))
    assert Level.MISSING not in levels(after).values(), after.findings
    assert after.look is not None
    assert (after.look.major, after.look.standby, after.look.role, after.look.tls) == (17, False, poor.user, "")
    hints = [one for one in after.hints if one.subject in ("track_io_timing", "track_activity_query_size")]
    assert len(hints) == 2
    psql(server, "\n".join(one.paste for one in hints))
    server.restart()
    until(lambda: not only(checked(own(poor, "poor"))).hints)


def test_a_library_that_is_not_preloaded(tmp_path: Path) -> None:
    with PostgresServer.start(
        tmp_path / "own", binaries=fetch_postgres(17), settings={"shared_preload_libraries": "auto_explain"}
    ) as bare:
        one = watched(bare, tmp_path)
        report = only(checked(own(one, "one")))
        assert levels(report)["pg_stat_statements"] is Level.MISSING
        assert levels(report)["statements"] is Level.MISSING
        psql(bare, finding(report, "pg_stat_statements").paste)
        bare.restart()
        assert levels(only(checked(own(one, "one"))))["statements"] is Level.OK


def test_databases_with_the_same_result_are_one_line(server: PostgresServer, tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    fields = [
        {"name": "name", "type": {"type": "array", "items": "string"}, "role": "key", "doc": "Name."},
        {"name": "definition", "type": {"type": "array", "items": "string"}, "role": "label", "doc": "Type."},
        {"name": "gone", "type": {"type": "array", "items": "boolean"}, "role": "label", "doc": "Gone."},
    ]
    own_metric(folder, "columns_of", "database", COLUMNS, fields, send="changed", resend_s=86400)
    several = [watched(server, tmp_path) for _ in range(5)]
    target = several[0]
    names = [each.dbname for each in several]
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(f"revoke connect on database {names[4]} from public")
    report = only(checked(target.target("one", databases=names), collect={"metrics_dir": folder}))
    line = finding(report, "columns_of")
    assert (line.level, sorted(line.databases)) == (Level.OK, sorted(names[:4]))
    closed = finding(report, "connect to databases")
    assert (closed.level, closed.databases) == (Level.MISSING, (names[4],))
    assert report.databases == 4
    psql(server, closed.paste)
    report = only(checked(target.target("one", databases=names), collect={"metrics_dir": folder}))
    assert len(finding(report, "columns_of").databases) == 5


def test_how_we_are_connected(server: PostgresServer, tmp_path: Path) -> None:
    one = watched(server, tmp_path)
    password = one.password_file.read_text().strip()
    with Pooler(lambda dbname, user: server.conninfo(dbname, user=user, password=password), by_transaction=True) as pooler:
        look = only(checked(own(one, "one", port=pooler.port))).look
    assert look is not None
    assert (look.pooled, look.pooling, look.superuser) == (True, Pooling.TRANSACTION, False)
    boss = only(checked(own(one, "boss", user=server.user, password_file=server.password_file, allow_superuser=True)))
    assert boss.look is not None
    assert boss.look.superuser
    assert levels(boss)["role"] is Level.WARNING
    refused = only(checked(own(one, "boss", user=server.user, password_file=server.password_file)))
    assert not refused.reached
    assert "--print-role-sql" in finding(refused, "heartbeat").cure


def test_encrypted_and_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    with PostgresServer.start(tmp_path / "server", binaries=fetch_postgres(17)) as server:
        encrypt(server, authority, "127.0.0.1")
        one = watched(server, tmp_path)
        target = own(one, "one", sslmode="verify-full", sslrootcert=certificate_file(authority, tmp_path))
        report = only(checked(target))
        assert report.look is not None
        assert (report.look.tls, report.verified) == ("TLSv1.3", True)
        assert not only(checked(own(one, "one", sslmode="require"))).verified


def test_targets_that_cannot_be_reached_hold_nobody_up(server: PostgresServer, tmp_path: Path) -> None:
    one = watched(server, tmp_path)
    with silent_server() as silent:
        report = checked(
            {"name": "down", "port": free_port()},
            {"name": "silent", "port": silent},
            own(one, "well"),
            collect={"connect_timeout_s": 1},
        )
    reached = {target.collector: target.reached for target in report.targets}
    assert reached == {"down": False, "silent": False, "well": True}
    assert report.unreachable == 2
    assert "start the server" in finding(report.targets[0], "heartbeat").cure


def test_the_table_fits_80_columns_and_moves_no_cursor(server: PostgresServer, tmp_path: Path) -> None:
    one = watched(server, tmp_path, extension=False, grant=False)
    odd = '\x1b[2J"evil"\n' + "x" * 40
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("alter database {} rename to {}").format(sql.Identifier(one.dbname), sql.Identifier(odd)))
    report = checked({**own(one, "a" * 90, dbname=odd), "databases": [odd]})
    console = Console(width=80, record=True, file=io.StringIO())
    show(report, console, Advice())
    text = console.export_text()
    assert "\x1b" not in text
    told = [line for line in text.splitlines() if not line.startswith("    ")]
    assert max(map(len, told)) <= 80
    assert 'U&"\\+00001b[2J""evil""' in text


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pganalytics.cli", "check", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=ENVIRON,
    )


def settings_file(folder: Path, *targets: dict[str, object]) -> str:
    lines = []
    for target in targets:
        plain = {key: value if isinstance(value, int | list) else str(value) for key, value in target.items()}
        lines += ["[[targets]]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items())]
    path = folder / "settings.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_exit_codes(server: PostgresServer, tmp_path: Path) -> None:
    """0: all can be read, whatever the warnings; 1: not all; 2: no such target. No broker is there."""
    well, poor = watched(server, tmp_path), watched(server, tmp_path, grant=False)
    config = settings_file(tmp_path, own(well, "well"), own(poor, "poor"))
    done = run("-c", config, "--target", "well", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["ok"]
    assert [target["collector"] for target in said["targets"]] == ["well"]
    assert {one["level"] for one in said["targets"][0]["metrics"]} == {"ok"}
    done = run("-c", config)
    assert done.returncode == 1
    assert re.fullmatch(r"pganalytics: check: \d+ missing, 0 targets unreachable\n", done.stderr)
    assert "GRANT pg_monitor" in done.stdout
    done = run("-c", config, "--target", "nobody")
    assert (done.returncode, done.stderr) == (2, "pganalytics: --target 'nobody': no such target; known: poor, well\n")


def test_the_printed_role_can_read_everything_and_no_more(server: PostgresServer, tmp_path: Path) -> None:
    """Names that need quotes; the script may be pasted twice; the password is asked for, never written."""
    dbname, role = 'Od"d =db', "Wat'ch \"er"
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(dbname)))
        connection.execute(sql.SQL("revoke connect on database {} from public").format(sql.Identifier(dbname)))
    password_file = tmp_path / "password"
    password_file.write_text("se cret")
    target = {
        "name": "odd",
        "port": server.port,
        "dbname": dbname,
        "user": role,
        "password_file": password_file,
        "databases": [dbname],
    }
    config = settings_file(tmp_path, target)
    done = run("-c", config, "--print-role-sql")
    assert (done.returncode, done.stderr) == (0, "")
    assert "se cret" not in done.stdout
    for _ in range(2):
        psql(server, done.stdout, "se cret\nse cret\n")
    report = only(checked(target))
    assert Level.MISSING not in levels(report).values(), report.findings
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        row = connection.execute(
            "select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls, array("
            "select m.roleid::regrole::text from pg_auth_members m where m.member = r.oid) from pg_roles r where rolname = %s",
            [role],
        ).fetchone()
    assert row is not None
    assert not row[0]
    assert set(row[1]) <= set(READERS)
