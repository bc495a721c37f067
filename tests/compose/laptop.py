"""All of compose.yaml on this machine without an engine: its settings, SQL, workload and passwords, with other addresses.

Broker and servers are real; services are processes. What is changed of the files is addresses, paths and how often is read.
"""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
from confluent_kafka import Producer
from psycopg.conninfo import make_conninfo

from alerts import page_of
from compose.compose_model import COMPOSE, load_compose
from integration.versions import binaries_of
from pganalytics.embedded.binaries import find_postgres
from pganalytics.embedded.leash import Child
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_file import load_settings
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.topics import Topics
from promql.history import History

SERVICES = ("streams", "sink", "collect")
TARGETS = {"db14": 14, "db16": 16, "db18": 18}
STORE_MAJOR = 17
STOP_S = 30.0
QUICK_S = {"10": 2, "15": 3, "30": 5, "60": 8}
"""Intervals of the settings, and what they are here; quotas still have room for it."""


@dataclass
class Laptop:
    """Everything that runs. Leaving the `with` block ends all of it."""

    bootstrap: str
    folder: Path
    servers: dict[str, PostgresServer] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in SERVICES})
    history: History = field(default_factory=History)
    looks: list[float] = field(default_factory=list)
    _services: dict[str, Child] = field(default_factory=dict)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> "Laptop":
        with contextlib.ExitStack() as half_made:
            half_made.push(self._stack)
            self._start()
            half_made.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "settings.toml"

    @property
    def settings(self) -> Settings:
        """What it says."""
        return load_settings(self.config)

    def kill(self, service: str) -> None:
        """SIGKILL, and start it again."""
        self._services[service].kill()
        self._start_service(service)

    def poison(self) -> None:
        """A record that cannot be stored."""
        kafka = self.settings.kafka
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.produce(Topics(kafka.prefix, kafka.partitions).admitted(Lane.NORMAL), b"no record", key=b"db14")
        assert producer.flush(30) == 0

    def change(self) -> None:
        """Something on a target that its agent is to notice."""
        with psycopg.connect(self.servers["db14"].conninfo(), autocommit=True) as connection:
            connection.execute(f"create role visitor_{secrets.token_hex(3)}")

    def ask_store(self, statement: str, **more: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Names of columns, and rows, as Grafana's role gets them. `more` are keywords of libpq."""
        word = (self.folder / "secrets/grafana_store").read_text(encoding="utf-8")
        login = make_conninfo(self.servers["store"].conninfo("pganalytics"), user="grafana", password=word, **more)
        with psycopg.connect(login, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return [column.name for column in cursor.description or ()], cursor.fetchall()

    def scrape(self) -> None:
        """Ask the services as Prometheus would."""
        at_s = time.time()
        self.looks.append(at_s)
        for name, port in self.ports.items():
            self.history.scrape(page_of(port), at_s, job=f"pganalytics-{name}", instance=f"{name}:{port}")

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _start(self) -> None:
        shutil.copy(COMPOSE / "passwords", self.folder)
        subprocess.run(["/bin/sh", self.folder / "passwords"], capture_output=True, timeout=60, check=True)
        flags = [word.removeprefix("-c").partition("=") for word in load_compose().services["db18"].command[1:]]
        for name, major in {"store": STORE_MAJOR, **TARGETS}.items():
            options = {} if name == "store" else {key: value for key, _, value in flags}
            server = PostgresServer.start(self.folder / name, binaries=binaries_of(major), settings=options)
            self.servers[name] = self._stack.enter_context(server)
            folder = COMPOSE / ("store" if name == "store" else "targets")
            for path in sorted(folder.glob("*.sql")):
                self._run_sql(server, path)
        self._write_settings()
        setup = [sys.executable, "-m", "pganalytics.cli", "setup"]
        done = subprocess.run(setup, env=self._environment(), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        self._start_workload()
        for service in SERVICES:
            self._start_service(service)
        self._stack.callback(self._stop_services)

    def _run_sql(self, server: PostgresServer, path: Path) -> None:
        """As the image's own start does: as the superuser, and the first error ends it."""
        text = path.read_text(encoding="utf-8").replace("/run/secrets/", f"{self.folder}/secrets/")
        words: list[str | Path] = [
            programs() / "psql",
            "--no-psqlrc",
            "--quiet",
            "--set",
            "ON_ERROR_STOP=1",
            "--dbname",
            server.conninfo(),
        ]
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), f"{path}: {done.stderr}"

    def _write_settings(self) -> None:
        text = (COMPOSE / "settings.toml").read_text(encoding="utf-8")
        text = text.replace('"kafka:9092"', f'"{self.bootstrap}"\nprefix = "laptop-{secrets.token_hex(4)}"')
        text = text.replace("/run/secrets/", f"{self.folder}/secrets/")
        text = text.replace('"/var/lib/pganalytics"', f'"{self.folder}/state"')
        for name, server in self.servers.items():
            text = text.replace(f'host = "{name}"', f'host = "127.0.0.1"\nport = {server.port}')
        for name, port in self.ports.items():
            text = re.sub(rf'(\[{name}\]\n(?:\w.*\n)*)http_host = "0\.0\.0\.0"', rf"\g<1>http_port = {port}", text)
        text = re.sub(r"(interval_s|heartbeat_s) = (\d+)", lambda match: f"{match[1]} = {QUICK_S[match[2]]}", text)
        self.config.write_text(text, encoding="utf-8")
        assert "0.0.0.0" not in text

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PGANALYTICS_", "KAFKA_"))}
        return kept | {"PGANALYTICS_CONFIG": str(self.config)}

    def _start_service(self, name: str) -> None:
        words = [sys.executable, "-m", "pganalytics.cli", name]
        log = self.folder / f"{name}.log"
        self._services[name] = Child.start(words, env=self._environment(), stdout=log, name=name)

    def _stop_services(self) -> None:
        for child in self._services.values():
            child.terminate(STOP_S)

    def _start_workload(self) -> None:
        environment = {
            "PATH": f"{programs()}:{os.environ['PATH']}",
            "TARGETS": " ".join(f"127.0.0.1:{self.servers[name].port}" for name in TARGETS),
            "PASSWORD_FILE": str(self.folder / "secrets/targets_shop"),
        }
        child = Child.start(
            [COMPOSE / "workload/run"], env=environment, stdout=self.folder / "workload.log", name="workload", grace_s=5
        )
        self._stack.callback(child.terminate, 10)


def programs() -> Path:
    """A folder with psql and pgbench."""
    return next(
        one.bin_dir for one in find_postgres() if (one.bin_dir / "pgbench").is_file() and (one.bin_dir / "psql").is_file()
    )
