"""Other targets under a running agent: real servers, a real broker, the command as it is typed."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import psycopg

from integration.producers_feed import (
    AgentProcess,
    Arrived,
    Watched,
    assert_contiguous,
    calls_of,
    collected,
    of_metric,
    watched,
    with_targets,
)
from integration.test_health_and_status import ask
from integration.test_producers_agent import Workload, finals_of, wait_for_statements
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from waiting import until

STEADY = {"pool_max": 1, "preset": "minimal", "metrics": {"statements": {"enabled": True}}}
"""One connection, which stays, and nothing that comes seldom."""


def connections_of(target: Watched) -> set[tuple[int, object]]:
    """Of its role: process and when it began."""
    with psycopg.connect(target.server.conninfo()) as connection:
        return set(
            connection.execute("select pid, backend_start from pg_stat_activity where usename = %s", (target.user,)).fetchall()
        )


class Installation:
    """A settings file that is replaced as editors do it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.port = free_port()
        self.file = folder / "settings.toml"

    def write(self, **targets: Mapping[str, object]) -> None:
        named = [{"name": name, **target} for name, target in targets.items()]
        self.put(as_toml(with_targets(self.settings, *named, http_port=self.port)))

    def put(self, text: str) -> None:
        other = self.file.with_suffix(".new")
        other.write_text(text, encoding="utf-8")
        other.replace(self.file)

    def ready(self) -> tuple[int, str]:
        return ask(self.port, "/readyz")

    def series(self, collector: str) -> list[str]:
        """Self-metrics that tell of a collector."""
        return [line for line in ask(self.port, "/metrics")[1].splitlines() if f'collector="{collector}"' in line]


def without_a_gap(arrived: list[Arrived], collector: str) -> bool:
    """Each snapshot goes on where the one before ended, and none was long in coming: the interval is a second."""
    bodies = [one.body for one in of_metric(arrived, "statements", collector)]
    joined = all(after["since"] == before["collected_at"] for before, after in pairwise(bodies))
    longest_us = max(body["collected_at"] - body["since"] for body in bodies)
    return joined and longest_us < 6_000_000


def test_other_targets_are_taken_up_and_those_that_stay_feel_nothing(
    settings: Settings, one: Watched, postgres: PostgresServer, tmp_path: Path, log: Path
) -> None:
    here = Installation(settings, tmp_path)
    goes, moves = (watched(postgres, tmp_path) for _ in range(2))
    stays, load = one.target("stays", **STEADY), Workload(moves)
    _, before, _ = load.counted()
    here.write(stays=stays, goes=goes.target("goes", **STEADY))
    with AgentProcess(here.file, log) as agent:
        until(lambda: here.ready() == (200, "ok\n"))
        wait_for_statements(settings, collector="stays")
        held = connections_of(one)
        assert len(held) == 1

        here.write(stays=stays, goes=goes.target("goes", **STEADY), moves=moves.target("moves"))
        agent.wait_for("settings are taken up targets=3 begun=moves")
        wait_for_statements(settings, collector="moves")
        load.run(20)

        here.write(stays=stays, goes=goes.target("goes", **STEADY), moves=moves.target("moves", host="localhost"))
        agent.hang_up()
        load.run(30)
        agent.wait_for('settings are taken up targets=3 begun="" changed=moves')
        load.run(50)
        wait_for_statements(settings, collector="moves")

        here.put(here.file.read_text(encoding="utf-8")[:-40] + "\nhots = 1\n")
        agent.hang_up()
        refused = agent.wait_for("settings cannot be used; those before stay in force")
        assert str(here.file) in refused
        assert here.ready() == (503, "the settings file cannot be used: older settings are in force\n")
        assert len(here.series("goes")) > 3

        here.write(stays=stays, moves=moves.target("moves", host="localhost"))
        agent.hang_up()
        agent.wait_for('settings are taken up targets=2 begun="" changed="" ended=goes')
        until(lambda: finals_of(settings, "goes"))
        until(lambda: connections_of(goes) == set())
        assert here.ready() == (200, "ok\n")
        assert [line for line in here.series("goes") if "target_up" in line] == []
        wait_for_statements(settings, collector="stays")
        assert connections_of(one) == held

        here.write(stays={**stays, "hold_databases": 3}, moves=moves.target("moves"))
        agent.hang_up()
        wait_for_statements(settings, collector="stays")
        assert connections_of(one).isdisjoint(held), "control: one that begins anew is noticed"
        assert agent.stop() == 0
    arrived = collected(settings.kafka)
    assert len({stream.epoch for stream in assert_contiguous(arrived)}) == 3, "each has one epoch, whatever has changed"
    assert without_a_gap(arrived, "stays")
    statement, after, _ = load.counted()
    assert calls_of(of_metric(arrived, "statements", "moves"), statement) == after - before == 100
    last = of_metric(arrived, "heartbeat", "goes")[-1].body
    assert (last["final"], last["up"], last["error"]) == (True, False, "not_configured")
    assert not [line for line in agent.log if "Traceback" in line]
