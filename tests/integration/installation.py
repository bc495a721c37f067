"""All services of one installation as processes, and all that they write: for the search for secrets."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import zstandard

from integration.planted import Planted
from integration.producers_feed import Watched
from integration.secret_places import ERRORS
from integration.sink_feed import Store
from integration.streams_feed import read_all
from integration.test_producers_databases import column, own_metric
from pganalytics.embedded.leash import Child
from pganalytics.embedded.ports import free_port
from pganalytics.producers.spool import Spool
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import MASK, as_toml
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.metric import MetricSchema, builtin_schemas, load_schema
from pganalytics.schemas.topics import Topics

MAIN = "from pganalytics.cli.main import main; main()"
READ = {"activity", "blocking", "query_text", "settings", "schema", "relations", "metric_status"}
"""Metrics in which a secret of the server could be."""
INTERVAL_S = 1
Schemas = dict[str, MetricSchema]


class Installation:
    """Settings files and processes of all services; all end with the `with` block."""

    def __init__(self, settings: Settings, one: Watched, plants: Planted, folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = folder
        self._metrics = folder / "metrics"
        self._metrics.mkdir()
        columns = [column("n", "long", "key"), column("share", "double", "gauge", unit="ratio")]
        for name, query in ERRORS.items():
            own_metric(self._metrics, name, "instance", f"-- rows\n{query};\n", columns, send="all")
        self.schemas: Schemas = {**builtin_schemas()}
        self.schemas |= {name: load_schema((self._metrics / f"{name}.avsc").read_text()) for name in ERRORS}
        self._targets, self._passwords = self._logins(one, plants)
        self.ports = {service: free_port() for service in ("collect", "streams", "sink")}
        self.settings = settings
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(("PGANALYTICS_", "KAFKA_"))}
        self.environ["PGPASSWORD"] = plants.word("own", "environment", reaches=True)
        with psycopg.connect(one.server.conninfo(), autocommit=True) as connection:
            connection.execute(f"create role by_environment login password '{self.environ['PGPASSWORD']}' in role pg_monitor")

    def __enter__(self) -> "Installation":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _logins(self, one: Watched, plants: Planted) -> tuple[list[dict[str, object]], dict[str, str]]:
        """Targets that have their passwords in every way there is, and one that is refused; the passwords that the file has."""
        words = {way: plants.word("own", way, reaches=way != "wrong") for way in ("word", "file", "command", "wrong")}
        password_file = self.folder / "watcher.password"
        password_file.write_text(words["file"])
        with psycopg.connect(one.server.conninfo(), autocommit=True) as connection:
            connection.execute(f"alter role {one.user} password '{words['file']}'")
            for way in ("word", "command"):
                connection.execute(f"create role by_{way} login password '{words[way]}' in role pg_monitor")
        one = Watched(one.server, one.dbname, one.user, password_file)
        others = {"host": one.server.host, "port": one.server.port, "preset": "minimal", "databases": [one.dbname]}
        targets = [
            one.target("by_file", databases=[one.dbname, "closed"]),
            {**others, "name": "by_word", "user": "by_word", "password": words["word"]},
            {**others, "name": "by_command", "user": "by_command", "password_command": ["sh", "-c", f"echo {words['command']}"]},
            {**others, "name": "by_environment", "user": "by_environment"},
            {**others, "name": "wrong", "user": "by_word", "password": words["wrong"]},
        ]
        return targets, {"by_word": words["word"], "wrong": words["wrong"]}

    def config(self, name: str, **collect: object) -> Path:
        """A settings file."""
        quick: dict[str, Any] = {metric: {"interval_s": INTERVAL_S} for metric in ("heartbeat", "statements", *READ, *ERRORS)}
        quick["activity"]["parameters"] = {"listed_age_s": 0}
        sections = self.settings.model_dump()
        collect = {
            **sections["collect"],
            "preset": "full",
            "metrics_dir": self._metrics,
            "http_port": self.ports["collect"],
            **collect,
        }
        sections |= {"targets": self._targets, "metrics": quick, "collect": collect}
        for service in ("streams", "sink"):
            sections[service]["http_port"] = self.ports[service]
        text = as_toml(Settings.model_validate(sections))
        for password in self._passwords.values():
            text = text.replace(MASK, password, 1)
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        return path

    def start(self, service: str, config: Path, *, prelude: str = "") -> Child:
        """A service; its log is beside its settings file."""
        words = [sys.executable, "-c", prelude + MAIN, service, "--config", str(config)]
        child = Child.start(words, env=self.environ, cwd=self.folder, stdout=self.log(config, service), name=service)
        self._stack.callback(child.kill)
        return child

    def log(self, config: Path, service: str) -> Path:
        return config.with_suffix(f".{service}.log")

    def check(self, config: Path) -> str:
        """What `pganalytics check --json` prints, on both streams."""
        words = [sys.executable, "-c", MAIN, "check", "--json", "--config", str(config)]
        done = subprocess.run(words, env=self.environ, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
        assert json.loads(done.stdout)["targets"], done.stderr
        return done.stdout + done.stderr


def spooled(folder: Path, schemas: Schemas) -> dict[str, list[dict[str, Any]]]:
    """Bodies by metric in a copy of a spool whose agent is gone."""
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    spool = Spool.open(copy)
    found: dict[str, list[dict[str, Any]]] = {}
    by_id = {schema.id: schema for schema in schemas.values()}
    codecs = {one: RecordCodec(schema) for one, schema in by_id.items()}
    for lane in LANES:
        for one in spool.unsent(lane, limit=100_000, exclude=(), schemas=list(by_id)):
            assert one.body is not None
            found.setdefault(one.headers.metric, []).append(codecs[one.headers.schema].decode(one.body))
    found["baselines"] = [{"text": text} for text in baselines(spool)]
    spool.close()
    return found


def baselines(spool: Spool) -> list[str]:
    """What the spool remembers of what was sent, unpacked."""
    bodies = spool._do(lambda db: db.execute("select body from baselines").fetchall())
    return [
        zstandard.ZstdDecompressor().decompress(body, max_output_size=1 << 26).decode("utf-8", "replace") for (body,) in bodies
    ]


def written(installation: Installation, settings: Settings) -> dict[str, bytes]:
    """All that is in topics and tables, decoded where it was packed."""
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    codecs = {schema.id: RecordCodec(schema) for schema in installation.schemas.values()}
    found: dict[str, bytes] = {}
    for topic in topics.table():
        one = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"partitions": topic.partitions})})
        records = read_all(one.kafka, [topic.name])
        measured = [got for got in records if "schema" in dict(got.headers)]
        bodies = [codecs[got.decoded.schema].decode(got.value) for got in measured if got.value is not None]
        raw = b"\n".join((got.key or b"") + (got.value or b"") + repr(got.headers).encode() for got in records)
        found[f"topic {topic.name.removeprefix(settings.kafka.prefix)}"] = raw + repr(bodies).encode()
    asked = Store(settings)
    tables = asked.ask(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where c.relkind in ('r', 'p') and not c.relispartition and n.nspname not in ('pg_catalog', 'information_schema')"
    )
    return found | {f"table {table}": repr(asked.ask(f"select * from {table}")).encode() for (table,) in tables}
