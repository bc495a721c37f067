"""Which keys of another settings file need a restart."""

from typing import Any

import pytest

from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_live import keys_for_restart

BEFORE = Settings.model_validate({})


@pytest.mark.parametrize(
    ("after", "keys"),
    [
        ({}, []),
        ({"targets": [{"name": "a"}], "metrics": {"io": {"interval_s": 5}}, "collect": {"preset": "full"}}, []),
        ({"collect": {"workers": 9, "preset": "full"}}, ["collect.workers"]),
        ({"kafka": {"options": {"linger.ms": 5}, "prefix": "x"}}, ["kafka.prefix", "kafka.options"]),
        ({"store": {"password": "s3cret"}}, ["store.password"]),
        ({"streams": {"quota": {"burst_s": 7}, "rules": [{"lane": "bulk"}]}}, ["streams.quota.burst_s"]),
        ({"sink": {"repair": False}}, []),
    ],
)
def test_keys_are_named_by_their_whole_path(after: dict[str, Any], keys: list[str]) -> None:
    """Of these sections; values are not among the names."""
    assert keys_for_restart(BEFORE, Settings.model_validate(after), ["kafka", "store", "collect", "streams"]) == keys


def test_settings_from_a_file_are_compared_with_those_of_another() -> None:
    class Resolved(Settings):
        """As each reading of a file makes one."""

    assert keys_for_restart(BEFORE, Resolved.model_validate({}), ["kafka", "collect"]) == []
