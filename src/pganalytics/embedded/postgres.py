"""A real PostgreSQL server as a child process, on 127.0.0.1 only, with a password.

The server ends with our process, whatever ends us, backends included. As root it runs as another OS user. Methods are
for one thread at a time.
"""

import contextlib
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psycopg
from psycopg.conninfo import make_conninfo

from pganalytics.embedded.accounts import server_account
from pganalytics.embedded.binaries import PostgresBinaries, choose_postgres
from pganalytics.embedded.cache import last_lines
from pganalytics.embedded.cluster import ENVIRON, SUPERUSER, Cluster
from pganalytics.embedded.errors import PortInUse, StartFailed
from pganalytics.embedded.leash import Child
from pganalytics.embedded.machine import Machine
from pganalytics.embedded.ports import HOST, claim_port, is_free

READY_TIMEOUT_S = 60.0
ATTEMPTS = 3
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresServer:
    """A server of our own. `port` and data stay the same through `start_again`.

    Leaving the `with` block, or `remove`, deletes data that had to lie outside the caller's directory; `stop` does
    not, so that the server can start again.
    """

    host = HOST
    user = SUPERUSER

    def __init__(self, cluster: Cluster, *, port: int, password: str) -> None:
        self.port = port
        self.password = password
        self.binaries = cluster.binaries
        self.major = cluster.binaries.major
        self.version = cluster.binaries.version
        self.log_path = cluster.log_path
        self.password_file = cluster.password_file
        self.data = cluster.data
        self._cluster = cluster
        self._child: Child | None = None

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        binaries: PostgresBinaries | None = None,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        fsync: bool = False,
        machine: Machine | None = None,
    ) -> Self:
        """Make a new server in `directory` (created; must hold no other one) that answers when this returns.

        `binaries` defaults to the newest here; `settings` replace ours in postgresql.conf. Without `fsync` the data
        survives the death of the server, but not of the machine. Raises ToolMissing, FetchFailed, PortInUse,
        StartFailed.
        """
        machine = machine or Machine.here()
        requested, port = port, claim_port(port)
        binaries = binaries or choose_postgres(1, machine)[0]
        cluster = Cluster(directory.resolve(), binaries, server_account(), machine)
        server = cls(cluster, port=port, password="")
        with contextlib.ExitStack() as half_made:
            half_made.callback(server.remove)
            server.password = cluster.initialize()
            server._start_first(settings or {}, attempts=ATTEMPTS if requested is None else 1, fsync=fsync)
            half_made.pop_all()
        return server

    def start_standby(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> "PostgresServer":
        """Make a hot standby in `directory` from a copy of our data, for which we stop and start again; it follows us, has our
        roles and passwords, and answers when this returns. `settings` must allow what ours do (max_connections...)."""
        machine = Machine.here()
        self.stop()
        try:
            standby = PostgresServer(
                self._cluster.copy_to(directory.resolve(), machine), port=claim_port(None), password=self.password
            )
        finally:
            self.start_again()
        with contextlib.ExitStack() as half_made:
            half_made.callback(standby.remove)
            followed = {"primary_conninfo": self.conninfo("", application_name="standby")}
            standby._start_first(followed | dict(settings or {}), attempts=ATTEMPTS, fsync=False)
            half_made.pop_all()
        return standby

    @property
    def pid(self) -> int:
        """The postmaster."""
        return self._started().pid

    @property
    def is_running(self) -> bool:
        """Whether the postmaster lives; it may be suspended."""
        return self._child is not None and self._child.poll() is None

    def conninfo(self, dbname: str = "postgres", **extra: str | int) -> str:
        """A libpq connection string of the superuser, password included: for functions, not for logs.

        `extra` are further keywords of libpq, or replace ours.
        """
        words: dict[str, str | int | None] = {"host": self.host, "port": self.port, "dbname": dbname}
        words.update({"user": self.user, "password": self.password})
        words.update(extra)
        return make_conninfo("", **words)

    def start_again(self) -> None:
        """Run the server on its port and data; returns when it answers. Nothing happens when it runs."""
        if self.is_running:
            return
        if not is_free(self.port):
            raise PortInUse(self.port)
        cluster = self._cluster
        self._child = Child.start(
            [cluster.bin_dir / "postgres", "-D", cluster.data],
            env=ENVIRON,
            cwd=cluster.home,
            stdout=cluster.log_path,
            user=cluster.account.run_as,
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGQUIT,
            name=f"postgres {self.major}",
            remove=cluster.scratch,
        )
        self._wait_until_ready(self._child)

    def restart(self) -> None:
        """`stop`, then `start_again`."""
        self.stop()
        self.start_again()

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast", *, timeout_s: float = 20.0) -> None:
        """Shut down, after `timeout_s` by force. Nothing happens when it does not run."""
        if self._child is not None:
            self._child.terminate(timeout_s, stop_signal=STOP_SIGNALS[mode])

    def crash(self) -> None:
        """The immediate shutdown: backends break off, the next start recovers."""
        self.stop("immediate")

    def kill(self) -> None:
        """SIGKILL to the postmaster, then to its backends; returns when they are gone."""
        if self._child is not None:
            self._child.kill()

    def suspend(self) -> None:
        """Stop postmaster and backends in their tracks: connections stay open, nothing is answered."""
        self._started().suspend()

    def resume(self) -> None:
        """Undo `suspend`."""
        self._started().resume()

    def remove(self) -> None:
        """`stop`, then delete data that lies outside the caller's directory."""
        self.stop()
        self._cluster.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.remove()

    def _start_first(self, settings: Mapping[str, str], *, attempts: int, fsync: bool) -> None:
        """Another process may take the port before the server does: then take another port."""
        for left in range(attempts - 1, -1, -1):
            self._cluster.configure(self.port, settings, fsync=fsync)
            try:
                self.start_again()
            except (PortInUse, StartFailed):
                if not left or is_free(self.port):
                    raise
                self.port = claim_port(None)
            else:
                return

    def _started(self) -> Child:
        if self._child is None:
            raise StartFailed("PostgreSQL", "it was never started")
        return self._child

    def _wait_until_ready(self, child: Child) -> None:
        name = f"PostgreSQL {self.version}"
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise StartFailed(name, "it ended at once", log_lines=last_lines(self.log_path))
            if self._answers():
                return
            time.sleep(0.02)
        child.kill()
        raise StartFailed(name, f"no answer in {READY_TIMEOUT_S:.0f} s", log_lines=last_lines(self.log_path))

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.conninfo(connect_timeout=2)):
                return True
        except psycopg.OperationalError:
            return False
