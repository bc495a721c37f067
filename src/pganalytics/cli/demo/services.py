"""The demo's services: the same three processes that a user would start, restarted when they die."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pganalytics.cli.demo.servers import ROLE, STORE_DATABASE, DemoServers
from pganalytics.embedded.leash import Child
from pganalytics.producers.changes import CHANGE
from pganalytics.runtime.errors import Crash, Unreachable
from pganalytics.schemas.metric import builtin_schemas

NAMES = ("streams", "sink", "collect")
MOST_DEATHS = 5
NEVER = float("inf")
INTERVAL_S = 5


def write_settings(folder: Path, servers: DemoServers, *, prefix: str) -> Path:
    """The settings file of the demo: what a user would write, with short intervals."""
    lines = [
        "# Written by `pganalytics demo`.",
        *_section("kafka", bootstrap=servers.broker.bootstrap, prefix=prefix, partitions=4, replication_factor=1),
        "min_insync_replicas = 1",
        "development = true",
        *_section("store", host="127.0.0.1", port=servers.store.port, dbname=STORE_DATABASE, user=servers.store.user),
        f"password_file = {json.dumps(str(servers.store.password_file))}",
        *_section("collect", state_dir=str(folder / "state"), http_port=0),
        *_section("streams", http_port=0),
        *_section("sink", http_port=0),
    ]
    for metric in builtin_schemas():
        if metric == CHANGE:  # it comes with the readings of others
            continue
        lines += _section(f"metrics.{metric}", interval_s=INTERVAL_S)
    for target in servers.targets:
        lines += _section("[targets]", name=target.name, host="127.0.0.1", port=target.server.port, user=ROLE)
        lines.append(f"password_file = {json.dumps(str(target.password_file))}")
        lines.append(f"local = {json.dumps(target is servers.targets[0])}")
    path = folder / "settings.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _section(table: str, /, **keys: str | int) -> list[str]:
    return ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]


@dataclass
class Running:
    """One service process and how often it died on its own."""

    child: Child
    deaths: int = 0
    start_at: float | None = None


class DemoServices:
    """Starts, watches, kills and stops the three services. One thread."""

    def __init__(self, folder: Path, config: Path) -> None:
        self._config = config
        self._logs = folder / "logs"
        self._logs.mkdir(exist_ok=True)
        self._running: dict[str, Running] = {}

    def log_path(self, name: str) -> Path:
        """Where a command writes."""
        return self._logs / f"{name}.log"

    def run(self, *arguments: str, timeout_s: float) -> None:
        """One command to its end; raises Unreachable with its last line when it fails."""
        with self._child(arguments[0], arguments) as child:
            code = child.wait(timeout_s)
        if code:
            raise Unreachable(f"`pganalytics {arguments[0]}` ended with {code}: {self.last_line(arguments[0])}")

    def start(self) -> None:
        """All services."""
        for name in NAMES:
            self._running[name] = Running(self._child(name, (name,)))

    def kill(self, name: str) -> None:
        """SIGKILL; it stays down until `start_again`."""
        running = self._running[name]
        running.start_at = NEVER
        running.child.kill()

    def start_again(self, name: str) -> None:
        """After `kill`, from any thread: the next `tend` starts it."""
        self._running[name].start_at = time.monotonic()

    def tend(self, *, down: str | None = None) -> list[str]:
        """Start again what died; lines for people. Raises Crash when one keeps dying.

        While a part that the services need is `down`, to die is no fault.
        """
        told = []
        for name, running in self._running.items():
            if running.child.poll() is None:
                continue
            if running.start_at is None and down is not None:
                running.start_at = time.monotonic() + 1.0
            elif running.start_at is None:
                running.deaths += 1
                if running.deaths > MOST_DEATHS:
                    raise Crash(f"{name} died {running.deaths} times: {self.last_line(name)} (log: {self.log_path(name)})")
                told.append(f"{name} ended with {running.child.returncode}: {self.last_line(name)}")
                running.start_at = time.monotonic() + 0.5 * running.deaths
            if time.monotonic() >= running.start_at:
                running.child = self._child(name, (name,))
                running.start_at = None
                told.append(f"{name} started again, pid {running.child.pid}")
        return told

    def revive(self, timeout_s: float) -> None:
        """Return when all services run."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and any(one.child.poll() is not None for one in self._running.values()):
            self.tend()
            time.sleep(0.1)

    def describe(self) -> list[str]:
        """One line each: what runs, and where it logs."""
        return [f"{name:<8} pid {running.child.pid}, log {self.log_path(name)}" for name, running in self._running.items()]

    def stop(self, name: str, *, timeout_s: float) -> None:
        """SIGTERM, and wait."""
        running = self._running.pop(name, None)
        if running is not None:
            running.child.terminate(timeout_s)

    def stop_all(self, *, timeout_s: float) -> None:
        """Stop what still runs."""
        for name in list(self._running):
            self.stop(name, timeout_s=timeout_s)

    def last_line(self, name: str) -> str:
        """The end of a log."""
        path = self.log_path(name)
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
        return lines[-1][:300] if lines else "its log is empty"

    def _child(self, name: str, arguments: tuple[str, ...]) -> Child:
        words = [sys.executable, "-m", "pganalytics.cli", *arguments, "--config", str(self._config)]
        return Child.start(words, stdout=self.log_path(name), name=f"pganalytics {name}", grace_s=10)
