"""The services as processes, for tests that kill them."""

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pganalytics.embedded.leash import Child
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.report import AuditReport

TESTS = Path(__file__).parents[1]
START_AGAIN_S = (0.2, 2.0)


class Pipeline:
    """Streams, sink and load of one test; all die with it."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        self._config = config
        self.children: dict[str, Child] = {}

    def start(self, name: str, *, fault: str = "") -> None:
        """One of the services; `fault` plants one of `integration.streams_faults`."""
        how = ["integration.streams_faults", fault] if fault else ["pganalytics.cli"]
        words = [sys.executable, "-m", *how, name, "--config", str(self._config)]
        env = {**os.environ, "PYTHONPATH": str(TESTS)}
        self.children[name] = Child.start(words, env=env, stdout=self.folder / f"{name}.log", name=name)

    def start_load(self, oracle: Path, *, seed: int, records: int) -> None:
        """The load generator."""
        words = [sys.executable, "-m", "chaos.load", str(self._config), str(oracle), str(seed), str(records)]
        env = {**os.environ, "PYTHONPATH": str(TESTS)}
        self.children["load"] = Child.start(words, env=env, stdout=self.folder / "load.log", name="load")

    def kill_while_loading(self, victim: str, chance: random.Random, *, every_s: tuple[float, float]) -> int:
        """SIGKILL at random moments, back after a random while, until the load ends; the number of kills."""
        kills = 0
        while self.children["load"].poll() is None:
            self._pause(chance.uniform(*every_s))
            if self.children["load"].poll() is not None:
                break
            self.children[victim].kill()
            kills += 1
            self._pause(chance.uniform(*START_AGAIN_S))
            self.start(victim)
        assert self.children["load"].returncode == 0, self.log("load")
        return kills

    def drained(self, settings: Settings, timeout_s: float) -> AuditReport:
        """The deep audit once nothing is under way; the last one when the time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            report = deep_audit(settings)
            if (report.total.settled and report.total.emitted) or time.monotonic() > deadline:
                return report
            time.sleep(0.5)

    def log(self, name: str) -> str:
        """The end of a process's output."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.children["load"].poll() is None:
            time.sleep(0.05)


@contextmanager
def pipeline(settings: Settings, folder: Path) -> Iterator[Pipeline]:
    """A pipeline whose processes end with the block."""
    config = folder / "settings.toml"
    config.write_text(as_toml(settings), encoding="utf-8")
    made = Pipeline(folder, config)
    try:
        yield made
    finally:
        for child in made.children.values():
            child.terminate(20)
