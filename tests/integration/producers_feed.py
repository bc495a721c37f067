"""The agent as a process of its own, servers to watch, and a reader of what it sent. For the tests of the producers."""

import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg

from integration.streams_feed import Got, read_all
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.answers import Answer, Questions
from pganalytics.producers.catalogue import load_catalogue
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.diff import Baseline, Difference, compare, first_baseline
from pganalytics.producers.emission import reading_of
from pganalytics.producers.pools import Pools
from pganalytics.producers.reading import Reading, layout_of
from pganalytics.producers.results import Failed, Gone, Unavailable
from pganalytics.runtime.settings import Kafka, Settings
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES, Stream
from pganalytics.schemas.metric import MetricSchema, builtin_schemas
from pganalytics.schemas.topics import Topics
from waiting import until

MAIN = """
import sys
from pganalytics.producers.agent import run
from pganalytics.runtime.errors import PgAnalyticsError
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import set_up_logging
from pganalytics.runtime.settings import Settings
lifecycle = Lifecycle()
lifecycle.install_signals()
set_up_logging(level="info", as_json=False)
try:
    run(Settings.model_validate_json(sys.argv[1]), lifecycle)
except PgAnalyticsError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
QUICK = {"heartbeat": {"interval_s": 1}, "database": {"interval_s": 1}, "statements": {"interval_s": 1}}
CODECS = {schema.id: RecordCodec(schema) for schema in builtin_schemas().values()}


class AgentProcess:
    """One agent; its log is a file. Leaving the `with` block kills what still runs."""

    def __init__(self, settings: Settings | Path, log: Path, *, prelude: str = "") -> None:
        """`settings`: as they are, or the file that the command is given. `prelude`: code that breaks something in the process
        before it begins."""
        self._log = log
        if isinstance(settings, Path):
            command = ["-m", "pganalytics.cli", "collect", "--config", str(settings)]
        else:
            command = ["-c", prelude + MAIN, settings.model_dump_json()]
        with log.open("ab") as file:
            self._child = subprocess.Popen([sys.executable, *command], stderr=file)

    def __enter__(self) -> "AgentProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._child.pid

    @property
    def log(self) -> list[str]:
        """Lines so far, of all agents with this log."""
        return self._log.read_text(encoding="utf-8").splitlines()

    def lines(self, text: str) -> list[str]:
        """Lines that contain a text."""
        return [line for line in self.log if text in line]

    def wait_for(self, text: str, timeout_s: float = 30) -> str:
        """The first line that contains a text."""
        until(lambda: self.lines(text) or self._child.poll() is not None, timeout_s)
        assert self.lines(text), self.log
        return self.lines(text)[0]

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM; the exit code."""
        self._child.send_signal(signal.SIGTERM)
        return self._child.wait(timeout_s)

    def hang_up(self) -> None:
        """SIGHUP."""
        self._child.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()
        self._child.wait()

    def exit_code(self, timeout_s: float = 30) -> int:
        """Of an agent that ends by itself."""
        return self._child.wait(timeout_s)


@dataclass(frozen=True)
class Arrived:
    """A record in a collected topic; the body of a stub is empty."""

    headers: Headers
    body: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """Its rows, all columns filled."""
        columns = fill(builtin_schemas()[self.headers.metric].groups["rows"], self.body)
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def collected(kafka: Kafka, own: Mapping[str, MetricSchema] = MappingProxyType({})) -> list[Arrived]:
    """Everything in the collected topics now, decoded, in the order of each partition. `own`: schemas beside the builtin ones."""
    codecs = CODECS | {schema.id: RecordCodec(schema) for schema in own.values()}
    topics = Topics(kafka.prefix, kafka.partitions)
    return [_arrived(got, codecs) for got in read_all(kafka, [topics.collected(lane) for lane in LANES])]


def _arrived(got: Got, codecs: Mapping[str, RecordCodec]) -> Arrived:
    headers = got.decoded
    assert (got.value is None) == (headers.error is not None)
    assert got.value is None or headers.size == len(got.value)
    assert got.key == headers.identity.collector.encode()
    return Arrived(headers, {} if got.value is None else codecs[headers.schema].decode(got.value))


def of_metric(arrived: list[Arrived], metric: str, collector: str | None = None) -> list[Arrived]:
    """Records of one metric, in order of their seqs within each epoch."""
    found = [one for one in arrived if one.headers.metric == metric and collector in (None, one.headers.identity.collector)]
    return sorted(found, key=lambda one: one.headers.identity)


def assert_contiguous(arrived: list[Arrived]) -> dict[Stream, int]:
    """Every stream counts 1, 2, 3... without a hole; its highest seq. What was sent twice counts once."""
    seqs: dict[Stream, set[int]] = {}
    for one in arrived:
        seqs.setdefault(one.headers.identity.stream, set()).add(one.headers.identity.seq)
    for stream, found in seqs.items():
        assert found == set(range(1, len(found) + 1)), stream
    return {stream: len(found) for stream, found in seqs.items()}


def calls_of(arrived: list[Arrived], statement: tuple[int, int], column: str = "calls") -> int:
    """Sum of the stored deltas of one statement (queryid, dbid), each identity once."""
    once = {one.headers.identity: one for one in of_metric(arrived, "statements")}
    return sum(int(row[column]) for one in once.values() for row in one.rows() if (row["queryid"], row["dbid"]) == statement)


@dataclass(frozen=True)
class Watched:
    """A database to watch, and an ordinary role with pg_monitor that may."""

    server: PostgresServer
    dbname: str
    user: str
    password_file: Path

    def target(self, name: str, **more: object) -> dict[str, object]:
        """As in the settings."""
        return {
            "name": name,
            "host": self.server.host,
            "port": self.server.port,
            "dbname": self.dbname,
            "user": self.user,
            "password_file": self.password_file,
            **more,
        }


def watched(server: PostgresServer, folder: Path, *, extension: bool = True, grant: bool = True) -> Watched:
    """A new database with the extension in a schema of its own, and a new role."""
    dbname, user, password = (f"{kind}_{secrets.token_hex(5)}" for kind in ("w", "watcher", "secret"))
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(f"create database {dbname}")
        connection.execute(f"create role {user} login password '{password}'")
        if grant:
            connection.execute(f"grant pg_monitor to {user}")
    with psycopg.connect(server.conninfo(dbname), autocommit=True) as connection:
        connection.execute("create table visits (n int)")
        if extension:
            connection.execute('create schema "Odd ""schema"""')
            connection.execute('create extension pg_stat_statements schema "Odd ""schema"""')
            connection.execute(f'grant usage on schema "Odd ""schema""" to {user}')
    password_file = folder / f"{user}.password"
    password_file.write_text(password + "\n")
    return Watched(server, dbname, user, password_file)


def with_targets(settings: Settings, *targets: dict[str, object], **collect: object) -> Settings:
    """The same settings with targets, short intervals and other keys of [collect]."""
    sections = settings.model_dump()
    return Settings.model_validate(
        {**sections, "targets": list(targets), "metrics": QUICK, "collect": {**sections["collect"], **collect}}
    )


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        listener.settimeout(0.1)
        ended, open_ones = threading.Event(), []

        def accept() -> None:
            while not ended.is_set():
                try:
                    open_ones.append(listener.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            thread.join(5)
            for one in open_ones:
                one.close()


class Asker:
    """Asks one target without an agent."""

    def __init__(self, target: dict[str, object], connect_timeout_s: float = 5) -> None:
        schemas = builtin_schemas()
        self.pools = Pools(10, connect_timeout_s, lambda: float("inf"))
        self._questions = Questions(self.pools, load_catalogue(schemas))
        jobs = resolve_jobs(with_targets(Settings.model_validate({}), target), schemas, "machine")
        self.jobs: dict[str, Job] = {job.key.metric: job for job in jobs}
        self._baselines: dict[str, Baseline] = {}

    def ask(self, metric: str) -> Answer | Unavailable | Failed | Gone:
        return self._questions.ask(self.jobs[metric])

    def read(self, metric: str) -> Reading:
        answer = self.ask(metric)
        assert isinstance(answer, Answer), answer
        reading = reading_of(layout_of(self.jobs[metric].schema), answer)
        assert reading is not None
        return reading

    def begin(self, metric: str) -> None:
        self._baselines[metric] = first_baseline(self.read(metric))

    def moved(self, metric: str) -> tuple[Difference | None, Reading]:
        reading = self.read(metric)
        difference, self._baselines[metric] = compare(self._baselines[metric], reading)
        return difference, reading
