"""All of compose.yaml on a Docker engine: `make compose-test`. Not a part of `make test`, for most machines have no engine.

It runs under a project name and on ports of its own, and is taken down with its volumes.
"""

import base64
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compose.compose_model import COMPOSE, VARIABLE, load_compose
from compose.dashboards import NAMES, Panel, load_dashboard, panels
from pganalytics.embedded.ports import free_port
from waiting import until

pytestmark = pytest.mark.timeout(1800)
PROJECT = "pganalytics-test"
FILE = load_compose()
STORED = [panel for name in NAMES for panel in panels(name) if panel.queries[0].source == "store"]
QUIET = {"Dead letters by reason", "Events", "What was changed"}
"""Panels that a stack in which nothing went wrong does not fill."""


class Stack:
    """What was started; commands to it."""

    def __init__(self) -> None:
        text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
        self.ports = {name: free_port() for name, _ in dict.fromkeys(VARIABLE.findall(text))}
        self._environment = os.environ | {name: str(port) for name, port in self.ports.items()}

    def compose(self, *words: str, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """docker compose with these words."""
        command = ["docker", "compose", "--project-name", PROJECT, "--file", str(COMPOSE / "compose.yaml"), *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=timeout_s, check=False)

    def states(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each container."""
        lines = self.compose("ps", "--all", "--format", "json").stdout.splitlines()
        return {one["Service"]: one for one in map(json.loads, lines)}

    def inside(self, service: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command in a container."""
        return self.compose("exec", "--no-TTY", service, *words)

    def volumes(self, service: str) -> list[str]:
        """Names of the volumes that its container has."""
        told = self.compose("ps", "--all", "--quiet", service).stdout.split()
        asked = ["docker", "inspect", "--format", "{{json .Mounts}}", *told]
        mounts = json.loads(subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout)
        return [one["Name"] for one in mounts if one["Type"] == "volume"]

    def grafana(self, path: str, body: object = None) -> Any:
        """Its HTTP API, as the administrator."""
        word = (COMPOSE / "secrets/grafana_admin").read_text(encoding="utf-8")
        headers = {"Authorization": "Basic " + base64.b64encode(f"admin:{word}".encode()).decode()}
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.ports['GRAFANA_PORT']}{path}"
        request = urllib.request.Request(url, data, headers | {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def prometheus(self, path: str) -> Any:
        """Its HTTP API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}{path}", timeout=30) as answer:
            return json.load(answer)["data"]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Built and started as compose/README.md says."""
    made = Stack()
    subprocess.run([COMPOSE / "passwords"], check=True, timeout=60)
    try:
        done = made.compose("up", "--build", "--detach", timeout_s=1500)
        assert done.returncode == 0, done.stderr
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", timeout_s=180)


def test_the_engine_reads_the_file_as_the_model_does(stack: Stack) -> None:
    config = json.loads(stack.compose("config", "--format", "json").stdout)
    assert set(config["services"]) == set(FILE.services)
    assert {name: one["image"] for name, one in config["services"].items()} == {
        name: one.image for name, one in FILE.services.items()
    }


def test_everything_runs_and_is_healthy(stack: Stack) -> None:
    asked = {name for name, one in FILE.services.items() if name not in ("setup", "workload")}
    until(lambda: {name for name, one in stack.states().items() if one["Health"] == "healthy"} == asked, 300, every_s=2)
    states = stack.states()
    assert (states["setup"]["State"], states["setup"]["ExitCode"]) == ("exited", 0)
    assert states["workload"]["State"] == "running"


def test_only_this_machine_is_listened_to(stack: Stack) -> None:
    published = [one for state in stack.states().values() for one in state["Publishers"] or () if one["PublishedPort"]]
    assert {one["PublishedPort"] for one in published} == set(stack.ports.values())
    assert {one["URL"] for one in published} == {"127.0.0.1"}


def test_what_is_kept_has_a_name(stack: Stack) -> None:
    """`down` leaves volumes without a name, and nobody finds them again."""
    named = [volume for name in FILE.services for volume in stack.volumes(name)]
    assert sorted(named) == sorted(f"{PROJECT}_{name}" for name in FILE.volumes)


def test_what_is_emitted_is_stored(stack: Stack) -> None:
    def stored() -> bool:
        told = stack.inside("sink", "pganalytics", "audit", "--json").stdout
        return bool(told) and json.loads(told)["total"]["stored"] > 100

    until(stored, 180, every_s=3)
    assert stack.inside("sink", "pganalytics", "audit", "--deep").returncode == 0
    assert stack.inside("collect", "pganalytics", "check", "--json").stdout


def test_a_service_has_no_rights_and_writes_nowhere_else(stack: Stack) -> None:
    assert stack.inside("collect", "id", "-u").stdout.strip() == "10001"
    assert stack.inside("collect", "touch", "/opt/pganalytics/x").returncode != 0
    assert stack.inside("collect", "touch", "/var/lib/pganalytics/x").returncode == 0


@pytest.mark.parametrize("name", ["streams", "sink", "collect"])
def test_a_service_that_starts_can_be_told_to_stop(stack: Stack, name: str) -> None:
    """At any moment of its start; who has to be killed has taken `stop_grace_period`."""
    assert stack.compose("restart", name).returncode == 0
    began_s = time.monotonic()
    assert stack.compose("stop", name).returncode == 0
    assert time.monotonic() - began_s < 15
    assert stack.states()[name]["ExitCode"] != 137
    assert stack.compose("start", name).returncode == 0


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("sink", "kill", "wrong sink: no process runs"),
        ("kafka", "stop", "no broker answers"),
        ("db16", "stop", "wrong db16: the target does not answer"),
    ],
)
def test_what_is_broken_is_named_and_heals(stack: Stack, name: str, how: str, words: str) -> None:
    """As compose/README.md invites people to do."""

    def said() -> str:
        return stack.compose("run", "--rm", "--no-deps", "--no-TTY", "sink", "status").stdout

    until(lambda: "all well" in said(), 120, every_s=2)
    assert stack.compose(how, name).returncode == 0
    until(lambda: words in said(), 120, every_s=2, what=words)
    assert stack.compose("start", name).returncode == 0
    until(lambda: "all well" in said(), 120, every_s=2)
    assert stack.inside("sink", "pganalytics", "audit", "--deep").returncode == 0


def test_prometheus_reaches_all_and_takes_the_rules(stack: Stack) -> None:
    until(lambda: all(one["health"] == "up" for one in stack.prometheus("/api/v1/targets")["activeTargets"]), 60, every_s=2)
    assert len(stack.prometheus("/api/v1/targets")["activeTargets"]) == 3
    rules = [rule for group in stack.prometheus("/api/v1/rules")["groups"] for rule in group["rules"]]
    assert rules
    assert {rule.get("lastError", "") for rule in rules} == {""}


@pytest.mark.parametrize("name", NAMES)
def test_grafana_has_the_dashboards(stack: Stack, name: str) -> None:
    uid = load_dashboard(name)["uid"]
    until(lambda: any(one["uid"] == uid for one in stack.grafana("/api/search?type=dash-db")), 60, every_s=2)
    assert stack.grafana(f"/api/dashboards/uid/{uid}")["dashboard"]["panels"]


@pytest.mark.parametrize("panel", [one for one in STORED if one.title not in QUIET], ids=lambda panel: panel.id)
def test_grafana_runs_the_queries(stack: Stack, panel: Panel) -> None:
    """By Grafana's own macros; the target is what its page would have put in."""
    now = datetime.now(UTC)
    times = [str(int(moment.timestamp() * 1000)) for moment in (now - timedelta(minutes=15), now)]
    texts = {target["refId"]: target for target in panel.raw["targets"]}

    def shown() -> bool:
        for target in ("db16", "db14", "db18"):
            queries = [
                one | {"rawSql": one["rawSql"].replace("${target:sqlstring}", f"'{target}'").replace("$__interval", "15s")}
                for one in texts.values()
            ]
            body = {"queries": queries, "from": times[0], "to": str(int(datetime.now(UTC).timestamp() * 1000))}
            results = stack.grafana("/api/ds/query", body)["results"]
            if all(
                any(frame["data"]["values"] and frame["data"]["values"][0] for frame in one["frames"]) for one in results.values()
            ):
                return True
        return False

    until(shown, 120, every_s=3)
