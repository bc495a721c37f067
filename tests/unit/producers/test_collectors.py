"""From settings to collectors and jobs; all problems in one message."""

from typing import Any

import pytest

from pganalytics.producers.collectors import DEFAULT_LIMIT, WITHOUT_READING, collector_id, resolve_jobs
from pganalytics.producers.presets import COSTLY, LOCAL, MINIMAL, metrics_of
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import Settings, Target
from pganalytics.schemas.metric import Scope, builtin_schemas


def jobs_of(**sections: Any) -> Any:
    return resolve_jobs(Settings.model_validate(sections), builtin_schemas(), "machine")


def problems_of(**sections: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        jobs_of(**sections)
    return caught.value.problems


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"host": "db1.example", "port": 5433}, "db1.example:5433"),
        ({"host": "127.0.0.1"}, "machine:5432"),
        ({"host": "127.8.8.8"}, "machine:5432"),
        ({"host": "localhost"}, "machine:5432"),
        ({"host": "::1"}, "machine:5432"),
        ({"host": "/run/postgresql"}, "machine:5432"),
        ({"host": "fe80::1"}, "[fe80::1]:5432"),
        ({"host": "10.0.0.1", "name": "orders"}, "orders"),
    ],
)
def test_a_collector_is_called_by_name_or_address(target: dict[str, Any], expected: str) -> None:
    assert collector_id(Target.model_validate(target), "machine") == expected


def test_policy_is_the_schema_s_unless_the_settings_say_otherwise() -> None:
    jobs = {job.key.metric: job for job in jobs_of(targets=[{"name": "a"}], metrics={"statements": {"interval_s": 5}})}
    assert set(jobs) == set(builtin_schemas()) - WITHOUT_READING - COSTLY - LOCAL
    assert (jobs["statements"].interval_s, jobs["statements"].timeout_s, jobs["statements"].limit) == (5, 20, DEFAULT_LIMIT)
    assert (jobs["database"].interval_s, jobs["database"].limit) == (60, None)
    assert {name for name, job in jobs.items() if job.critical} >= {"heartbeat", "blocking"}
    assert not jobs["database"].critical


def test_what_is_of_the_server_is_read_once_and_what_is_of_a_database_in_each() -> None:
    jobs = jobs_of(targets=[{"name": "a", "dbname": "main", "preset": "full"}])
    once = {job.key.metric for job in jobs if not job.is_template}
    assert once == {job.key.metric for job in jobs if job.schema.scope is Scope.INSTANCE}
    assert {"statements", "database", "activity", "replication", "settings"} <= once
    assert {job.database for job in jobs if not job.is_template} == {"main"}
    everywhere = [job.in_database(name) for name in ("x", "y") for job in jobs if job.is_template]
    assert len({job.key for job in everywhere}) == 2 * (len(jobs) - len(once)) > 10
    assert {job.database for job in everywhere} == {"x", "y"}


def test_a_metric_can_be_switched_off_and_limited() -> None:
    jobs = jobs_of(targets=[{"name": "a"}], metrics={"database": {"enabled": False}, "statements": {"limit": 100}})
    limits = {job.key.metric: job.limit for job in jobs}
    assert set(limits) == set(builtin_schemas()) - WITHOUT_READING - COSTLY - LOCAL - {"database"}
    assert (limits["heartbeat"], limits["statements"]) == (None, 100)


def test_without_targets_there_is_nothing_to_do() -> None:
    assert "[[targets]]" in problems_of()[0]


def test_all_problems_are_told_at_once() -> None:
    problems = problems_of(
        targets=[{"name": "a"}, {"name": "a"}, {"host": "one,two"}],
        metrics={"statments": {}, "database": {"limit": 500}, "heartbeat": {"enabled": False}},
    )
    text = "\n".join(problems)
    assert len(problems) == 5
    for expected in (
        "did you mean `statements`",
        "metrics.database.limit",
        "metrics.heartbeat",
        "one,two",
        "2 targets have the name a",
    ):
        assert expected in text


def names(**sections: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for job in jobs_of(**sections):
        found.setdefault(job.key.collector, set()).add(job.key.metric)
    return found


def test_presets_are_closed_lists_of_metrics_that_exist() -> None:
    every = set(builtin_schemas())
    assert metrics_of("full", builtin_schemas()) == every
    assert metrics_of("minimal", builtin_schemas()) == MINIMAL & every
    assert metrics_of("standard", builtin_schemas()) == every - COSTLY
    assert "host" not in metrics_of("cloud", builtin_schemas())


def test_a_target_overrides_what_is_said_for_all_key_by_key() -> None:
    jobs = jobs_of(
        collect={"preset": "minimal"},
        metrics={"activity": {"enabled": True, "interval_s": 7, "parameters": {"listed_age_s": 9}}, "database": {"timeout_s": 3}},
        targets=[
            {"name": "a"},
            {"name": "b", "preset": "standard", "metrics": {"database": {"interval_s": 5}, "statements": {"enabled": False}}},
            {"name": "c", "metrics": {"activity": {"enabled": False}}},
        ],
    )
    by = {(job.key.collector, job.key.metric): job for job in jobs}
    assert (by["a", "activity"].interval_s, by["a", "activity"].parameters) == (7, {"listed_age_s": 9})
    assert (by["a", "database"].timeout_s, by["b", "database"].timeout_s, by["b", "database"].interval_s) == (3, 3, 5)
    assert ("b", "statements") not in by
    assert ("b", "activity") in by
    assert ("c", "activity") not in by


def test_what_cannot_be_switched_off_or_set_is_named() -> None:
    problems = problems_of(
        metrics={"metric_status": {"enabled": False}, "change": {"interval_s": 5}},
        targets=[{"name": "a", "metrics": {"activty": {}, "activity": {"parameters": {"age": 1}}}}],
    )
    assert sorted(problem.split(":")[0] for problem in problems) == [
        "metrics.change",
        "metrics.metric_status.enabled",
        "targets[0].metrics.activity.parameters.age",
        "targets[0].metrics.activty",
    ]
