"""Short forms of the loads that would hurt others: see `chaos.streams_load`."""

from pathlib import Path

import pytest

from chaos.streams_load import SHORT_BACKLOG, SHORT_HERD, SHORT_NOISE, Release, disturb, release_all
from pganalytics.embedded.kafka import KafkaBroker


def test_a_noisy_neighbour_slows_nobody_and_its_own_critical_records_pass(kafka: KafkaBroker, tmp_path: Path) -> None:
    found = disturb(kafka.bootstrap, tmp_path, SHORT_NOISE, seed=1)
    assert found.problems() == [], found.lines()


@pytest.mark.parametrize("release", [SHORT_BACKLOG, SHORT_HERD], ids=["backlog", "herd"])
def test_what_waited_goes_on_critical_records_first(release: Release, kafka: KafkaBroker, tmp_path: Path) -> None:
    found = release_all(kafka.bootstrap, tmp_path, release, seed=1)
    assert found.problems() == [], found.lines()
    if release is SHORT_HERD:
        assert found.counted.deferred > 0
