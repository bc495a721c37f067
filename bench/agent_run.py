"""One agent on the benchmark's server, with its real spool and a real broker: what it and the server spend per cycle."""

import json
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from bench.fleet import ROLE, Fleet
from bench.processes import tree_cpu_s, usage
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.leash import Child
from pganalytics.embedded.ports import free_port
from pganalytics.runtime.kafka import make_topics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.topics import Topics

SCOPE = ["database", "statements", "tables", "indexes", "sizes"]
BUSY = "pganalytics_collect_busy_seconds_total"
PARTITIONS = 4
COLLECTOR = "bench"
MODES = ("held", "default")
"""A connection per database, everything due in every cycle; or what users get."""
WARM_UP = 3
"""Cycles, for both: until the server has kept the plans."""


@dataclass(frozen=True)
class Cycles:
    """How it is measured. `mode`: one of MODES. `preset`: everything at its own intervals in scaled time, else the scope."""

    mode: str
    databases: int
    cycle_s: float
    cycles: int
    preset: str | None


@dataclass(frozen=True)
class AgentCost:
    """Per cycle, but for what is held.

    `wall_s`: time that workers spent on the target, one after the other; in parallel it is less. `bytes_wire`: what the collected
    topics grew by on the broker's disk; `bytes_per_changed_statement_row` takes the normal lane alone, all that is in it.
    """

    pg_cpu_s: float
    agent_cpu_s: float
    wall_s: float
    bytes_wire: int
    bytes_per_changed_statement_row: float
    statements_seen_pct: float
    coverage_time_pct: float
    connections_opened: float
    connections_held: int
    own_pgss_entries: int
    threads: int
    rss_mb: float


class Meter:
    """CPU of the server but for the workload, since it was made."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._began = self._now()

    def pg_cpu_s(self) -> float:
        return self._now() - self._began

    def _now(self) -> float:
        return tree_cpu_s(self._fleet.server.pid) - self._fleet.cpu_s()


def run_agent(folder: Path, broker: KafkaBroker, fleet: Fleet, chosen: Cycles) -> AgentCost:
    """Start an agent with nothing in its spool, let it warm up, measure, stop it."""
    folder.mkdir()
    settings = _settings(folder, broker, fleet, chosen)
    topics = Topics(settings.kafka.prefix, PARTITIONS)
    make_topics(settings.kafka, topics.table())
    with ExitStack() as stack:
        agent = stack.enter_context(Child.start(_command(folder, settings), stdout=folder / "agent.log", name="agent"))
        tell(f"the agent begins ({chosen.mode})")
        _cycles(fleet, chosen, WARM_UP)
        began, opened = _ends(settings, topics), fleet.connections_of_role()[1]
        bytes_before, normal_before = _bytes(broker, topics), _size(broker, topics.collected(Lane.NORMAL))
        busy = _busy_s(settings.collect.http_port)
        spent, cpu = Meter(fleet), usage(agent.pid).cpu_s
        fleet.moved.clear()
        tell(f"measuring {chosen.cycles} cycles of {chosen.cycle_s:g} s")
        _cycles(fleet, chosen, chosen.cycles)
        pg, agent_cpu, now = spent.pg_cpu_s(), usage(agent.pid).cpu_s - cpu, usage(agent.pid)
        busy = _busy_s(settings.collect.http_port) - busy
        held, opened_now = fleet.connections_of_role()
        agent.terminate(60)
    seen = _Seen.read(settings, topics, began)
    return AgentCost(
        pg_cpu_s=pg / chosen.cycles,
        agent_cpu_s=agent_cpu / chosen.cycles,
        wall_s=busy / chosen.cycles,
        bytes_wire=round((_bytes(broker, topics) - bytes_before) / chosen.cycles),
        bytes_per_changed_statement_row=(_size(broker, topics.collected(Lane.NORMAL)) - normal_before) / max(1, seen.rows),
        statements_seen_pct=100.0 * min(1.0, len(seen.statements) / max(1, len(fleet.moved))),
        coverage_time_pct=100.0 * seen.coverage,
        connections_opened=(opened_now - opened) / chosen.cycles,
        connections_held=held,
        own_pgss_entries=fleet.entries()[1],
        threads=now.threads,
        rss_mb=now.rss_bytes / 1e6,
    )


def _cycles(fleet: Fleet, chosen: Cycles, count: int) -> None:
    for _ in range(count):
        until = time.monotonic() + chosen.cycle_s
        fleet.work()
        time.sleep(max(0.0, until - time.monotonic()))


def _settings(folder: Path, broker: KafkaBroker, fleet: Fleet, chosen: Cycles) -> Settings:
    scale = chosen.cycle_s / 60
    every = builtin_schemas()
    if chosen.preset:
        metrics = {
            name: {"interval_s": max(0.5, schema.interval_s * scale)} for name, schema in every.items() if name != "change"
        }
    else:
        minute = {name: 60 if chosen.mode == "held" else every[name].interval_s for name in SCOPE}
        metrics = {name: {"enabled": False} for name in every if name not in (*SCOPE, "heartbeat", "metric_status", "change")}
        metrics |= {name: {"interval_s": max(0.5, seconds * scale)} for name, seconds in minute.items()}
        metrics |= {name: {"interval_s": every[name].interval_s * scale} for name in ("heartbeat", "metric_status")}
    target = {"name": COLLECTOR, "host": fleet.server.host, "port": fleet.server.port, "user": ROLE, "password": "bench"}
    target |= {"exclude_databases": ["postgres"]}
    if chosen.mode == "held":
        target |= {"hold_databases": chosen.databases, "pool_max": 4}
    kafka = {"bootstrap": broker.bootstrap, "partitions": PARTITIONS, "replication_factor": 1, "min_insync_replicas": 1}
    return Settings.model_validate(
        {
            "kafka": {**kafka, "development": True},
            "collect": {"state_dir": folder / "state", "http_port": free_port(), "connections": chosen.databases + 20},
            "metrics": metrics,
            "targets": [target],
        }
    )


AGENT = """
import sys
from pganalytics.producers.agent import run
from pganalytics.runtime.garbage import look_rarely
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import set_up_logging
from pganalytics.runtime.settings import Settings
lifecycle = Lifecycle()
lifecycle.install_signals()
set_up_logging(level="info", as_json=False)
with open(sys.argv[1]) as file:
    settings = Settings.model_validate_json(file.read())
look_rarely()
run(settings, lifecycle)
"""


def _command(folder: Path, settings: Settings) -> list[str | Path]:
    path = folder / "settings.json"
    sections = settings.model_dump(mode="json")
    sections["targets"] = [{**target, "password": "bench"} for target in sections["targets"]]  # it is masked in dumps
    path.write_text(json.dumps(sections), encoding="utf-8")
    return [sys.executable, "-c", AGENT, path]


def _ends(settings: Settings, topics: Topics) -> dict[tuple[str, int], int]:
    reader = Consumer({"bootstrap.servers": settings.kafka.bootstrap, "group.id": "bench", "enable.auto.commit": False})
    places = [(topics.collected(lane), number) for lane in LANES for number in range(PARTITIONS)]
    found = {place: reader.get_watermark_offsets(TopicPartition(*place), timeout=10)[1] for place in places}
    reader.close()
    return found


def _bytes(broker: KafkaBroker, topics: Topics) -> int:
    """Size of the logs of the collected topics on the broker's disk."""
    return sum(_size(broker, topics.collected(lane)) for lane in LANES)


def _size(broker: KafkaBroker, topic: str) -> int:
    logs = broker.directory.rglob(f"{topic}-*/*.log")
    return sum(each.stat().st_size for each in logs)


@dataclass(frozen=True)
class _Seen:
    """What arrived of `statements` in the measured cycles: distinct ones in detail, rows, mean coverage by time."""

    statements: set[tuple[int, int]]
    rows: int
    coverage: float

    @classmethod
    def read(cls, settings: Settings, topics: Topics, began: dict[tuple[str, int], int]) -> "_Seen":
        schemas = {schema.id: schema for schema in builtin_schemas().values()}
        reader = Consumer({"bootstrap.servers": settings.kafka.bootstrap, "group.id": "bench", "enable.auto.commit": False})
        ends = _ends(settings, topics)
        reader.assign([TopicPartition(*place, began[place]) for place in ends if ends[place] > began[place]])
        left = sum(ends[place] - began[place] for place in ends)
        statements: set[tuple[int, int]] = set()
        rows, coverages = 0, []
        while left:
            message = reader.poll(5.0)
            if message is None:
                raise RuntimeError("the topics cannot be read to their ends")
            left -= 1
            headers = Headers.decode(message.headers())  # type: ignore[arg-type]
            if headers.metric != "statements":
                continue
            record = RecordCodec(schemas[headers.schema]).decode(message.value() or b"")
            columns = fill(schemas[headers.schema].groups["rows"], record)
            detail = [place for place, remainder in enumerate(columns["remainder"]) if not remainder]
            statements |= {(columns["queryid"][place], columns["dbid"][place]) for place in detail}
            rows += len(detail)
            coverages.append(record["coverage_time"])
        reader.close()
        return cls(statements, rows, sum(coverages) / max(1, len(coverages)))


def _busy_s(port: int) -> float:
    """Seconds that the agent's workers have spent on the target so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return sum(one.value for family in families for one in family.samples if one.name == BUSY)


def tell(text: str) -> None:
    """Progress, for who waits."""
    print(text, file=sys.stderr, flush=True)
