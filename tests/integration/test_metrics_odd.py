"""Names and texts that are not valid in the encoding of the database that is asked, and texts of a megabyte."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from integration.every_query import answers, errors
from integration.pairs import answer_of, dicts
from integration.producers_feed import Asker, watched
from integration.versions import Version
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.admission import admit
from pganalytics.producers.emission import emit_gauges, emit_new
from pganalytics.producers.parts import encode_parts
from pganalytics.producers.reading import layout_of
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.session import Session
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.topics import MAX_MESSAGE_BYTES

ENCODINGS = ("UTF8", "SQL_ASCII", "LATIN1", "EUC_JP")
SHARED = (
    b'create database "d\xe9\x81" template template0',
    b'create role "r\xe9\x81" nologin',
    b"alter database \"d\xe9\x81\" set application_name = 'caf\xe9\x81'",
    b'create table "t\xe9\xf0" ("c\xe9" int default 1)',
    b'create index "i\xe9\xf0" on "t\xe9\xf0" ("c\xe9")',
    b"create function \"f\xe9\"() returns int language sql as 'select 1 -- \xe9'",
)
LEFT = b"set application_name = 'a\xe9'; begin; select 1 from \"t\xe9\xf0\" where 'x' <> '\xe9' -- \xf0"
MEGABYTE = 1 << 20


@pytest.fixture(params=(13, 15, 18), ids=lambda major: f"PG{major}")
def version(request: pytest.FixtureRequest, versions: Callable[[int], Version]) -> Version:
    """The functions that look at characters were changed by minor versions of all at the same time."""
    return versions(request.param)


@pytest.fixture
def odd(version: Version) -> Iterator[str]:
    """A SQL_ASCII database with names that are no UTF-8, like a database, a role and a setting; a session is idle there."""
    name = version.database(encoding="SQL_ASCII")
    with psycopg.connect(version.server.conninfo(name, client_encoding="SQL_ASCII"), autocommit=True) as connection:
        for statement in SHARED:
            connection.execute(statement)
        with psycopg.connect(version.server.conninfo(name, client_encoding="SQL_ASCII"), autocommit=True) as idle:
            idle.pgconn.exec_(LEFT)
            yield name
        connection.execute(b'drop database "d\xe9\x81"')
        connection.execute(b'drop role "r\xe9\x81"')


@contextlib.contextmanager
def reader(version: Version, dbname: str) -> Iterator[Session]:
    login = {"user": version.role, "password": version.password, "client_encoding": "UTF8"}
    with Session.connect(make_conninfo(version.server.conninfo(dbname), **login)) as connection:
        admit(connection, allow_superuser=False)
        connection.deadline = float("inf")
        yield connection


def test_bytes_that_are_no_text_here_silence_no_metric(version: Version, odd: str) -> None:
    """Neither in a database of their own nor asked from one of another encoding."""
    for encoding in ENCODINGS:
        dbname = odd if encoding == "SQL_ASCII" else version.database(encoding=encoding)
        with reader(version, dbname) as connection:
            found = answers(connection)
            names = [row[0] for row in connection.execute("select datname from pg_catalog.pg_database").fetchall()]
        assert errors(found) == [], encoding
        assert len([name for name in names if name.startswith("d\ufffd") or name == "d\u00e9\x81"]) == 1, encoding
        listed = [row for metric, _, rows in found if metric == "activity" for row in rows if "<> '" in str(row[-1])]
        assert len(listed) == 1, encoding


def test_control_with_conversion_one_name_fails_the_query(version: Version, odd: str) -> None:
    dbname = version.database(encoding="EUC_JP")
    with (
        psycopg.connect(version.server.conninfo(dbname, client_encoding="UTF8")) as connection,
        pytest.raises(psycopg.DataError),
    ):
        connection.execute("select datname from pg_catalog.pg_database")


def test_names_of_a_database_are_read_in_its_encoding(version: Version) -> None:
    utf8 = "set client_encoding to 'UTF8'"
    dbname = version.database(utf8, 'create table "caf\u00e9" ()', 'create table "caf\u00c3\u00a9" ()', encoding="LATIN1")
    assert {row["name"] for row in version.ask("relations", dbname).rows} == {"caf\u00e9", "caf\u00c3\u00a9"}
    assert {row["name"] for row in version.ask("schema", dbname).rows} == {"caf\u00e9", "caf\u00c3\u00a9"}


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[tuple[Asker, psycopg.Connection[Any]]]:
    """A server that shows texts of a megabyte; and a session in a SQL_ASCII database of it."""
    settings = {"track_activity_query_size": "1MB"}
    with PostgresServer.start(tmp_path / "wide", settings=settings) as server:
        target = watched(server, tmp_path).target("one", metrics={"activity": {"parameters": {"listed_age_s": 0}}})
        with psycopg.connect(server.conninfo(), autocommit=True) as admin:
            admin.execute("create database plain encoding 'SQL_ASCII' locale 'C' template template0")
        asker = Asker(target)
        with psycopg.connect(server.conninfo("plain", client_encoding="SQL_ASCII"), autocommit=True) as session:
            yield asker, session
        asker.pools.close()
        server.stop("immediate")


def test_texts_of_a_megabyte_are_cut_and_fit_into_records(wide: tuple[Asker, psycopg.Connection[Any]]) -> None:
    """Also one that ends within a character and would fail a function that looks at characters."""
    asker, session = wide
    session.execute("set pg_stat_statements.track to 'none'")  # whose texts it would make unreadable
    session.pgconn.exec_(b"begin; select 1 /*" + b"\xe9" * (MEGABYTE - 30) + b"*/")
    job = asker.jobs["query_text"]
    with psycopg.connect(asker_conninfo(asker, session), autocommit=True, prepare_threshold=None) as connection:
        connection.execute(b"select n /*" + b"x" * MEGABYTE + b"*/ from visits")
    activity = answer_of(asker, "activity")
    (listed,) = [row for row in dicts(activity.groups["transactions"]) if row["tx_query"].startswith("begin; select 1 /*")]
    assert listed["tx_query"].startswith("begin; select 1 /*\\351\\351")
    assert len(listed["tx_query"]) < 4 * 100_000
    emission = emit_gauges(asker.jobs["activity"].schema, activity, {}, had_rows=True, redaction=Redaction.LITERALS)
    assert emission.values is not None
    assert "begin; select ?" in emission.values["tx_query"]
    texts = answer_of(asker, "query_text")
    (long,) = [row for row in dicts(texts.groups["rows"]) if row["query"].startswith("select n /*")]
    assert (len(long["query"]), long["length"]) == (1_000_000, MEGABYTE + 25)
    sent = emit_new(layout_of(job.schema), None, texts, {}, Redaction.NONE)
    assert sent.values is not None
    parts = encode_parts(RecordCodec(job.schema), sent.values)
    assert sum(part.rows for part in parts) == len(texts.groups["rows"].rows)
    assert max(len(part.rest) for part in parts) < MAX_MESSAGE_BYTES


def asker_conninfo(asker: Asker, session: psycopg.Connection[Any]) -> str:
    """The superuser's of `session`, in the database that is watched."""
    return make_conninfo(session.info.dsn, dbname=asker.jobs["activity"].target.dbname, password=session.info.password)
