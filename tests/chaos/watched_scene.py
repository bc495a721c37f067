"""An installation as an operator has it: servers, one settings file, services as processes, commands typed into a shell."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pganalytics.cli.demo.servers import ROLE, STORE_DATABASE, DemoServers, start_servers
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.leash import Child
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml

TESTS = Path(__file__).parents[1]
SERVICES = ("streams", "sink", "collect")
BEAT_S = 5
OFTEN = ("heartbeat", "database", "statements", "activity", "blocking")
COLUMNS = "120"
COMMAND_S = 60.0
AGAIN_S = 2.0
CHOSEN: dict[str, dict[str, Any]] = {
    "metrics": {name: {"interval_s": BEAT_S, "timeout_s": 2} for name in OFTEN},
    "collect": {"preset": "minimal", "connect_timeout_s": 2, "retry_max_s": 5},
    "streams": {
        "quota": {"records_per_s": 50, "ceiling_s": 60},
        "gaps": {"heartbeat_s": BEAT_S, "confirm_after_s": 20},
    },
    "sink": {"settle_interval_s": 1, "retry_max_s": 2, "session_timeout_s": 6},
}
"""Waits in proportion to heartbeats that come every 5 s instead of every 30."""


@dataclass(frozen=True)
class Shown:
    """What a command printed, and how it ended."""

    code: int
    lines: list[str]


@dataclass
class Scene:
    """All of one installation. One thread makes faults; any may type commands. `notes`: what a fault has to tell beside."""

    folder: Path
    servers: DemoServers
    settings: Settings
    children: dict[str, Child] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _down: set[str] = field(default_factory=set)
    _ended: dict[str, float] = field(default_factory=dict)

    @property
    def broker(self) -> KafkaBroker:
        """Ours."""
        assert isinstance(self.servers.broker, KafkaBroker)
        return self.servers.broker

    @property
    def store(self) -> PostgresServer:
        """Where it all goes."""
        return self.servers.store

    def target(self, name: str) -> PostgresServer:
        """A watched server."""
        return next(one.server for one in self.servers.targets if one.name == name)

    @property
    def ports(self) -> dict[str, int]:
        """Of /metrics, by service."""
        chosen = self.settings
        return {"collect": chosen.collect.http_port, "streams": chosen.streams.http_port, "sink": chosen.sink.http_port}

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "settings.toml"

    def start(self, name: str, *, fault: str = "") -> None:
        """A service; `fault` plants one of `integration.streams_faults`."""
        program = ["integration.streams_faults", fault] if fault else ["pganalytics.cli"]
        words = [sys.executable, "-m", *program, name, "--config", str(self.config)]
        env = {**os.environ, "PYTHONPATH": str(TESTS)}
        self._down.discard(name)
        self._ended.pop(name, None)
        self.children[name] = Child.start(words, env=env, stdout=self.folder / f"{name}.log", name=name)

    def kill(self, name: str) -> None:
        """SIGKILL; it is not started again by itself."""
        self._down.add(name)
        self.children[name].kill()

    def stop(self, name: str) -> None:
        """SIGTERM; likewise."""
        self._down.add(name)
        self.children[name].terminate(60)

    def tend(self) -> None:
        """Start again what has ended by itself, after a pause, as whatever keeps services alive does."""
        for name, child in list(self.children.items()):
            if name in self._down or (code := child.poll()) is None:
                continue
            if name not in self._ended:
                self.notes.append(f"`{name}` ended with {code} and was started again.")
            if time.monotonic() > self._ended.setdefault(name, time.monotonic()) + AGAIN_S:
                self.start(name)

    def type(self, *words: str) -> Shown:
        """A command of ours, in a window of 120 columns; standard error comes last."""
        done = subprocess.run(
            [sys.executable, "-m", "pganalytics.cli", *words],
            env={**os.environ, "COLUMNS": COLUMNS, "PGANALYTICS_CONFIG": str(self.config)},
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return Shown(done.returncode, (done.stdout + done.stderr).splitlines())

    def problems(self) -> list[str] | None:
        """What `status` calls wrong, as ABOUT: WHAT; None while it cannot ask."""
        found = json.loads(self.type("status", "--json").lines[0])
        return None if found["away"] else [f"{one['about']}: {one['what']}" for one in found["problems"]]


def settings_of(servers: DemoServers, folder: Path) -> Settings:
    """One file for all three services."""
    kafka: dict[str, Any] = {"bootstrap": getattr(servers.broker, "bootstrap", ""), "partitions": 2, "replication_factor": 1}
    store = servers.store
    place: dict[str, Any] = {"host": store.host, "port": store.port, "dbname": STORE_DATABASE, "user": store.user}
    targets = [
        {"name": one.name, "host": one.server.host, "port": one.server.port, "user": ROLE, "password_file": one.password_file}
        for one in servers.targets
    ]
    chosen = {name: {**section, "http_port": free_port()} for name, section in CHOSEN.items() if name != "metrics"}
    chosen["collect"]["state_dir"] = folder / "state"
    made: dict[str, Any] = {
        "kafka": {**kafka, "prefix": "watched", "min_insync_replicas": 1, "development": True, "timeout_s": 3},
        "store": {**place, "password_file": store.password_file},
        "metrics": CHOSEN["metrics"],
        "targets": targets,
        **chosen,
    }
    return Settings.model_validate(made)


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Everything runs; all of it ends with the block."""
    with ExitStack() as stack:
        servers = start_servers(folder, stack, targets=2, databases=1, bootstrap=None, tell=lambda _: None)
        made = Scene(folder, servers, settings_of(servers, folder))
        made.config.write_text(as_toml(made.settings), encoding="utf-8")
        done = made.type("setup")
        assert done.code == 0, done.lines
        try:
            for name in SERVICES:
                made.start(name)
            yield made
        finally:
            for child in made.children.values():
                child.kill()
