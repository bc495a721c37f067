"""At most 12 records a minute for a collector of one database as users get it: the sum over its metrics' intervals.

Metrics that have rows only while something goes on (somebody waits, a vacuum runs) come on top, for as long as it does.
"""

import pytest

from pganalytics.producers.changes import CHANGE
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.fitness import records_per_minute
from pganalytics.producers.statuses import METRIC_STATUS
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import Send, builtin_schemas

MOST = 12
WHILE_IT_GOES_ON = {"blocking", "progress", METRIC_STATUS, CHANGE}
"""Waits; vacuums, backups, index builds; what cannot be read; what was altered."""
OF_A_PRIMARY = {"replication", "replication_slots"}
OF_A_STANDBY = {"wal_receiver"}
OF_A_SUBSCRIBER = {"subscriptions"}
KINDS = {
    "plain": set(),
    "primary": OF_A_PRIMARY,
    "standby": OF_A_STANDBY,
    "subscriber": OF_A_SUBSCRIBER,
}
TOLD = {"plain": 8.93, "primary": 11.93, "standby": 10.93, "subscriber": 9.93}
"""As docs/decisions/0023 has them."""


def jobs(**more: object) -> list[Job]:
    settings = Settings.model_validate({"targets": [{"name": "one", **more}]})
    return resolve_jobs(settings, builtin_schemas(), "machine")


def steady(kind: str, **more: object) -> float:
    """Records a minute of a busy server of this kind."""
    others = set().union(*KINDS.values()) - KINDS[kind]
    return records_per_minute([job for job in jobs(**more) if job.key.metric not in WHILE_IT_GOES_ON | others], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_collector_of_one_database_sends_at_most_12(kind: str) -> None:
    assert steady(kind) <= MOST
    assert steady(kind) == pytest.approx(TOLD[kind], abs=0.01)


@pytest.mark.parametrize("preset", ["minimal", "cloud"])
def test_so_do_smaller_presets(preset: str) -> None:
    assert all(steady(kind, preset=preset) <= MOST for kind in KINDS)


def test_what_comes_on_top_is_sent_only_while_there_is_something() -> None:
    """So that no metric leaves the sum above by being listed: each is quiet by how it is sent, or by its agent."""
    listed = set().union(WHILE_IT_GOES_ON, *KINDS.values())
    assert {name for name in listed if builtin_schemas()[name].send is not Send.ANY} == {METRIC_STATUS}
    any_rows = {name for name, schema in builtin_schemas().items() if schema.send is Send.ANY}
    assert any_rows - listed == {"locks"}, "a busy server has locks whenever one looks"


def test_the_most_of_all_while_everything_goes_on() -> None:
    """Waits in each look at them and a vacuum in each look at those: six more."""
    assert steady("primary") + 4 + 2 == pytest.approx(17.93, abs=0.01)
    assert {job.key.metric: 60 / job.interval_s for job in jobs()}["blocking"] == 4
