"""From settings to collectors and jobs; all problems in one message."""

from typing import Any

import pytest

from pganalytics.producers.collectors import DEFAULT_LIMIT, collector_id, resolve_jobs
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import Settings, Target
from pganalytics.schemas.metric import builtin_schemas


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
    assert set(jobs) == set(builtin_schemas())
    assert (jobs["statements"].interval_s, jobs["statements"].timeout_s, jobs["statements"].limit) == (5, 20, DEFAULT_LIMIT)
    assert (jobs["database"].interval_s, jobs["database"].limit) == (60, None)
    assert [job.critical for job in jobs.values()] == [metric == "heartbeat" for metric in jobs]


def test_a_metric_can_be_switched_off_and_limited() -> None:
    jobs = jobs_of(targets=[{"name": "a"}], metrics={"database": {"enabled": False}, "statements": {"limit": 100}})
    limits = {job.key.metric: job.limit for job in jobs}
    assert set(limits) == set(builtin_schemas()) - {"database"}
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
