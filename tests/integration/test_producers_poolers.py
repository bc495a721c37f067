"""Through a pooler: everything is read, the limits hold in each transaction, nothing is left to other clients, and `check` says
how it lends its connections.

The same promises are tested with a pooler of ours and, where it is installed, with PgBouncer.
"""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
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
from pganalytics.producers.check import check
from pganalytics.producers.findings import Finding, Level
from pganalytics.producers.pooling import Pooling
from pganalytics.producers.results import Failed
from pganalytics.producers.session import limit_transaction
from pganalytics.runtime.settings import Settings

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
            port = stack.enter_context(pgbouncer(Path(PROGRAM or ""), postgres, passwords, mode=mode))
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


def found_by_check(pooled: Pooled) -> tuple[Pooling, Finding]:
    """How it lends, and the line that says what this means."""
    target = pooled.watched.target("one", port=pooled.port, databases=[pooled.watched.dbname])
    (report,) = check(Settings.model_validate({"targets": [target]})).targets
    assert report.look is not None
    return report.look.pooling, next(one for one in report.hints if one.subject == "pooler")


def test_check_says_how_it_lends_its_connections(pooled: Pooled) -> None:
    pooling, line = found_by_check(pooled)
    if pooled.by_transaction:
        assert (pooling, line.level, line.cure) == (Pooling.TRANSACTION, Level.OK, "")
    else:
        assert (pooling, line.level) == (Pooling.SESSION, Level.WARNING)
        assert "pool_size of at least 4" in line.cure


def test_check_does_not_hang_where_a_session_holds_the_last_connection(pooled: Pooled) -> None:
    """Of the pooler's two connections another client has one, whenever its session is what holds it."""
    with psycopg.connect(pooled.conninfo(), prepare_threshold=None) as other:
        other.execute("select 1")
        other.commit()
        pooling, line = found_by_check(pooled)
    assert pooling is (Pooling.TRANSACTION if pooled.by_transaction else Pooling.FULL)
    assert line.level is (Level.OK if pooled.by_transaction else Level.WARNING)


def test_that_a_pooler_is_in_between_is_logged_once(pooled: Pooled, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pganalytics.producers.pools")
    direct, asker = Asker(pooled.watched.target("direct")), pooled.asker()
    for one in (direct, asker, asker):
        assert isinstance(one.ask("heartbeat"), Answer)
        one.pools.drop(one.jobs["heartbeat"].key.collector, pooled.watched.dbname)  # each makes a connection
    direct.pools.close()
    asker.pools.close()
    (line,) = (one for one in caplog.records if one.name == "pganalytics.producers.pools")
    assert vars(line)["collector"] == "one"
    assert "pganalytics check" in vars(line)["way"]


@contextmanager
def refusing(kind: str, server: PostgresServer, one: Watched, *, options: bool) -> Iterator[int]:
    """The port of a pooler that refuses the startup parameter `options`, or else transactions."""
    password = one.password_file.read_text().strip()
    made: AbstractContextManager[Pooler | int]
    if kind == "ours":
        refuses = b"options" if options else b"BEGIN"
        made = Pooler(
            lambda dbname, user: server.conninfo(dbname, user=user, password=password), by_transaction=True, refuses=refuses
        )
    else:
        mode, ignores = ("transaction", "") if options else ("statement", "options")
        made = pgbouncer(Path(PROGRAM or ""), server, {one.user: password}, mode=mode, ignores=ignores)
    with made as pooler:
        yield pooler if isinstance(pooler, int) else pooler.port


@pytest.mark.parametrize("kind", dict.fromkeys(kind for kind, _ in KINDS))
@pytest.mark.parametrize(
    ("options", "expected", "cure"),
    [(True, "sqlstate:08P01", "ignore_startup_parameters"), (False, "statement_pooling", "pool_mode = transaction")],
)
def test_a_pooler_that_cannot_be_used_is_named_with_its_cure(
    postgres: PostgresServer, one: Watched, kind: str, options: bool, expected: str, cure: str
) -> None:
    with refusing(kind, postgres, one, options=options) as port:
        asker = Asker(one.target("one", port=port))
        outcome = asker.ask("heartbeat")
        asker.pools.close()
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.of_target) == (expected, True)
    assert cure in outcome.cure


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
