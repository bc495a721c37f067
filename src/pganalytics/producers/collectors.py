"""From the settings to collectors and their jobs, all problems together. Pure."""

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pganalytics.producers.changes import CHANGE
from pganalytics.producers.presets import LOCAL, metrics_of
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.statuses import METRIC_STATUS
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.postgres import is_local
from pganalytics.runtime.settings import MetricSettings, Settings, Target
from pganalytics.schemas.headers import HEARTBEAT
from pganalytics.schemas.identity import Lane, is_collector_id
from pganalytics.schemas.metric import MetricSchema, Scope, builtin_schemas

DEFAULT_LIMIT = 1000
ALWAYS_ON = {HEARTBEAT: "what is lost is told by it", METRIC_STATUS: "it finds the databases, and tells what cannot be read"}
WITHOUT_READING = frozenset({CHANGE})
"""Made by the agent with the records of other metrics."""


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
    def database(self) -> str:
        """Where it is asked."""
        return self.key.database or self.target.dbname

    @property
    def is_template(self) -> bool:
        """Whether it stands for a job in each database of the server."""
        return self.schema.scope is Scope.DATABASE and not self.key.database

    def in_database(self, database: str) -> "Job":
        """The job in one database, of a template."""
        return replace(self, key=self.key._replace(database=database))

    @property
    def asks(self) -> bool:
        """Whether the target has to answer; what is read of the machine it runs on goes on without it."""
        return self.key.metric not in LOCAL

    @property
    def critical(self) -> bool:
        """Whether it may use the workers that are kept for critical jobs."""
        return self.schema.lane is Lane.CRITICAL


def resolve_jobs(settings: Settings, schemas: Mapping[str, MetricSchema], machine_name: str) -> list[Job]:
    """The jobs of all targets; raises SettingsError with a line for each problem."""
    problems = _metric_problems("metrics", settings.metrics, schemas)
    for place, target in enumerate(settings.targets):
        problems += _metric_problems(f"targets[{place}].metrics", target.metrics, schemas)
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
    pairs = zip(names, settings.targets, strict=True)
    return [job for name, target in pairs for job in _jobs_of(name, target, settings, schemas)]


def _jobs_of(name: str, target: Target, settings: Settings, schemas: Mapping[str, MetricSchema]) -> list[Job]:
    on = metrics_of(target.preset or settings.collect.preset, builtin_schemas())
    on |= {schema for schema in schemas if schema not in builtin_schemas()}
    chosen = {metric: _merged(settings.metrics.get(metric), target.metrics.get(metric)) for metric in schemas}
    return [
        _job(JobKey(name, schema.name), target, schema, chosen[schema.name])
        for schema in schemas.values()
        if schema.name not in WITHOUT_READING | (frozenset() if target.local else LOCAL)
        and (schema.name in on if chosen[schema.name].enabled is None else chosen[schema.name].enabled)
    ]


def _merged(general: MetricSettings | None, special: MetricSettings | None) -> MetricSettings:
    """What the target says, and for the rest what is said for all."""
    given = [each.model_dump(exclude_unset=True) for each in (general, special) if each is not None]
    parameters = {name: value for each in given for name, value in each.get("parameters", {}).items()}
    merged = {name: value for each in given for name, value in each.items()}
    return MetricSettings.model_validate(merged | {"parameters": parameters})


def collector_id(target: Target, machine_name: str) -> str:
    """The target's name, or <host>:<port>; a loopback address means another server on each machine, so the machine is named."""
    if target.name is not None:
        return target.name
    host = machine_name if is_local(target.host) else target.host
    return f"[{host}]:{target.port}" if ":" in host else f"{host}:{target.port}"


def _metric_problems(where: str, metrics: Mapping[str, MetricSettings], schemas: Mapping[str, MetricSchema]) -> list[str]:
    problems = []
    for name, chosen in metrics.items():
        if name not in schemas:
            close = difflib.get_close_matches(name, schemas, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(sorted(schemas))}"
            problems.append(f"{where}.{name}: no such metric; {hint}")
        elif chosen.limit is not None and schemas[name].rank_by is None:
            problems.append(f"{where}.{name}.limit: this metric does not rank its rows; remove it")
        elif unknown := sorted(set(chosen.parameters) - set(schemas[name].parameters)):
            known = ", ".join(sorted(schemas[name].parameters)) or "none"
            problems += [f"{where}.{name}.parameters.{one}: this metric has no such parameter; known: {known}" for one in unknown]
        elif name in ALWAYS_ON and chosen.enabled is False:
            problems.append(f"{where}.{name}.enabled: it cannot be switched off: {ALWAYS_ON[name]}")
        elif name in WITHOUT_READING and chosen.model_fields_set:
            problems.append(f"{where}.{name}: it is made from what other metrics read and has no settings; remove it")
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
