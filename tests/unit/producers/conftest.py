"""Fixtures of the tests of the spool and of the scheduler."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pganalytics.producers.knocks import Done
from pganalytics.producers.spool import Spool
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    opened = Spool.open(folder)
    opened.start_epoch("a", 100)
    yield opened
    opened.close()


class Open:
    """Everybody is at home."""

    def start(self, lifecycle: Lifecycle) -> None:
        """Nothing to begin."""

    def knock(self, target: Target, done: Done) -> None:
        done(None)


@pytest.fixture
def doors() -> Open:
    return Open()


@pytest.fixture
def lifecycle() -> Iterator[Lifecycle]:
    made = Lifecycle()
    yield made
    made.request_stop("test is over")
    assert made.join_all(time.monotonic() + 10) == []
