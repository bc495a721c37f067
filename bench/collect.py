"""What an agent costs: `python -m bench collect --databases 100 [--mode held|default] [--json]`.

One server with databases, tables, indexes and statements of which 17 % move per cycle; the real agent with its real spool and a
real broker. The readings of one scope are due in every cycle. Beside it the structural limit: the same queries by bare psycopg,
measured in the same run. PostgreSQL's CPU is that of the whole server without the workload's own backends.

`--pairs N` compares what both modes cost the server.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from bench.agent_run import MODES, PARTITIONS, SCOPE, WARM_UP, AgentCost, Cycles, Meter, run_agent, tell
from bench.fleet import Fleet, start_fleet
from bench.limit import Floor, Limit
from pganalytics.embedded.binaries import find_postgres
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.producers.catalogue import load_catalogue
from pganalytics.runtime.kafka import make_topics, producer_config
from pganalytics.runtime.settings import Kafka
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.topics import Topics

PACE = 0.8
"""Share of a cycle over which the paced readings are spread: the workload comes first in each cycle."""


@dataclass(frozen=True)
class LimitCost:
    """Per cycle. `limit_*`: the structural limit in the same run, all readings at once with warm caches; `limit_paced_*`: spread
    over the cycle, as an agent spreads them.

    `limit_cold_pg_cpu_s`: what an agent that holds no connections to databases cannot do without, with the default intervals.

    `floor_agent_cpu_s`: those spread over the cycle, and what is read kept, compared, spooled with an fsync each and sent, by the
    least code that does so.
    """

    limit_pg_cpu_s: float
    limit_paced_pg_cpu_s: float
    limit_cold_pg_cpu_s: float
    limit_client_cpu_s: float
    limit_paced_client_cpu_s: float
    floor_agent_cpu_s: float
    limit_wall_s: float


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    chosen = _parsed(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pganalytics-bench-")))
        found, ratios = compare_modes(folder, stack, chosen) if chosen.pairs else measure(folder, stack, chosen)
    if chosen.json:
        print(json.dumps(found))
        return 0
    for name, value in found.items():
        print(f"{name:<34} {value:,.3f}" if isinstance(value, float) else f"{name:<34} {value}")
    for one, other in ratios:
        print(f"{f'{one} / {other}':<34} {found[one] / max(found[other], 1e-9):.2f}")
    return 0


def measure(folder: Path, stack: ExitStack, chosen: argparse.Namespace) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Build everything, measure the limit, then the agent. What was found, and what of it is told as a ratio."""
    broker, fleet = _build(folder, stack, chosen)
    limit = _limit(folder, broker, fleet, chosen)
    agent = _agent(folder / "agent", broker, fleet, chosen, chosen.mode)
    ratios = [("pg_cpu_s", other) for other in ("limit_pg_cpu_s", "limit_paced_pg_cpu_s", "limit_cold_pg_cpu_s")]
    about = {name: getattr(chosen, name) for name in ("mode", "databases", "cycle_s", "cycles")}
    return about | asdict(agent) | asdict(limit), [*ratios, ("agent_cpu_s", "floor_agent_cpu_s")]


def compare_modes(folder: Path, stack: ExitStack, chosen: argparse.Namespace) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Both modes in turn on one server, another one first in each pair: the machine is not always the same. As `measure`."""
    broker, fleet = _build(folder, stack, chosen)
    spent: dict[str, list[float]] = {mode: [] for mode in MODES}
    for number in range(chosen.pairs):
        for mode in MODES[:: 1 if number % 2 else -1]:
            spent[mode].append(_agent(folder / f"{mode}-{number}", broker, fleet, chosen, mode).pg_cpu_s)
        tell(", ".join(f"{mode} {costs[-1]:.3f} s" for mode, costs in spent.items()))
    about = {name: getattr(chosen, name) for name in ("pairs", "databases", "cycle_s", "cycles")}
    means = {f"{mode}_pg_cpu_s": statistics.mean(costs) for mode, costs in spent.items()}
    smaller = sum(mine < other for mine, other in zip(spent["default"], spent["held"], strict=True))
    each = {f"{mode}_pg_cpu_s_each": [round(one, 3) for one in costs] for mode, costs in spent.items()}
    return about | means | {"pairs_with_default_less": smaller} | each, [("default_pg_cpu_s", "held_pg_cpu_s")]


def _agent(folder: Path, broker: KafkaBroker, fleet: Fleet, chosen: argparse.Namespace, mode: str) -> AgentCost:
    return run_agent(folder, broker, fleet, Cycles(mode, chosen.databases, chosen.cycle_s, chosen.cycles, chosen.preset))


def _build(folder: Path, stack: ExitStack, chosen: argparse.Namespace) -> tuple[KafkaBroker, Fleet]:
    binaries = next(each for each in find_postgres() if each.major == 15)
    tell("starting a broker and a server with its databases")
    broker = stack.enter_context(KafkaBroker.start(folder / "kafka"))
    return broker, start_fleet(folder, stack, binaries, chosen.databases)


def _limit(folder: Path, broker: KafkaBroker, fleet: Fleet, chosen: argparse.Namespace) -> LimitCost:
    metrics = [name for name in SCOPE if name in builtin_schemas()]
    with ExitStack() as connections:
        limit = Limit(fleet, connections, load_catalogue(metrics), metrics)
        for _ in range(WARM_UP):
            limit.cycle()
        tell("measuring the structural limit")
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
            spent = Meter(fleet)
            costs.append(limit.cycle())
            limit_pg += spent.pg_cpu_s() / chosen.cycles
            spent = Meter(fleet)
            paced.append(limit.cycle(chosen.cycle_s * PACE))
            limit_paced_pg += spent.pg_cpu_s() / chosen.cycles
            spent = Meter(fleet)
            limit.cold_cycle(number)
            limit_cold_pg += spent.pg_cpu_s() / chosen.cycles
            fleet.work()
            floors.append(limit.cycle(chosen.cycle_s * PACE, floor.use))
    return LimitCost(
        limit_pg_cpu_s=limit_pg,
        limit_paced_pg_cpu_s=limit_paced_pg,
        limit_cold_pg_cpu_s=limit_cold_pg,
        limit_client_cpu_s=sum(each.client_cpu_s for each in costs) / chosen.cycles,
        limit_paced_client_cpu_s=sum(each.client_cpu_s for each in paced) / chosen.cycles,
        floor_agent_cpu_s=sum(each.client_cpu_s for each in floors) / chosen.cycles,
        limit_wall_s=sum(each.wall_s for each in costs) / chosen.cycles,
    )


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench collect", description="What an agent and its target spend per cycle.")
    parser.add_argument("--databases", type=int, default=100, help="with 20 tables, 40 indexes and 50 statements each")
    parser.add_argument("--cycles", type=int, default=6, help="measured ones")
    parser.add_argument("--cycle-s", type=float, default=10.0, help="seconds of a cycle, which stand for a minute")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--mode", choices=MODES, default="held", help="a connection per database, or what users get")
    what.add_argument("--pairs", type=int, default=0, help="instead: both modes in turn, so many times, without limit and floor")
    parser.add_argument("--preset", choices=("standard",), help="everything of the preset at its own intervals, in scaled time")
    parser.add_argument("--json", action="store_true", help="one object")
    return parser.parse_args(arguments)
