"""An agent that reads as fast as it can while its servers are unruly, and what it holds meanwhile.

A cycle is over when each metric of the quiet databases was read once more.
"""

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

import psutil
import psycopg

from integration.producers_feed import AgentProcess, Watched
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.session import APPLICATION, LOCK_TIMEOUT_MS

UNREST = "unrest_"
LOCKED = "locked"
"""A metric of the user whose table is locked at times."""
CALM_S = 0.3
SAMPLE_S = 0.1
TERMINATE = """
select pg_terminate_backend(pid)
from (select pid from pg_stat_activity where application_name = %s order by random() limit 1) chosen
"""
"""Not all: what was left open would be closed by the server."""
HURRY = """
import collections, dataclasses, pathlib, threading, time
from pganalytics.producers import collectors
from pganalytics.producers.results import Failed, HeldBack
from pganalytics.producers.runner import Runner
job_of, run_jobs, counts = collectors._job, Runner.run, collections.Counter()
def hurried(*given):
    return dataclasses.replace(job_of(*given), interval_s=0.1)
def counted(self, jobs, go_on):
    outcomes = run_jobs(self, jobs, go_on)
    for job, outcome in zip(jobs, outcomes):
        quiet = job.key.collector == "quiet" and not job.key.database.startswith({unrest!r}) and job.key.metric != {locked!r}
        if quiet and not job.is_template:
            counts[job.key] += not isinstance(outcome, (Failed, HeldBack))
    return outcomes
def tell():
    while True:
        time.sleep(0.1)
        found = dict(counts)
        told = pathlib.Path({path!r} + ".new")
        metrics = len({{key.metric for key in found}})
        told.write_text(f"{{min(found.values(), default=0)}} {{metrics}} {{len(found)}} {{sum(found.values())}}")
        told.replace({path!r})
collectors._job, Runner.run = hurried, counted
threading.Thread(target=tell, daemon=True).start()
"""
LEAK = """
import contextlib, threading, psycopg
from pganalytics.producers.session import connection_string
whole, kept, turns = Runner.run, [], []
def leaking(self, jobs, go_on):
    kept.append(b"x" * {size})
    if jobs[0].key.collector == "quiet":
        turns.append(None)
        if len(turns) % {every} == 0:
            kept.append(open("/dev/null"))
            with contextlib.suppress(psycopg.OperationalError):  # a session may be terminated while it begins
                kept.append(psycopg.connect(connection_string(jobs[0].target, jobs[0].target.dbname, 5)))
            threading.Thread(target=threading.Event().wait, daemon=True).start()
    return whole(self, jobs, go_on)
Runner.run = leaking
"""


@dataclass(frozen=True)
class Held:
    """What the agent holds at one moment. `memory`: bytes that only it has (USS); `connections`: as its servers count them."""

    cycle: int
    memory: int
    threads: int
    files: int
    connections: int


@dataclass(frozen=True)
class Counted:
    """Cycles that are over; metrics and jobs of a cycle; readings that went well."""

    cycles: int
    metrics: int
    jobs: int
    readings: int


class Endurance:
    """Samples of one agent's life."""

    def __init__(self, agent: AgentProcess, counts: Path, servers: Sequence[PostgresServer]) -> None:
        self.samples: list[Held] = []
        self._agent = psutil.Process(agent.pid)
        self._counts = counts
        self._servers = servers

    def watch(self, cycles: int, timeout_s: float) -> None:
        """Sample until so many cycles are over."""
        deadline = time.monotonic() + timeout_s
        while not self.samples or self.samples[-1].cycle < cycles:
            assert time.monotonic() < deadline, self.samples[-1:]
            self.samples.append(self._sample())
            time.sleep(SAMPLE_S)

    def counted(self) -> Counted:
        """So far."""
        words = self._counts.read_text().split() if self._counts.exists() else "0000"
        return Counted(*map(int, words))

    def typical(self, low: int, high: int) -> Held:
        """The median of each number in cycles `low` to `high`."""
        window = [one for one in self.samples if low <= one.cycle <= high]
        assert len(window) >= 5, len(window)
        return Held(*(int(statistics.median(getattr(one, field.name) for one in window)) for field in fields(Held)))

    def _sample(self) -> Held:
        with self._agent.oneshot():
            memory = self._agent.memory_full_info().uss
            threads, files = self._agent.num_threads(), self._agent.num_fds()
        return Held(self.counted().cycles, memory, threads, files, sum(connections(server) for server in self._servers))


def connections(server: PostgresServer) -> int:
    """Sessions of the agent; 0 while the server is away."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(server.conninfo(), autocommit=True) as connection:
        found = connection.execute("select count(*) from pg_stat_activity where application_name = %s", (APPLICATION,)).fetchone()
        assert found is not None
        return int(found[0])
    return 0


class Unrest:
    """Databases come and go, sessions are terminated, tables are locked, and a server goes away and returns, in turn."""

    def __init__(self, quiet: Watched, flighty: PostgresServer) -> None:
        self.rounds = 0
        self._quiet = quiet
        self._flighty = flighty
        self._ended = threading.Event()
        self._error: BaseException | None = None

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Until the block ends; what went wrong is raised then."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(60)
        assert self._error is None, self._error
        assert not thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._round()
                self.rounds += 1
        except BaseException as error:  # noqa: BLE001  (raised by the test's thread)
            self._error = error

    def _round(self) -> None:
        name = f"{UNREST}{self.rounds}"
        with ExitStack() as stack:
            admin = stack.enter_context(psycopg.connect(self._quiet.server.conninfo(), autocommit=True))
            steps: list[Callable[[], object]] = [
                lambda: admin.execute(f"create database {name}"),
                lambda: self._inhabit(name),
                lambda: admin.execute(TERMINATE, (APPLICATION,)),
                self._lock,
                lambda: None if self.rounds % 2 else self._flighty.crash(),
                lambda: admin.execute(f"alter database {name} allow_connections {'off' if self.rounds % 3 else 'on'}"),
                self._flighty.start_again,
                lambda: admin.execute(f"drop database {name} with (force)"),
            ]
            for step in steps:
                step()
                self._ended.wait(CALM_S)

    def _inhabit(self, name: str) -> None:
        with psycopg.connect(self._quiet.server.conninfo(name), autocommit=True) as connection:
            connection.execute("create table guests as select n, n::text as name from generate_series(1, 100) n")

    def _lock(self) -> None:
        with psycopg.connect(self._quiet.server.conninfo(self._quiet.dbname)) as connection:
            connection.execute("lock table visits in access exclusive mode")
            self._ended.wait(LOCK_TIMEOUT_MS / 1000 + 5 * CALM_S)


def hurry(counts: Path) -> str:
    """A prelude: each job is due ten times a second, and its readings are counted in this file."""
    return HURRY.format(unrest=UNREST, locked=LOCKED, path=os.fspath(counts))


def leak(size: int, every: int) -> str:
    """A prelude, after `hurry`: each time that a worker takes jobs so many bytes are kept; every so many times that they are of
    the quiet server a file and a connection stay open, and a thread waits for ever. (The other server ends connections when it
    crashes, more of them the longer a cycle takes.)"""
    return LEAK.format(size=size, every=every)


def grown(early: Held, late: Held, tolerance: Held) -> set[str]:
    """What has become more than is tolerated."""
    names = [field.name for field in fields(Held) if field.name != "cycle"]
    return {name for name in names if getattr(late, name) - getattr(early, name) > getattr(tolerance, name)}
