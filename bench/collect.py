"""What an agent costs: `python -m bench collect --databases 100 [--mode held|default] [--json]`.

One server with databases, tables, indexes and statements of which 17 % move per cycle; the real agent with its real spool and a
real broker. The readings of one scope are due in every cycle. Beside it the structural limit: the same queries by bare psycopg,
measured in the same run. PostgreSQL's CPU is that of the whole server without the workload's own backends.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from bench.fleet import ROLE, Fleet, start_fleet
from bench.limit import Floor, Limit
from bench.processes import tree_cpu_s, usage
from pganalytics.embedded.binaries import find_postgres
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.leash import Child
from pganalytics.embedded.ports import free_port
from pganalytics.producers.catalogue import load_catalogue
from pganalytics.runtime.kafka import make_topics, producer_config
from pganalytics.runtime.settings import Kafka, Settings
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.topics import Topics

SCOPE = ["database", "statements", "tables", "indexes", "sizes"]
BUSY = "pganalytics_collect_busy_seconds_total"
PARTITIONS = 4
COLLECTOR = "bench"
WARM_UP = 3
"""Cycles, for both: until the server has kept the plans."""
PACE = 0.8
"""Share of a cycle over which the paced readings are spread: the workload comes first in each cycle."""


@dataclass(frozen=True)
class Result:
    """Per cycle, but for what is held. `limit_*`: the structural limit in the same run, all readings at once with warm caches;
    `limit_paced_*`: spread over the cycle, as an agent spreads them.

    `limit_cold_pg_cpu_s`: what an agent that holds no connections to databases cannot do without, with the default intervals.

    `floor_agent_cpu_s`: those spread over the cycle, and what is read kept, compared, spooled with an fsync each and sent, by the
    least code that does so.

    `wall_s`: time that workers spent on the target, one after the other; in parallel it is less. `bytes_wire`: what the collected
    topics grew by on the broker's disk; `bytes_per_changed_statement_row` takes the normal lane alone, all that is in it.
    """

    mode: str
    databases: int
    cycle_s: float
    cycles: int
    pg_cpu_s: float
    limit_pg_cpu_s: float
    limit_paced_pg_cpu_s: float
    limit_cold_pg_cpu_s: float
    agent_cpu_s: float
    limit_client_cpu_s: float
    limit_paced_client_cpu_s: float
    floor_agent_cpu_s: float
    wall_s: float
    limit_wall_s: float
    bytes_wire: int
    bytes_per_changed_statement_row: float
    statements_seen_pct: float
    coverage_time_pct: float
    connections_opened: float
    connections_held: int
    own_pgss_entries: int
    threads: int
    rss_mb: float


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    chosen = _parsed(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pganalytics-bench-")))
        result = measure(folder, stack, chosen)
    if chosen.json:
        print(json.dumps(asdict(result)))
        return 0
    for name, value in asdict(result).items():
        print(f"{name:<34} {value:,.3f}" if isinstance(value, float) else f"{name:<34} {value}")
    print(f"pg_cpu_s / limit_pg_cpu_s          {result.pg_cpu_s / max(result.limit_pg_cpu_s, 1e-9):.2f}")
    print(f"agent_cpu_s / floor_agent_cpu_s    {result.agent_cpu_s / max(result.floor_agent_cpu_s, 1e-9):.2f}")
    print(f"pg_cpu_s / limit_paced_pg_cpu_s    {result.pg_cpu_s / max(result.limit_paced_pg_cpu_s, 1e-9):.2f}")
    print(f"pg_cpu_s / limit_cold_pg_cpu_s     {result.pg_cpu_s / max(result.limit_cold_pg_cpu_s, 1e-9):.2f}")
    return 0


def measure(folder: Path, stack: ExitStack, chosen: argparse.Namespace) -> Result:
    """Build everything, measure the limit, then the agent."""
    binaries = next(each for each in find_postgres() if each.major == 15)
    _tell("starting a broker and a server with its databases")
    broker = stack.enter_context(KafkaBroker.start(folder / "kafka"))
    fleet = start_fleet(folder, stack, binaries, chosen.databases)
    metrics = [name for name in SCOPE if name in builtin_schemas()]
    with ExitStack() as connections:
        limit = Limit(fleet, connections, load_catalogue(metrics), metrics)
        for _ in range(WARM_UP):
            limit.cycle()
        _tell("measuring the structural limit")
        costs, paced, floors = [], [], []
        kafka = Kafka(
            bootstrap=broker.bootstrap, prefix="floor", partitions=PARTITIONS, replication_factor=1, min_insync_replicas=1
        )
        make_topics(kafka, Topics(kafka.prefix, PARTITIONS).table())
        floor = Floor(
            folder, Producer(producer_config(kafka, name="floor")), Topics(kafka.prefix, PARTITIONS).collected(Lane.BULK)
        )
        limit.cycle(use=floor.use)
        limit_pg = limit_paced_pg = limit_cold_pg = 0.0
        for number in range(chosen.cycles):
            fleet.work()
            spent = _Meter(fleet)
            costs.append(limit.cycle())
            limit_pg += spent.pg_cpu_s() / chosen.cycles
            spent = _Meter(fleet)
            paced.append(limit.cycle(chosen.cycle_s * PACE))
            limit_paced_pg += spent.pg_cpu_s() / chosen.cycles
            spent = _Meter(fleet)
            limit.cold_cycle(number)
            limit_cold_pg += spent.pg_cpu_s() / chosen.cycles
            fleet.work()
            floors.append(limit.cycle(chosen.cycle_s * PACE, floor.use))
    settings = _settings(folder, broker, fleet, chosen)
    topics = Topics(settings.kafka.prefix, PARTITIONS)
    make_topics(settings.kafka, topics.table())
    agent = stack.enter_context(Child.start(_command(folder, settings), stdout=folder / "agent.log", name="agent"))
    _tell("the agent begins")
    _cycles(fleet, chosen, WARM_UP)
    began, opened = _ends(settings, topics), fleet.connections_of_role()[1]
    bytes_before, normal_before = _bytes(broker, topics), _size(broker, topics.collected(Lane.NORMAL))
    busy = _busy_s(settings.collect.http_port)
    spent, cpu = _Meter(fleet), usage(agent.pid).cpu_s
    fleet.moved.clear()
    _tell(f"measuring {chosen.cycles} cycles of {chosen.cycle_s:g} s")
    _cycles(fleet, chosen, chosen.cycles)
    pg, agent_cpu, now = spent.pg_cpu_s(), usage(agent.pid).cpu_s - cpu, usage(agent.pid)
    busy = _busy_s(settings.collect.http_port) - busy
    held, opened_now = fleet.connections_of_role()
    agent.terminate(60)
    seen = _Seen.read(settings, topics, began)
    size = _bytes(broker, topics) - bytes_before
    moved = len(fleet.moved)
    return Result(
        mode=chosen.mode,
        databases=chosen.databases,
        cycle_s=chosen.cycle_s,
        cycles=chosen.cycles,
        pg_cpu_s=pg / chosen.cycles,
        limit_pg_cpu_s=limit_pg,
        limit_paced_pg_cpu_s=limit_paced_pg,
        limit_cold_pg_cpu_s=limit_cold_pg,
        agent_cpu_s=agent_cpu / chosen.cycles,
        limit_client_cpu_s=sum(each.client_cpu_s for each in costs) / chosen.cycles,
        limit_paced_client_cpu_s=sum(each.client_cpu_s for each in paced) / chosen.cycles,
        floor_agent_cpu_s=sum(each.client_cpu_s for each in floors) / chosen.cycles,
        wall_s=busy / chosen.cycles,
        limit_wall_s=sum(each.wall_s for each in costs) / chosen.cycles,
        bytes_wire=round(size / chosen.cycles),
        bytes_per_changed_statement_row=(_size(broker, topics.collected(Lane.NORMAL)) - normal_before) / max(1, seen.rows),
        statements_seen_pct=100.0 * min(1.0, len(seen.statements) / max(1, moved)),
        coverage_time_pct=100.0 * seen.coverage,
        connections_opened=(opened_now - opened) / chosen.cycles,
        connections_held=held,
        own_pgss_entries=fleet.entries()[1],
        threads=now.threads,
        rss_mb=now.rss_bytes / 1e6,
    )


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench collect", description="What an agent and its target spend per cycle.")
    parser.add_argument("--databases", type=int, default=100, help="with 20 tables, 40 indexes and 50 statements each")
    parser.add_argument("--cycles", type=int, default=6, help="measured ones")
    parser.add_argument("--cycle-s", type=float, default=10.0, help="seconds of a cycle, which stand for a minute")
    parser.add_argument(
        "--mode", choices=("held", "default"), default="held", help="a connection per database, or what users get"
    )
    parser.add_argument("--preset", choices=("standard",), help="everything of the preset at its own intervals, in scaled time")
    parser.add_argument("--json", action="store_true", help="one object")
    return parser.parse_args(arguments)


class _Meter:
    """CPU of the server but for the workload, since it was made."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._began = self._now()

    def pg_cpu_s(self) -> float:
        return self._now() - self._began

    def _now(self) -> float:
        return tree_cpu_s(self._fleet.server.pid) - self._fleet.cpu_s()


def _cycles(fleet: Fleet, chosen: argparse.Namespace, count: int) -> None:
    for _ in range(count):
        until = time.monotonic() + chosen.cycle_s
        fleet.work()
        time.sleep(max(0.0, until - time.monotonic()))


def _settings(folder: Path, broker: KafkaBroker, fleet: Fleet, chosen: argparse.Namespace) -> Settings:
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


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
