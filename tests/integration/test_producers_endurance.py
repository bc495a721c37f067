"""An agent that runs long among unruly servers holds no more than it did at first: connections, threads, files, memory."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from integration.endurance import LOCKED, UNREST, Endurance, Held, Unrest, connections, grown, hurry, leak
from integration.producers_feed import AgentProcess, Watched, watched, with_targets
from integration.test_producers_databases import column, own_metric
from pganalytics.embedded.binaries import choose_postgres
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.collectors import WITHOUT_READING
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas
from waiting import until

logger = logging.getLogger(__name__)
CYCLES = int(os.environ.get("CYCLES", 60))
"""`CYCLES=1000 make test ARGS=tests/integration/test_producers_endurance.py` is the long form;
`--log-cli-level=info` shows the figures."""
EARLY, LATE = (0.25, 0.4), (0.85, 1.0)
"""Shares of the cycles that are compared."""
STATEMENTS = {"pg_stat_statements.max": "400"}
"""What is remembered of each statement is no leak: after some cycles there are no more of them."""
WARM = 200
"""In the first cycles caches fill: of SQLite, of schemas, of what the allocator keeps. Measured in a run of 1,000: 63 MB after 30
cycles, 71 MB after 200, 72.5 MB after 300, 73.5 MB after 500, 74.4 MB at the end."""
TOLERANCE = Held(0, memory=(6 if EARLY[0] * CYCLES >= WARM else 8) << 20, threads=10, files=10, connections=4)
"""Beside the memory: what happens to be open when a sample is taken."""
RUNS = 30
"""Less than the times that workers take jobs in a cycle."""
TABLE = "-- rows\nselect n::bigint as n from public.visits;\n"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """One that stays, and one that goes away and returns."""
    newest, other = choose_postgres(2)
    with (
        PostgresServer.start(tmp_path_factory.mktemp("quiet"), binaries=newest, settings=STATEMENTS) as quiet,
        PostgresServer.start(tmp_path_factory.mktemp("flighty"), binaries=other, settings=STATEMENTS) as flighty,
    ):
        yield quiet, flighty


@pytest.fixture
def targets(servers: tuple[PostgresServer, PostgresServer], tmp_path: Path) -> tuple[Watched, Watched]:
    quiet, flighty = (watched(server, tmp_path) for server in servers)
    with psycopg.connect(quiet.server.conninfo(quiet.dbname), autocommit=True) as connection:
        connection.execute(f"grant select on visits to {quiet.user}")
    return quiet, flighty


@contextmanager
def enduring(settings: Settings, targets: tuple[Watched, Watched], log: Path, leak: str = "") -> Iterator[Endurance]:
    """An agent with all metrics, among unrest; afterwards it stops, and leaves no connection behind."""
    folder, counts = log.parent / "metrics", log.parent / "counts"
    folder.mkdir()
    own_metric(folder, LOCKED, "instance", TABLE, [column("n", "long", "key")], send="all")
    quiet, flighty = targets
    made = with_targets(
        settings,
        quiet.target("quiet", databases=[quiet.dbname, f"{UNREST}*"], local=True),
        flighty.target("flighty", databases=[flighty.dbname]),
        preset="full",
        metrics_dir=folder,
        retry_max_s=1,
    )
    chosen = Settings.model_validate(made.model_dump() | {"metrics": {}})
    unrest = Unrest(quiet, flighty.server)
    with AgentProcess(chosen, log, prelude=hurry(counts) + leak) as agent:
        endurance = Endurance(agent, counts, [quiet.server, flighty.server])
        until(lambda: endurance.counted().cycles, 60)
        with unrest.going_on():
            yield endurance
            until(lambda: unrest.rounds >= 2, 60)
        logger.info("%s, %d rounds of unrest", endurance.counted(), unrest.rounds)
        assert endurance.counted().metrics == len(builtin_schemas()) - len(WITHOUT_READING)
        assert agent.stop() == 0
        assert agent.lines("metric cannot be read") != [], "nothing failed"
        assert agent.lines("target cannot be read") != [], "no target went away"
        assert agent.lines("crashed") == []
    until(lambda: not connections(quiet.server) + connections(flighty.server))


def compared(endurance: Endurance) -> set[str]:
    early, late = (endurance.typical(*(int(share * CYCLES) for share in window)) for window in (EARLY, LATE))
    logger.info("early %s, late %s", early, late)
    return grown(early, late, TOLERANCE)


@pytest.mark.timeout(600 + 3 * CYCLES)
def test_nothing_grows_with_the_cycles(settings: Settings, targets: tuple[Watched, Watched], log: Path) -> None:
    with enduring(settings, targets, log) as endurance:
        endurance.watch(CYCLES, 100 + 2 * CYCLES)
    assert compared(endurance) == set()


@pytest.mark.timeout(600 + 3 * CYCLES)
def test_control_what_is_not_given_back_is_noticed(settings: Settings, targets: tuple[Watched, Watched], log: Path) -> None:
    """Some kilobytes each time that a worker takes jobs; now and then a file, a connection, a thread."""
    size = int(2 * TOLERANCE.memory / ((LATE[0] - EARLY[1]) * CYCLES * RUNS))
    logger.info("%d bytes each time, %d and more a cycle", size, size * RUNS)
    with enduring(settings, targets, log, leak(size, max(1, CYCLES // 2))) as endurance:
        endurance.watch(CYCLES, 100 + 2 * CYCLES)
    assert compared(endurance) == {"memory", "threads", "files", "connections"}
