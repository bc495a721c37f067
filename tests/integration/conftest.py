"""Fixtures shared by integration tests, beside those of all tests."""

from pathlib import Path

import pytest

from integration.producers_feed import Watched, watched
from integration.sink_feed import Feed, Store
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.settings import Settings


@pytest.fixture
def feed(settings: Settings) -> Feed:
    """Sends what the streams would hand to the sink."""
    return Feed(settings)


@pytest.fixture
def stored(settings: Settings) -> Store:
    """Questions to the store."""
    return Store(settings)


@pytest.fixture
def one(postgres: PostgresServer, tmp_path: Path) -> Watched:
    """A database to watch."""
    return watched(postgres, tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where an agent writes its log."""
    return tmp_path / "agent.log"
