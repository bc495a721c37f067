"""Fixtures shared by integration tests, beside those of all tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from integration.pairs import Pair, pair_of
from integration.producers_feed import Watched, watched
from integration.sink_feed import Feed, Store
from integration.versions import MAJORS, Version
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


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Pair]]:
    """A primary and a standby by major version, started when first asked for."""
    with ExitStack() as stack:
        yield cache(lambda major: stack.enter_context(pair_of(major, tmp_path_factory.mktemp(f"pair{major}"))))


@pytest.fixture(params=MAJORS, ids=lambda major: f"PG{major}")
def pair(request: pytest.FixtureRequest, pairs: Callable[[int], Pair]) -> Pair:
    """One pair after the other."""
    return pairs(request.param)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where an agent writes its log."""
    return tmp_path / "agent.log"


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Version]]:
    """Servers by major version, each started when it is first asked for and kept to the end."""
    with ExitStack() as started:
        yield cache(lambda major: started.enter_context(Version.started(major, tmp_path_factory.mktemp(f"version{major}"))))


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"PG{major}")
def version(request: pytest.FixtureRequest, versions: Callable[[int], Version]) -> Version:
    """A server of each major version that is supported, one after the other."""
    return versions(request.param)
