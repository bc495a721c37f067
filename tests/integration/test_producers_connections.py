"""Connections to a target: what they must prove, how many there are, which are kept between readings, when they go."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.producers_feed import Asker, Watched, watched, with_targets
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.answers import Answer, Questions
from pganalytics.producers.catalogue import load_catalogue
from pganalytics.producers.collectors import resolve_jobs
from pganalytics.producers.pools import Pools
from pganalytics.producers.results import Failed
from pganalytics.producers.session import Session, Stopping
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas
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


def test_no_more_connections_than_the_budget(postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six targets share two connections: all are read, the pool used longest ago makes room."""
    targets = [watched(postgres, tmp_path, extension=False).target(f"t{number}") for number in range(6)]
    every = resolve_jobs(with_targets(Settings.model_validate({}), *targets), builtin_schemas(), "machine")
    jobs = [job for job in every if job.key.metric == "heartbeat"]
    pools = Pools(2, 5, lambda: float("inf"))
    questions = Questions(pools, load_catalogue(builtin_schemas()))
    made: list[Session] = []
    alive: list[int] = []
    connect = Session.connect

    def counted(*args: Any, **kwargs: Any) -> Session:
        made.append(connect(*args, **kwargs))
        alive.append(sum(not session.closed for session in made))
        return made[-1]

    monkeypatch.setattr(Session, "connect", counted)
    threads = [threading.Thread(target=lambda job=job: answered.append(questions.ask(job))) for job in jobs * 5]
    answered: list[object] = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(isinstance(answer, Answer) for answer in answered)
    assert len(answered) == 30
    assert pools.numbers("t0").agent_connections <= 2
    assert len(made) >= len(targets)
    assert max(alive) <= 2
    pools.close()


def test_a_wrong_password_is_tried_once_per_reading(postgres: PostgresServer, one: Watched, tmp_path: Path) -> None:
    """The pool's own retries would lock accounts and fill the server's log."""
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    asker = Asker(one.target("one", password_file=wrong))
    before = failures_of(postgres, one.user)
    began = time.monotonic()
    outcome = asker.ask("heartbeat")
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.of_target) == ("authentication", True)
    assert time.monotonic() - began < 3
    asker.pools.close()
    assert failures_of(postgres, one.user) - before == 1


def failures_of(server: PostgresServer, user: str) -> int:
    return server.log_path.read_text(errors="replace").count(f'password authentication failed for user "{user}"')


def test_a_password_that_rotates_is_picked_up(postgres: PostgresServer, one: Watched) -> None:
    asker = Asker(one.target("one"))
    one.password_file.write_text("not yet")
    assert isinstance(asker.ask("heartbeat"), Failed)
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(f"alter role {one.user} password 'not yet'")
    assert isinstance(asker.ask("heartbeat"), Answer)
    asker.pools.close()


def test_a_superuser_is_refused_with_its_cure_unless_the_settings_allow_one(postgres: PostgresServer, one: Watched) -> None:
    """Objects planted in a database run with the monitor's rights."""
    super_one = one.target("one", user=postgres.user, password_file=postgres.password_file)
    asker = Asker(super_one)
    outcome = asker.ask("heartbeat")
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.of_target) == ("superuser", True)
    assert "CREATE ROLE" in outcome.cure
    assert "pganalytics check --print-role-sql" in outcome.cure
    asker.pools.close()
    allowed = Asker({**super_one, "allow_superuser": True})
    assert isinstance(allowed.ask("heartbeat"), Answer)
    allowed.pools.close()


def test_a_fresh_connection_has_the_limits_and_no_pooler(one: Watched) -> None:
    asker = Asker(one.target("one"))
    job = asker.jobs["heartbeat"]
    with asker.pools.lease("one", job.target, job.database) as session:
        assert (session.pooled, session.superuser) == (False, False)
        row = session.execute(
            "select current_setting('search_path'), current_setting('default_transaction_read_only'), "
            "current_setting('statement_timeout'), current_setting('lock_timeout'), "
            "current_setting('idle_in_transaction_session_timeout')"
        ).fetchone()
        session.rollback()
        assert row == ("pg_catalog,pg_temp", "on", "1min", "1s", "1min")
    asker.pools.close()


def test_a_reading_that_is_given_up_ends_soon_and_the_connections_go(one: Watched) -> None:
    """Where the settings have changed: what runs has a while to end. Then the target is read as before."""
    asker = Asker(one.target("one"))
    target = asker.jobs["heartbeat"].target
    asker.pools.give_up("one", time.monotonic() + 0.5)
    asker.pools.give_up("other", 0.0)
    with pytest.raises(Stopping), asker.pools.lease("one", target, one.dbname) as session:
        session.execute("select pg_sleep(20)")
    assert isinstance(asker.ask("heartbeat"), Failed)
    asker.pools.leave("one")
    assert isinstance(asker.ask("heartbeat"), Answer)
    assert asker.pools.numbers("one").agent_connections == 1
    asker.pools.leave("one")
    assert asker.pools.numbers("one").agent_connections == 0
    asker.pools.close()
