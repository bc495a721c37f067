"""`pganalytics status`: services, lanes, spools, quotas, targets; what is wrong and what to type."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from pganalytics.cli.advice import Advice
from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load, result_console
from pganalytics.cli.status.facts import Facts, read_facts
from pganalytics.cli.status.problems import SILENT_BEATS, Problem, problems
from pganalytics.cli.status.screen import show
from pganalytics.runtime.errors import ProblemFound, Unreachable
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.headers import HEARTBEAT

BEAT_S = 30.0


def run(config: ConfigOption = None, *, json_output: JsonOption = False, verbose: VerboseOption = False) -> None:
    """Exit code 1 when something is wrong, 69 when Kafka or the store cannot be asked; what the other says is shown."""
    settings = load(config, verbose=verbose)
    advice = Advice(config)
    facts = read_facts(settings)
    facts = replace(facts, away=tuple(map(advice.completed, facts.away)))
    beat_s = beat_of(settings)
    found = problems(facts, beat_s=beat_s, quota=settings.streams.quota, advice=advice)
    if json_output:
        print(json.dumps(as_json(facts, found)))
    else:
        show(facts, found, result_console(), silent_s=SILENT_BEATS * beat_s)
    if facts.away:
        raise Unreachable("status: not all could be asked: the first lines, or `away`, say why")
    if found:
        raise ProblemFound(f"status: {len(found)} thing{'s are' if len(found) > 1 else ' is'} wrong")


def beat_of(settings: Settings) -> float:
    """How often agents with these settings send a heartbeat."""
    chosen = settings.metrics.get(HEARTBEAT)
    return BEAT_S if chosen is None or chosen.interval_s is None else float(chosen.interval_s)


def as_json(facts: Facts, found: Sequence[Problem]) -> dict[str, Any]:
    """For programs: names as they are; JSON escapes what is not ASCII."""
    kafka, stored = facts.kafka, facts.store
    return {
        "ok": not found and not facts.away,
        "away": list(facts.away),
        "problems": [asdict(problem) for problem in found],
        "groups": None if kafka is None else [asdict(group) for group in kafka.groups],
        "lags": None if kafka is None else [asdict(lag) for lag in kafka.lags],
        "quotas": None if kafka is None else {name: dict(one.given) for name, one in kafka.quotas.overrides.items()},
        "collectors": None if stored is None else [asdict(one) for one in stored.collectors],
        "events": None if stored is None else [asdict(one) for one in stored.events],
        "ledger": None if stored is None else asdict(stored.audit.total),
    }
