"""Which connections to a target's databases are kept between readings."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.producers_feed import Asker, Watched, watched
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.session import Session
from waiting import until

DATABASES = 6
HELD = 4


class Turns:
    """Leases a connection to each database in turn, as readings do."""

    def __init__(self, one: Watched, names: list[str], hold: int) -> None:
        asker = Asker(one.target("one", hold_databases=hold))
        self.target = asker.jobs["tables"].target
        self.pools = asker.pools
        self.names = names
        self.broken: set[str] = set()

    def lease(self, name: str) -> int:
        """The server process that answers."""
        with self.pools.lease("one", self.target, name) as session:
            if name in self.broken:
                session.close()
                return 0
            row = session.execute("select pg_backend_pid()").fetchone()
            return int(row[0]) if row else 0

    def round(self) -> list[int]:
        return [self.lease(name) for name in self.names]


@pytest.fixture
def one(postgres: PostgresServer, tmp_path: Path) -> Watched:
    return watched(postgres, tmp_path, extension=False)


@pytest.fixture
def names(postgres: PostgresServer, one: Watched) -> Iterator[list[str]]:
    made = [f"{one.dbname}_{number}" for number in range(DATABASES)]
    with psycopg.connect(postgres.conninfo(), autocommit=True) as admin, ExitStack() as stack:
        for name in made:
            admin.execute(f'create database "{name}"')
            stack.callback(admin.execute, f'drop database if exists "{name}" with (force)')
        yield made


def connected(one: Watched) -> set[str]:
    """Databases to which the role has a connection."""
    with psycopg.connect(one.server.conninfo(), autocommit=True) as admin:
        found: list[tuple[Any, ...]] = admin.execute(
            "select datname from pg_stat_activity where usename = %s", (one.user,)
        ).fetchall()
    return {name for (name,) in found}


@pytest.mark.parametrize("hold", [0, 1, HELD, DATABASES])
def test_those_that_are_held_stay_the_same(one: Watched, names: list[str], hold: int) -> None:
    """Of databases that are read in turn, the one that was read longest ago is read next: to close it would keep none."""
    turns = Turns(one, names, hold)
    rounds = [turns.round() for _ in range(4)]
    kept = [len(set(pids)) == 1 for pids in zip(*rounds, strict=True)]
    assert kept == [number < hold for number in range(DATABASES)]
    until(lambda: connected(one) == set(names[:hold]))
    turns.pools.close()


def test_one_that_broke_makes_room(one: Watched, names: list[str]) -> None:
    turns = Turns(one, names, HELD)
    turns.round()
    turns.broken.add(names[1])
    turns.round()
    until(lambda: connected(one) == {names[0], *names[2 : HELD + 1]})
    turns.pools.close()


def test_to_one_that_is_gone_none_is_kept(one: Watched, names: list[str]) -> None:
    turns = Turns(one, names, HELD)
    turns.round()
    turns.pools.leave_database("one", names[0])
    turns.pools.leave_database("one", "never there")
    until(lambda: connected(one) == set(names[1:HELD]))
    assert turns.pools.numbers("one").agent_connections == HELD - 1
    turns.pools.close()


def test_while_another_is_read_what_is_held_stays(one: Watched, names: list[str]) -> None:
    turns = Turns(one, names, HELD)
    before = turns.round()[:HELD]
    with turns.pools.lease("one", turns.target, names[HELD]) as session:
        assert isinstance(session, Session)
        turns.lease(names[HELD + 1])
        assert connected(one) == set(names[: HELD + 1])
    assert turns.round()[:HELD] == before
    turns.pools.close()
