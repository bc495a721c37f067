"""What an agent has to do: the jobs of all collectors and the queries that they ask."""

from dataclasses import dataclass

from pganalytics.producers.catalogue import Catalogue, load_catalogue
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.own_metrics import load_own_metrics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs, templates for databases among them, and the variants of their metrics."""

    jobs: list[Job]
    catalogue: Catalogue


def make_plan(settings: Settings, machine_name: str) -> Plan:
    """From the settings and the user's own metrics; raises SettingsError with a line for each problem."""
    own, own_variants = load_own_metrics(settings.collect.metrics_dir, builtin_schemas())
    jobs = resolve_jobs(settings, builtin_schemas() | own, machine_name)
    builtin = load_catalogue({job.key.metric for job in jobs if job.key.metric not in own})
    return Plan(jobs, Catalogue({**builtin.variants, **own_variants}))
