"""Through a pooler: everything is read, the limits hold in each transaction, and nothing is left to other clients.

The same promises are tested with a pooler of ours and, where it is installed, with PgBouncer.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from integration.pooler import Pooler, pgbouncer
from integration.producers_feed import Asker, Watched, watched
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers import admission
from pganalytics.producers.admission import OF_SESSION
from pganalytics.producers.answers import Answer
from pganalytics.producers.results import Failed
from pganalytics.producers.session import limit_transaction

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
KINDS = [(kind, mode) for kind in ("ours", *(["pgbouncer"] if PROGRAM else [])) for mode in ("session", "transaction")]


@dataclass(frozen=True)
class Pooled:
    """A target whose own settings of the role are hostile, and the port of the pooler before it. `takes_turns`: each transaction
    is another server process's."""

    watched: Watched
    port: int
    by_transaction: bool
    takes_turns: bool

    def asker(self, **more: object) -> Asker:
        return Asker(self.watched.target("one", port=self.port, **more))

    def conninfo(self) -> str:
        words: dict[str, str | int] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.watched.user,
            "dbname": self.watched.dbname,
        }
        return make_conninfo("", **words, password=self.watched.password_file.read_text().strip())


@pytest.fixture(params=KINDS, ids="-".join)
def pooled(request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path) -> Iterator[Pooled]:
    kind, mode = request.param
    one = watched(postgres, tmp_path)
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(f"alter role {one.user} set search_path = public, pg_catalog")
        connection.execute(f"alter role {one.user} set intervalstyle = iso_8601")
    by_transaction = mode == "transaction"
    passwords = {one.user: one.password_file.read_text().strip(), postgres.user: postgres.password}
    with ExitStack() as stack:
        if kind == "ours":
            maker = Pooler(
                lambda dbname, user: postgres.conninfo(dbname, user=user, password=passwords[user]),
                by_transaction=by_transaction,
            )
            port = stack.enter_context(maker).port
        else:
            port = stack.enter_context(pgbouncer(Path(PROGRAM or ""), postgres, passwords, by_transaction=by_transaction))
        yield Pooled(one, port, by_transaction, takes_turns=by_transaction and kind == "ours")


def test_everything_is_read(pooled: Pooled) -> None:
    asker = pooled.asker()
    for _ in range(3):
        for metric in asker.jobs:
            outcome = asker.ask(metric)
            assert isinstance(outcome, Answer), (metric, outcome)
    asker.pools.close()


def test_the_limits_hold_in_each_transaction_and_the_pooler_is_noticed(pooled: Pooled) -> None:
    asker = pooled.asker()
    job = asker.jobs["heartbeat"]
    backends = set()
    with asker.pools.lease("one", job.target, job.database) as session:
        assert session.pooled
        for _ in range(10):
            with session.pipeline():
                limit_transaction(session, 3)
                row = session.execute(
                    "select current_setting('search_path'), current_setting('transaction_read_only'), "
                    "current_setting('statement_timeout'), current_setting('lock_timeout'), "
                    "current_setting('idle_in_transaction_session_timeout'), pg_backend_pid()"
                ).fetchone()
            assert row is not None
            assert row[:5] == ("pg_catalog, pg_temp", "on", "3s", "1s", "1min")
            backends.add(row[5])
    asker.pools.close()
    assert len(backends) == 1 or pooled.by_transaction
    assert len(backends) == 2 or not pooled.takes_turns


def test_nothing_is_left_to_other_clients(pooled: Pooled) -> None:
    """They may be an application that writes."""
    asker = pooled.asker()
    for metric in asker.jobs:
        assert isinstance(asker.ask(metric), Answer)
    if not pooled.by_transaction:
        asker.pools.close()
    with psycopg.connect(pooled.conninfo(), prepare_threshold=None) as other:
        for _ in range(4):
            row = other.execute(
                "select current_setting('search_path'), current_setting('transaction_read_only'), current_setting('lock_timeout')"
            ).fetchone()
            other.commit()
            assert row == ("public, pg_catalog", "off", "0")
    asker.pools.close()


def test_a_superuser_is_refused_here_too(pooled: Pooled, postgres: PostgresServer) -> None:
    asker = pooled.asker(user=postgres.user, password_file=postgres.password_file)
    outcome = asker.ask("heartbeat")
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.of_target) == ("superuser", True)
    asker.pools.close()


def test_control_where_the_limits_are_not_kept_nothing_is_read(pooled: Pooled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the transaction's own limits the role's search path would hold."""
    monkeypatch.setattr(admission, "limit_transaction", lambda *_: None)
    asker = pooled.asker()
    outcome = asker.ask("heartbeat")
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.of_target) == ("limits", True)
    assert "public, pg_catalog" in outcome.reason
    asker.pools.close()


def test_what_drops_the_startup_options_and_is_no_pooler_gets_them_set_for_the_session(
    postgres: PostgresServer, one: Watched
) -> None:
    password = one.password_file.read_text().strip()
    with Pooler(
        lambda dbname, user: postgres.conninfo(dbname, user=user, password=password), by_transaction=False, hides=True
    ) as proxy:
        asker = Asker(one.target("one", port=proxy.port))
        job = asker.jobs["heartbeat"]
        with asker.pools.lease("one", job.target, job.database) as session:
            assert not session.pooled
            assert admission._look(session) == OF_SESSION
        assert isinstance(asker.ask("statements"), Answer)
        asker.pools.close()
