"""What an agent has to do: the jobs of all collectors and the queries that they ask."""

from collections.abc import Mapping
from dataclasses import dataclass

from pganalytics.producers.catalogue import Catalogue, load_catalogue
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.own_metrics import load_own_metrics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import MetricSchema, builtin_schemas


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs, templates for databases among them; all metrics there are, and the variants of their queries."""

    jobs: list[Job]
    catalogue: Catalogue
    schemas: Mapping[str, MetricSchema]
    machine_name: str

    def jobs_for(self, settings: Settings) -> list[Job]:
        """The jobs that other settings name, of the metrics there are; raises SettingsError with a line for each problem."""
        return resolve_jobs(settings, self.schemas, self.machine_name)


def make_plan(settings: Settings, machine_name: str) -> Plan:
    """From the settings and the user's own metrics; raises SettingsError with a line for each problem."""
    own, own_variants = load_own_metrics(settings.collect.metrics_dir, builtin_schemas())
    schemas = builtin_schemas() | own
    jobs = resolve_jobs(settings, schemas, machine_name)
    builtin = load_catalogue(builtin_schemas())
    return Plan(jobs, Catalogue({**builtin.variants, **own_variants}), schemas, machine_name)
