"""The store goes away in every manner: the sink keeps its partitions, waits quietly, and then stores each record once.

Times are compressed: `statement_timeout` is 1 s instead of 60, Kafka's `max.poll.interval.ms` 10 s instead of 300, and the
longest back-off 2 s instead of 10.
"""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from integration.outages import Load, Log, Services, cpu_s, running, settled
from integration.sink_feed import Store
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.kafka import make_topics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.topics import Topics
from pganalytics.sink import store
from pganalytics.sink.connection import LOCK_TIMEOUT_S
from servers import settings_for
from waiting import until

AWAY_S = 5.0
MOST_LINES = 8
"""Of warnings in one outage: the loop, the accountant and upkeep each say that they wait, and that they go on."""
MOST_CONNECTIONS = 30
"""In one outage, by three threads: the loop's waits are 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2... s, or half of that by their jitter."""
HECTIC_S = 20.0
"""How long a sink without back-off may take to exceed them: on a busy machine it is slow at that, too."""
MOST_CPU = 0.5
"""Of one core; the sink goes on polling and reads ahead what the load sends."""


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server to break."""
    with PostgresServer.start(tmp_path / "store", settings={"log_connections": "on"}) as server:
        yield server


@pytest.fixture
def own(kafka: KafkaBroker, own_store: PostgresServer, tmp_path: Path) -> Settings:
    """Settings with a store to break, which is set up."""
    made = settings_for(kafka, own_store, "postgres", tmp_path)
    sink = made.sink.model_copy(update={"retry_max_s": 2.0, "session_timeout_s": 6.0, "settle_interval_s": 0.5})
    made = made.model_copy(update={"sink": sink})
    make_topics(made.kafka, Topics(made.kafka.prefix, made.kafka.partitions).table())
    store.set_up(made)
    return made


@dataclass
class Ours:
    """The store that is broken, and questions to it. `refused`: connections that nobody could answer."""

    server: PostgresServer
    stored: Store
    refused: int = 0

    def run_as_owner(self, *texts: str) -> None:
        """Whatever the server's defaults are now."""
        with psycopg.connect(self.stored.conninfo, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            for text in texts:
                connection.execute(text.encode())

    @contextmanager
    def nobody_answers(self) -> Iterator[None]:
        """Its port hangs up on whoever calls, and counts them."""
        with socket.create_server((self.server.host, self.server.port), reuse_port=False) as listener:
            thread = threading.Thread(target=self._hang_up, args=(listener,))
            thread.start()
            yield
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    def _hang_up(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()
                self.refused += 1


Outage = Callable[[Ours], AbstractContextManager[None]]


@contextmanager
def down(ours: Ours) -> Iterator[None]:
    """SIGKILL, and nothing for a while."""
    ours.server.kill()
    with ours.nobody_answers():
        yield
    ours.server.start_again()


@contextmanager
def restarting(ours: Ours) -> Iterator[None]:
    """Three times, the last time after the time is up."""
    for _ in range(2):
        ours.server.restart()
    yield
    ours.server.restart()


@contextmanager
def read_only(ours: Ours) -> Iterator[None]:
    """As after a failover to a standby: 25006."""
    ours.run_as_owner("alter system set default_transaction_read_only = on", "select pg_reload_conf()")
    until(lambda: ours.stored.one("show default_transaction_read_only") == "on")
    yield
    ours.run_as_owner("alter system reset default_transaction_read_only", "select pg_reload_conf()")


@contextmanager
def trigger(ours: Ours, body: str) -> Iterator[None]:
    """Something happens to every insert."""
    ours.run_as_owner(
        f"create function public.away() returns trigger language plpgsql as $$ begin {body}; return null; end $$",
        "create trigger away before insert on metrics.database for each statement execute function public.away()",
    )
    yield
    ours.run_as_owner("drop trigger away on metrics.database")


def disk_full(ours: Ours) -> AbstractContextManager[None]:
    """53100, raised by a trigger: a file system that is really full cannot be had without rights of root."""
    return trigger(ours, "raise 'could not extend file: No space left on device' using errcode = 'disk_full'")


def slow(ours: Ours) -> AbstractContextManager[None]:
    """Every insert takes longer than `statement_timeout`: 57014."""
    return trigger(ours, "perform pg_sleep(30)")


@contextmanager
def locked(ours: Ours) -> Iterator[None]:
    """As by an ALTER TABLE that rewrites the table: 55P03, or with our short one `statement_timeout`."""
    with psycopg.connect(ours.stored.conninfo) as connection:
        connection.execute("lock table metrics.database in access exclusive mode")
        yield


@contextmanager
def deadlocked(ours: Ours) -> Iterator[None]:
    """Somebody who locks in another order, and waits longer than the sink, so that PostgreSQL ends the sink's transaction."""
    before = deadlocks(ours)
    for _ in range(10):
        with psycopg.connect(ours.stored.conninfo) as connection:
            connection.execute("set local deadlock_timeout = '1min'")
            connection.execute("select from pganalytics.ledger where lane = 'normal' for update")
            until(lambda: waiting(ours) > 0, what="the sink waits for the ledger")
            connection.execute("select from pganalytics.positions for update")
        if deadlocks(ours) >= before + 3:
            break
    yield
    assert deadlocks(ours) >= before + 3


def waiting(ours: Ours) -> int:
    text = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'pganalytics sink'"
    return int(ours.stored.one(text))


def deadlocks(ours: Ours) -> int:
    return int(ours.stored.one("select deadlocks from pg_stat_database where datname = current_database()"))


@contextmanager
def restored(ours: Ours) -> Iterator[None]:
    """From a backup, a copy of the files, that is older than what the running sink wrote last."""
    data, backup = ours.server.data, ours.server.data.with_name("backup")
    ours.server.stop()
    subprocess.run(["cp", "-a", data, backup], check=True)
    ours.server.start_again()
    before = ours.stored.stored()
    until(lambda: ours.stored.stored() > before + 500)
    ours.server.stop()
    shutil.rmtree(data)
    backup.rename(data)
    ours.server.start_again()
    assert ours.stored.stored() < before + 500, "the backup is as new as the store"
    yield


OUTAGES: dict[Outage, float] = {
    down: AWAY_S,
    restarting: 0.0,
    read_only: AWAY_S,
    disk_full: AWAY_S,
    slow: AWAY_S,
    locked: LOCK_TIMEOUT_S + 1.5,
    deadlocked: 0.0,
    restored: 0.0,
}


@dataclass(frozen=True)
class Cost:
    """What an outage cost: warnings and errors in the sink's log, connections asked for, and the share of a core."""

    lines: list[str]
    connections: int
    cpu: float


def suffer(services: Services, ours: Ours, outage: Outage, *, enough: Callable[[Cost], bool] | None = None) -> Cost:
    """One outage of the store below a sink at work, which is over when its time is, or when it has cost enough."""
    log, server_log = Log(services.folder / "sink.log"), Log(ours.server.log_path)
    log.mark()
    server_log.mark()
    pid = services.children["sink"].pid
    began, used = time.monotonic(), cpu_s(pid)

    def cost() -> Cost:
        made = server_log.lines("connection authorized.*application_name=pganalytics")
        spent = (cpu_s(pid) - used) / (time.monotonic() - began)
        return Cost(log.lines(" WARNING | ERROR | CRITICAL "), len(made) + ours.refused, spent)

    with outage(ours):
        if enough is None:
            time.sleep(OUTAGES[outage])
        else:
            until(lambda: enough(cost()), HECTIC_S, what="what must be noticed")
        spent = cost().cpu
    return replace(cost(), cpu=spent)


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_while_the_store_is_away_the_sink_waits_and_afterwards_stores_each_record_once(
    outage: Outage, own: Settings, own_store: PostgresServer, tmp_path: Path
) -> None:
    ours, load = Ours(own_store, Store(own)), Load(own, 1)
    with running(own, tmp_path) as services:
        services.start("sink", fault="" if outage in (locked, deadlocked) else "impatient")
        with load.running():
            until(lambda: ours.stored.stored() > 100)
            cost = suffer(services, ours, outage)
            sent = load.count
            until(lambda: ours.stored.stored() > sent, timeout_s=60)
        settled(own, load)
        assert services.children["sink"].terminate(60) == 0, services.log("sink")
    sys.stdout.write(f"{outage.__name__}: {len(cost.lines)} lines, {cost.connections} connections, {cost.cpu:.2f} of a core\n")
    assert len(Log(tmp_path / "sink.log").lines("partitions assigned")) == 1, services.log("sink")
    assert len(cost.lines) <= MOST_LINES, cost.lines
    assert cost.connections <= MOST_CONNECTIONS
    assert cost.cpu <= MOST_CPU


@pytest.mark.parametrize("outage", [down, disk_full], ids=lambda outage: outage.__name__)
def test_control_a_sink_without_back_off_is_caught(
    outage: Outage, own: Settings, own_store: PostgresServer, tmp_path: Path
) -> None:
    """It loses nothing either; its calls and its log are what must be noticed."""
    ours, load = Ours(own_store, Store(own)), Load(own, 1)
    with running(own, tmp_path) as services:
        services.start("sink", fault="hectic")
        with load.running():
            until(lambda: ours.stored.stored() > 100)
            cost = suffer(services, ours, outage, enough=is_beyond_all_limits)
    assert is_beyond_all_limits(cost)


def is_beyond_all_limits(cost: Cost) -> bool:
    return cost.connections > 2 * MOST_CONNECTIONS and len(cost.lines) > 2 * MOST_LINES
