"""A server full of secrets: each place of `secret_places` has another one, which is random and which a search finds."""

import secrets
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import psycopg

from integration.secret_places import (
    CONFIGURED,
    ERRORS,
    OBJECTS,
    ROLE,
    SERVER,
    SHAPES,
    SILENT,
    STATEMENTS,
    Place,
    found_in,
)
from pganalytics.embedded.postgres import PostgresServer


class Planted:
    """Secrets and their places; `sessions` are open as long as the `with` block."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self._stack = ExitStack()
        self._server: PostgresServer
        self._database = ""

    def __enter__(self) -> "Planted":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sessions."""
        self._stack.close()

    def settings(self) -> dict[str, str]:
        """For the server's file."""
        return {name: self.filled("settings", name, value) for name, value in SERVER.items()}

    def fill(self, server: PostgresServer, database: str, closed: str) -> None:
        """The server, a database of it, and one that refuses logins."""
        self._server, self._database = server, database
        self._in_the_catalogue()
        self._refuse_logins(closed)
        self._in_statements()
        self._in_sessions()

    def change(self) -> None:
        """A definition becomes another one."""
        with self._connect(autocommit=True) as connection:
            view = "create or replace view shop_open_view as select id from shop where state = '{w}'"
            connection.execute(self.filled("schema", "changed view", view).encode())

    def word(self, kind: str, name: str, *, reaches: bool) -> str:
        """A new secret that is a word."""
        return self._new(f"c0ffee{secrets.token_hex(5)}", Place(kind, name, reaches))

    def number(self, kind: str, name: str, *, reaches: bool) -> str:
        """A new secret that is a number."""
        return self._new(f"77{secrets.randbelow(10**13):013}", Place(kind, name, reaches))

    def filled(self, kind: str, name: str, template: str, *, reaches: bool = True) -> str:
        """A template with a new secret wherever it wants one."""
        words: dict[str, str] = {}
        for mark in ("w", "w2", "n"):
            if "{" + mark + "}" in template:
                make = self.number if mark == "n" else self.word
                words[mark] = make(kind, f"{name} ({mark})", reaches=reaches)
        return template.format(**words, role=ROLE, database=self._database)

    def _in_the_catalogue(self) -> None:
        """Objects, then those of which nothing is read, then settings; their statements are forgotten."""
        with self._connect(autocommit=True) as connection:
            for kind, templates, reaches in (
                ("schema", OBJECTS, True),
                ("silent", SILENT, False),
                ("settings", CONFIGURED, True),
            ):
                for name, template in templates.items():
                    connection.execute(self.filled(kind, name, template, reaches=reaches).encode())
            self._errors(connection)
            connection.execute('select "Odd ""schema""".pg_stat_statements_reset()')

    def _in_statements(self) -> None:
        """Statements that were run once."""
        with self._connect(autocommit=True) as connection:
            for name, template in STATEMENTS.items():
                connection.execute(self.filled("statement", name, template).encode())
            texts = connection.execute('select string_agg(query, e\'\\n\') from "Odd ""schema""".pg_stat_statements').fetchone()
        assert texts is not None
        kept = found_in(texts[0].encode())
        for secret, place in self.places.items():
            if place.kind == "statement" and secret not in kept:
                self.places[secret] = replace(place, reaches=False)

    def _in_sessions(self) -> None:
        """The last statements of open transactions, and of a session that waits for another."""
        self._session("select", "select " + ", ".join(self._shapes("select")))
        self._session("insert", "insert into kept (a) values " + ", ".join(f"({one})" for one in self._shapes("insert")))
        shapes = " or a = ".join(self._shapes("where"))
        self._session("where", f"select a from kept where a = {shapes} for share")
        self._session(
            "nonstandard",
            self.filled("session", "nonstandard", "select 'it\\'s', '{w}', 'it\\''"),
            "set standard_conforming_strings = off",
        )
        self._session("cut", self.filled("session", "cut", "select '{w}") + "x" * 20_000 + "'")
        holder = self._session("blocker", self.filled("session", "blocker", "select '{w}'"), "lock table shop in share mode")
        assert not holder.closed
        waiter = self._connect(autocommit=True)
        waiter.pgconn.send_query(self.filled("session", "waiter", "/* {w} */ update shop set state = '{w2}'").encode())

    def _shapes(self, context: str) -> list[str]:
        return [self.filled("session", f"{name} in {context}", shape) for name, shape in SHAPES.items()]

    def _session(self, name: str, last: str, *before: str) -> psycopg.Connection[Any]:
        connection = self._connect(autocommit=False)
        for statement in (*before, last):
            connection.execute(statement.encode())
        return connection

    def _connect(self, *, autocommit: bool) -> psycopg.Connection[Any]:
        conninfo = self._server.conninfo(self._database)
        connection = psycopg.connect(conninfo, autocommit=autocommit, prepare_threshold=None)
        self._stack.callback(connection.close)
        return connection

    def _errors(self, connection: psycopg.Connection[Any]) -> None:
        """Values that errors quote, and functions that raise errors with a secret in each part that a client is shown."""
        connection.execute("create table quoted (name text, state text)")
        for name in ERRORS:
            if not name.startswith("raised"):
                connection.execute(
                    "insert into quoted values (%s, %s)", (name, self.word("error", name, reaches=name != "typed"))
                )
        connection.execute(self._raiser("raised", "bigint", "P0001").encode())
        connection.execute(self._raiser("raised_as", "bigint", "42501").encode())

    def _refuse_logins(self, database: str) -> None:
        """Whoever connects to this database, but a superuser, is told a secret."""
        with psycopg.connect(self._server.conninfo(database), autocommit=True) as connection:
            connection.execute(self._raiser("refuse", "event_trigger", "P0001").encode())
            connection.execute("create event trigger refusing on login execute function refuse()")

    def _raiser(self, name: str, kind: str, code: str) -> str:
        words = [self.word("error", f"{name}: {part}", reaches=True) for part in ("message", "detail", "hint")]
        return (
            f"create function {name}() returns {kind} language plpgsql as $$ begin "
            "if not (select rolsuper from pg_roles where rolname = session_user) then "
            f"raise exception '{words[0]}' using errcode = '{code}', detail = '{words[1]}', hint = '{words[2]}'; end if; end $$"
        )

    def _new(self, secret: str, place: Place) -> str:
        assert secret not in self.places
        self.places[secret] = place
        return secret
