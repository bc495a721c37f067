"""The demo starts a watched server again that somebody stopped, once the pipeline has shown it as down."""

from dataclasses import dataclass
from typing import Any

import pytest

from pganalytics.cli.demo.targets import PATIENCE_S, SHOWN_S, TargetTender
from pganalytics.embedded.errors import PortInUse


@dataclass
class Server:
    """Starts unless its port is taken."""

    is_running: bool = True
    taken: bool = False

    def start_again(self) -> None:
        if self.taken:
            raise PortInUse(1)
        self.is_running = True


@dataclass
class Target:
    name: str
    server: Server


@pytest.fixture
def pair() -> list[Any]:
    return [Target("db1", Server()), Target("db2", Server())]


def test_nothing_is_told_of_servers_that_run(pair: list[Any]) -> None:
    assert TargetTender(pair).tend(0, ["db2"]) == [], "it hangs, perhaps: that is not ours to end"


def test_it_stays_down_until_that_is_shown_and_a_while_longer(pair: list[Any]) -> None:
    tender = TargetTender(pair)
    pair[1].server.is_running = False
    assert tender.tend(0, []) == ["db2 has ended, not by the demo; the others are watched as before"]
    assert tender.tend(1, []) == []
    assert tender.tend(2, ["db2"]) == [f"db2 is down, its heartbeats say; it is started again in {SHOWN_S:.0f} s"]
    assert tender.tend(1.9 + SHOWN_S, ["db2"]) == []
    assert not pair[1].server.is_running
    assert tender.tend(2 + SHOWN_S, ["db2"]) == ["db2 runs again"]
    assert pair[1].server.is_running
    assert tender.tend(3 + SHOWN_S, ["db2"]) == [], "the newest heartbeat may be an old one"
    pair[1].server.is_running = False
    assert len(tender.tend(50, [])) == 1, "each time anew"


def test_it_is_started_in_the_end_when_nobody_shows_it(pair: list[Any]) -> None:
    tender = TargetTender(pair)
    pair[0].server.is_running = False
    tender.tend(0, [])
    assert tender.tend(PATIENCE_S - 0.1, []) == []
    assert tender.tend(PATIENCE_S, []) == ["db1 runs again"]


def test_what_keeps_it_from_starting_is_told_once(pair: list[Any]) -> None:
    """As when somebody has started a server of his own there."""
    tender = TargetTender(pair)
    pair[0].server = Server(is_running=False, taken=True)
    tender.tend(0, ["db1"])
    tender.tend(1, ["db1"])
    (line,) = tender.tend(1 + SHOWN_S, [])
    assert line.startswith("db1 cannot be started again: ")
    assert tender.tend(1 + SHOWN_S + PATIENCE_S, []) == []
    pair[0].server.taken = False
    assert tender.tend(1 + SHOWN_S + 2 * PATIENCE_S, []) == ["db1 runs again"]
