"""From the settings to collectors and their jobs, all problems together. Pure."""

import difflib
import ipaddress
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pganalytics.producers.schedule import JobKey
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import MetricSettings, Settings, Target
from pganalytics.schemas.headers import HEARTBEAT
from pganalytics.schemas.identity import Lane, is_collector_id
from pganalytics.schemas.metric import MetricSchema

DEFAULT_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """One metric of one collector, with the settings that apply. `limit`: rows in detail, for a metric that ranks;
    `parameters`: numbers for its queries."""

    key: JobKey
    target: Target
    schema: MetricSchema
    interval_s: float
    timeout_s: float
    limit: int | None
    parameters: Mapping[str, int]

    @property
    def critical(self) -> bool:
        """Whether it may use the workers that are kept for critical jobs."""
        return self.schema.lane is Lane.CRITICAL


def resolve_jobs(settings: Settings, schemas: Mapping[str, MetricSchema], machine_name: str) -> list[Job]:
    """The jobs of all targets; raises SettingsError with a line for each problem."""
    problems = _metric_problems(settings.metrics, schemas)
    names = [collector_id(target, machine_name) for target in settings.targets]
    if not names:
        problems.append("[[targets]]: no server to watch: add a [[targets]] table with host, port and user to the settings")
    problems += [
        f"targets: {name!r} cannot be a collector's id: give the target a name" for name in names if not is_collector_id(name)
    ]
    problems += [
        f"targets: {count} targets have the name {name}: names are unique in the fleet"
        for name, count in Counter(names).items()
        if count > 1
    ]
    if problems:
        raise SettingsError(*problems)
    return [
        _job(JobKey(name, schema.name), target, schema, settings.metrics.get(schema.name, MetricSettings.model_validate({})))
        for name, target in zip(names, settings.targets, strict=True)
        for schema in schemas.values()
        if schema.name not in settings.metrics or settings.metrics[schema.name].enabled
    ]


def collector_id(target: Target, machine_name: str) -> str:
    """The target's name, or <host>:<port>; a loopback address means another server on each machine, so the machine is named."""
    if target.name is not None:
        return target.name
    host = machine_name if _is_loopback(target.host) else target.host
    return f"[{host}]:{target.port}" if ":" in host else f"{host}:{target.port}"


def _is_loopback(host: str) -> bool:
    if host.startswith("/") or host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _metric_problems(metrics: Mapping[str, MetricSettings], schemas: Mapping[str, MetricSchema]) -> list[str]:
    problems = []
    for name, chosen in metrics.items():
        if name not in schemas:
            close = difflib.get_close_matches(name, schemas, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(sorted(schemas))}"
            problems.append(f"metrics.{name}: no such metric; {hint}")
        elif chosen.limit is not None and schemas[name].rank_by is None:
            problems.append(f"metrics.{name}.limit: this metric does not rank its rows; remove it")
        elif unknown := sorted(set(chosen.parameters) - set(schemas[name].parameters)):
            known = ", ".join(sorted(schemas[name].parameters)) or "none"
            problems += [f"metrics.{name}.parameters.{one}: this metric has no such parameter; known: {known}" for one in unknown]
        elif name == HEARTBEAT and not chosen.enabled:
            problems.append("metrics.heartbeat.enabled: the heartbeat cannot be switched off: what is lost is told by it")
    return problems


def _job(key: JobKey, target: Target, schema: MetricSchema, chosen: MetricSettings) -> Job:
    return Job(
        key=key,
        target=target,
        schema=schema,
        interval_s=chosen.interval_s or schema.interval_s,
        timeout_s=chosen.timeout_s or schema.timeout_s,
        limit=(chosen.limit or DEFAULT_LIMIT) if schema.rank_by else None,
        parameters={**schema.parameters, **chosen.parameters},
    )
