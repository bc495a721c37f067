"""Fixtures shared by all tests that need real servers: one broker and two PostgreSQL servers per run, nothing shared inside.

Each test has topics under a prefix of its own and databases of its own. Nothing is skipped when a server cannot start.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from pganalytics.embedded.binaries import choose_postgres
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.kafka import make_topics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.topics import Topics
from servers import new_database, settings_for

hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")
"""An example may wait for a processor that others use."""


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that ran inside of a test leaves neither its level nor its handler, whose stream is closed by then."""
    root = logging.getLogger()
    level = root.level
    yield
    root.handlers[:] = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]
    root.setLevel(level)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """The run's broker. A test that kills or stops a broker starts its own."""
    with KafkaBroker.start(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker
        broker.kill()  # nobody needs what it would write down of thousands of partitions


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The run's first PostgreSQL server. A test that kills or stops one starts its own."""
    with PostgresServer.start(tmp_path_factory.mktemp("postgres"), binaries=choose_postgres(2)[0]) as server:
        yield server
        server.stop("immediate")  # nobody needs its checkpoint


@pytest.fixture(scope="session")
def postgres_other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of another major version than `postgres`."""
    with PostgresServer.start(tmp_path_factory.mktemp("other"), binaries=choose_postgres(2)[1]) as server:
        yield server
        server.stop("immediate")


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The name of a new, empty database in `postgres`."""
    return new_database(postgres)


@pytest.fixture
def settings(kafka: KafkaBroker, postgres: PostgresServer, database: str, tmp_path: Path) -> Settings:
    """Settings of a fresh installation whose topics exist: own prefix, own store (not set up), own folder, no targets."""
    made = settings_for(kafka, postgres, database, tmp_path)
    make_topics(made.kafka, Topics(made.kafka.prefix, made.kafka.partitions).table())
    return made
