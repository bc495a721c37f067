"""The owner of a database tries to have his code run by the agent's role, or to fool it. Every query, on every version.

What he plants raises an error when it is run, in `public` and in a schema named like the role (see `plants`). Each protection has
a control: without it the same things are run.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.every_query import CATALOGUE, answers, errors
from integration.plants import ALL_BUT_OPERATORS, PLANTED, RELATIONS, TYPES, plant
from integration.producers_feed import Asker
from integration.versions import MAJORS, Version
from pganalytics.producers import admission, extension_guard, script, session
from pganalytics.producers.admission import admit
from pganalytics.producers.answers import Answer
from pganalytics.producers.catalogue import Extension, ServerFacts, Variant
from pganalytics.producers.results import Failed
from pganalytics.producers.server_look import look
from pganalytics.producers.session import Session, connection_string
from pganalytics.runtime.settings import Target

EXTENSION_OF = {13: "1.8", 14: "1.9", 15: "1.10", 16: "1.10", 17: "1.11", 18: "1.12"}
EXT = 'ext "of" them'
OWNED = (
    "create schema app",
    "create schema pgapp",
    "create table pgapp.t ()",
    "create function app.shown(int) returns int language sql immutable as 'select $1'",
    "create table app.t (id int primary key default app.shown(1), word text check (length(word) < 99), n int)",
    "create index on app.t (app.shown(n))",
    "create view app.v as select app.shown(id) as n from app.t",
    "create domain app.d as int default app.shown(1) check (app.shown(value) > 0)",
    "create sequence app.s",
    "alter table app.t enable row level security, force row level security",
    "create policy p on app.t using (app.shown(id) > 0)",
    "insert into app.t select g, 'w', g % 7 from generate_series(1, 100) g",
    "analyze app.t",
    "create or replace function app.shown(int) returns int language plpgsql immutable as "
    f"$$ begin raise exception '{PLANTED}'; end $$",
)
STEADY = ("bloat", "extensions", "relations", "roles", "schema", "sequences", "sizes")
"""Metrics whose rows of before must be there unchanged, whatever is planted."""
SETTINGS = {
    "search_path": "public, pg_catalog",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "off",
    "statement_timeout": "1",
    "row_security": "off",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Pacific/Chatham",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "array_nulls": "off",
}
"""What an owner may set for his database and our role would get."""


def texts() -> list[str]:
    """All that the agent sends to a server."""
    of_metrics = [
        text for each in CATALOGUE.variants.values() for one in each for text in (one.context or "", *one.groups.values())
    ]
    looks = resources.files("pganalytics.producers").joinpath("looks/server.sql").read_text()
    return [*of_metrics, looks, *(inspect.getsource(module) for module in (session, admission, extension_guard))]


@dataclass(frozen=True)
class Hostile:
    """A database whose owner planted things; `before` are the rows of steady metrics from before."""

    version: Version
    dbname: str
    owner: str
    password_file: Path
    before: dict[str, list[tuple[Any, ...]]]

    @contextmanager
    def as_owner(self) -> Iterator[psycopg.Connection[Any]]:
        """The owner of the database, who has no other rights."""
        with self.version.owner(self.dbname, options="-c statement_timeout=0") as connection:  # what he set is for others
            connection.execute(f"set session authorization {self.owner}")
            yield connection

    def target(self) -> dict[str, object]:
        """As in the settings, of the role that reads."""
        server = self.version.server
        where = {"name": "one", "host": server.host, "port": server.port, "dbname": self.dbname, "sslmode": "disable"}
        return {**where, "user": self.version.role, "password_file": self.password_file}

    def conninfo(self) -> str:
        """As the agent connects."""
        return connection_string(Target.model_validate(self.target()), self.dbname, 10)


@pytest.fixture(scope="module")
def hostile(version: Version, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """Made as a superuser would hand over a database, then planted by its owner."""
    dbname = version.database()
    owner = f"owner_of_{dbname}"
    password_file = tmp_path_factory.mktemp("password") / "password"
    password_file.write_text(version.password)
    quoted = EXT.replace('"', '""')
    with version.owner(dbname) as connection:
        for statement in (
            f"create role {owner} login",
            f"alter database {dbname} owner to {owner}",
            f"alter schema public owner to {owner}",
            f'create schema "{quoted}" authorization {owner}',
            f'create extension pg_stat_statements schema "{quoted}"',
            f'select "{quoted}".pg_stat_statements_reset()',  # the server may have run texts that are not UTF-8
            f'grant usage on schema "{quoted}" to public',
            f"set session authorization {owner}",
            *OWNED,
        ):
            connection.execute(statement.encode())
        made = Hostile(version, dbname, owner, password_file, {})
        with reader(made) as session_:
            made.before.update({metric: rows for metric, _, rows in answers(session_) if metric in STEADY})
        plant(connection, "public", texts())
        connection.execute(f'create schema "{version.role}"')
        connection.execute(f'grant usage on schema "{version.role}" to public')
        plant(connection, version.role, texts(), steps=ALL_BUT_OPERATORS)
    return made


@contextmanager
def reader(hostile: Hostile) -> Iterator[Session]:
    """A session as the agent's: admitted, its limits in place."""
    with Session.connect(hostile.conninfo()) as connection:
        admit(connection, allow_superuser=False)
        connection.deadline = float("inf")
        yield connection


def test_every_variant_is_tried_on_some_version() -> None:
    tried = set()
    for major in MAJORS:
        extensions = {"pg_stat_statements": Extension(tuple(map(int, EXTENSION_OF[major].split("."))), "x")}
        facts = ServerFacts((major,), "", "", reads_all_stats=True, extensions=extensions)
        chosen = [CATALOGUE.choose(metric, facts) for metric in CATALOGUE.variants]
        tried |= {(one.metric, one.name) for one in chosen if isinstance(one, Variant)}
    assert tried == {(one.metric, one.name) for each in CATALOGUE.variants.values() for one in each}


def test_nothing_planted_is_run_and_nothing_is_told_otherwise(hostile: Hostile) -> None:
    with reader(hostile) as connection:
        found = answers(connection)
        look(connection)
        version = connection.info.server_version // 10000
    assert errors(found) == []
    assert len({metric for metric, _, _ in found}) == len(CATALOGUE.variants) - (1 if version < 16 else 0)
    for metric in STEADY:
        now = [row for name, _, rows in found if name == metric for row in rows]
        before = hostile.before[metric]
        assert before
        assert [row for row in before if row not in now] == [], metric


@pytest.mark.parametrize("path", ["public, pg_catalog", '"$user", pg_catalog', "pg_catalog, public"])
def test_with_another_search_path_the_same_things_are_run(hostile: Hostile, path: str) -> None:
    """The control: they lie in wait for most queries; behind pg_catalog for those with a more exact type."""
    with reader(hostile) as connection:
        caught = errors(answers(connection, path))
    assert len({metric for metric, _ in caught}) > 12
    assert [error for _, error in caught if PLANTED in error]


def test_what_another_client_left_in_a_pooled_session_is_not_read(hostile: Hostile) -> None:
    """Temporary objects come before pg_catalog unless pg_temp is named last; the control does not name it."""
    with Session.connect(hostile.conninfo()) as connection:
        connection.autocommit = True
        connection.execute("set default_transaction_read_only to off")
        marker = f"create function pg_temp.mark() returns bool language plpgsql as $$ begin raise exception '{PLANTED}'; end $$"
        connection.execute(marker.encode())
        plant(connection, "pg_temp", texts(), steps=(RELATIONS, TYPES))
        connection.execute("reset default_transaction_read_only")
        admit(connection, allow_superuser=False)
        connection.deadline = float("inf")
        assert errors(answers(connection)) == []
        assert [error for _, error in errors(answers(connection, "pg_catalog")) if PLANTED in error]


def test_settings_of_the_database_change_no_answer(hostile: Hostile) -> None:
    with hostile.as_owner() as connection:
        for name, value in SETTINGS.items():
            connection.execute(f"alter database {hostile.dbname} set {name} = '{value}'")
    try:
        with reader(hostile) as connection:
            shown = connection.execute("select current_setting('standard_conforming_strings'), current_setting('timezone')")
            assert shown.fetchone() == ("off", "Pacific/Chatham")  # they did reach us
            found = answers(connection)
    finally:
        with hostile.as_owner() as connection:
            connection.execute(f"alter database {hostile.dbname} reset all")
    assert errors(found) == []
    for metric in STEADY:
        now = [row for name, _, rows in found if name == metric for row in rows]
        assert [row for row in hostile.before[metric] if row not in now] == [], metric


IMPOSTORS = """
alter schema "{schema}" rename to aside;
create schema "{schema}";
grant usage on schema "{schema}", aside to public;
create function "{schema}".pg_stat_statements(boolean) returns setof aside.pg_stat_statements language plpgsql
as $$ begin raise exception '{planted}'; end $$;
"""
IMPOSTOR_OF_INFO = """
create function "{schema}".pg_stat_statements_info() returns setof aside.pg_stat_statements_info language plpgsql
as $$ begin raise exception '{planted}'; end $$;
"""


@contextmanager
def impostors(hostile: Hostile) -> Iterator[None]:
    """The schema of the extension is renamed, and one of its old name has functions of the same names."""
    schema = EXT.replace('"', '""')
    more = IMPOSTOR_OF_INFO if hostile.version.server.major >= 14 else ""
    with hostile.as_owner() as connection:
        connection.execute((IMPOSTORS + more).format(schema=schema, planted=PLANTED).encode())
        yield
        connection.execute(f'drop schema "{schema}" cascade; alter schema aside rename to "{schema}"'.encode())


def test_a_function_in_the_place_of_the_extension_s_is_not_run(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a session that found the extension before, and the reading is taken from where it is now. The control trusts what
    was found."""
    asker, trusting = Asker(hostile.target()), Asker(hostile.target())
    try:
        assert isinstance(asker.ask("statements"), Answer)
        with monkeypatch.context() as patch:
            patch.setattr(script, "watch_extensions", lambda *_: [])
            assert isinstance(trusting.ask("statements"), Answer)
        with impostors(hostile):
            for metric in ("statements", "query_text"):
                assert isinstance(asker.ask(metric), Answer)
            outcome = trusting.ask("statements")
        assert isinstance(outcome, Failed)
        assert outcome.kind == "sqlstate:P0001"  # raised by what was planted
    finally:
        asker.pools.close()
        trusting.pools.close()
