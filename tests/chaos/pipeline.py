"""The services as processes, for tests that kill them. One that ends by itself is started again, and its exit code kept."""

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos import failpoints
from pganalytics.embedded.leash import Child
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.report import AuditReport

TESTS = Path(__file__).parents[1]
START_AGAIN_S = (0.2, 2.0)
AGAIN_S = 0.5
COLLECTORS = 10
STOP_S = 60.0


@dataclass(frozen=True)
class End:
    """A process that ended by itself, and the last line that it wrote."""

    name: str
    code: int
    last_line: str

    def __str__(self) -> str:
        return f"{self.name} ended with {self.code}: {self.last_line}"


class Pipeline:
    """Streams, sinks and load of one test; all die with it. Names are `streams`, `sink-b`...: the role comes first.

    `settings` by role. Any thread may call; a service is started and ended by one at a time.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Settings]) -> None:
        self.folder = folder
        self.children: dict[str, Child] = {}
        self.ended: list[End] = []
        self._settings = settings
        self._wanted: dict[str, list[str]] = {}
        self._lives: Counter[str] = Counter()
        self._due: dict[str, float] = {}
        self._lock = threading.RLock()

    def start(self, name: str, *, fault: str = "", point: tuple[str, int] | None = None) -> None:
        """A service; `fault` plants one of `integration.streams_faults`, `point` a death (`failpoints`)."""
        role = name.partition("-")[0]
        program = ["integration.streams_faults", fault] if fault else ["pganalytics.cli"]
        words = [*program, role, "--config", str(self._config(name, self._settings[role]))]
        self._start(name, words, point=point)

    def start_load(
        self,
        oracle: Path,
        *,
        seed: int,
        records: int = 0,
        rate: float = 2000.0,
        name: str = "load",
        point: tuple[str, int] | None = None,
        **oddities: object,
    ) -> None:
        """A load generator; with `records` it ends when they are sent. `oddities`: see `chaos.load`."""
        config = self._config(name, agent_settings(self._settings["agent"], name, self.folder / f"{name}-state"))
        life = seed * 1000 + self._lives[name]
        odd = json.dumps(oddities)
        words = ["chaos.load", str(oracle), str(life), str(records), str(rate), odd, "collect", "--config", str(config)]
        self._start(name, words, point=point, again=not records)

    def kill(self, name: str) -> None:
        """SIGKILL; not started again by itself."""
        with self._lock:
            self._wanted.pop(name, None)
            self.children[name].kill()

    def stop(self, name: str, timeout_s: float = STOP_S) -> int:
        """SIGTERM; the exit code."""
        with self._lock:
            self._wanted.pop(name, None)
        return self.children[name].terminate(timeout_s)

    def tend(self) -> None:
        """Start again what has ended by itself."""
        with self._lock:
            for name, program in list(self._wanted.items()):
                code = self.children[name].poll()
                if code is None:
                    continue
                if name not in self._due:
                    self.note_end(name, code)
                    self._due[name] = time.monotonic() + AGAIN_S
                elif time.monotonic() > self._due[name]:
                    self._start(name, program)

    def note_end(self, name: str, code: int) -> None:
        """It ended by itself."""
        self.ended.append(End(name, code, self.log(name).strip().rpartition("\n")[2][:300]))

    def kill_while_loading(self, victim: str, chance: random.Random, *, every_s: tuple[float, float]) -> int:
        """SIGKILL at random moments, back after a random while, until the load ends; the number of kills."""
        kills = 0
        while self.children["load"].poll() is None:
            self._pause(chance.uniform(*every_s))
            if self.children["load"].poll() is not None:
                break
            self.kill(victim)
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

    def audit_command(self) -> tuple[int, str]:
        """`pganalytics audit --deep` as anybody runs it: exit code and output."""
        log = self.folder / "audit.log"
        config = self._config("audit", self._settings["audit"])
        words = [sys.executable, "-m", "pganalytics.cli", "audit", "--deep", "--config", str(config)]
        with Child.start(words, stdout=log, name="audit") as child:
            return child.wait(300), log.read_text(encoding="utf-8")

    def log(self, name: str) -> str:
        """The end of a process's output."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def _start(self, name: str, program: list[str], *, point: tuple[str, int] | None = None, again: bool = True) -> None:
        words = failpoints.words(*point, program) if point else [sys.executable, "-m", *program]
        env = {**os.environ, "PYTHONPATH": str(TESTS)}
        with self._lock:
            self._lives[name] += 1
            if again:
                self._wanted[name] = program
            self._due.pop(name, None)
            self.children[name] = Child.start(words, env=env, stdout=self.folder / f"{name}.log", name=name)

    def _config(self, name: str, settings: Settings) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(as_toml(settings), encoding="utf-8")
        return path

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.children["load"].poll() is None:
            time.sleep(0.05)


def agent_settings(settings: Settings, name: str, state_dir: Path) -> Settings:
    """Settings of an agent with collectors of its own, which reads no server: its load generator makes the readings up."""
    chosen = settings.model_dump() | {
        "collect": settings.collect.model_dump() | {"state_dir": state_dir, "stop_timeout_s": STOP_S},
        "metrics": {"heartbeat": {"interval_s": 1}},
        "targets": [{"name": f"{name}{number}:5432", "user": "nobody"} for number in range(COLLECTORS)],
    }
    return Settings.model_validate(chosen)


@contextmanager
def pipeline(settings: Settings, folder: Path, **by_role: Settings) -> Iterator[Pipeline]:
    """A pipeline whose processes end with the block. A role that is not named has the common settings."""
    made = Pipeline(folder, dict.fromkeys(("agent", "streams", "sink", "audit"), settings) | by_role)
    try:
        yield made
    except BaseException as error:
        for name in made.children:
            error.add_note(f"--- {name}\n{made.log(name)}")
        raise
    finally:
        for child in made.children.values():
            child.terminate(20)
