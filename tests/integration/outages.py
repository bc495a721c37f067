"""Services as processes, a load, and what a service costs while something that it needs is away."""

import os
import random
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from integration.sink_feed import Feed, Store, heartbeat, record
from pganalytics.embedded.leash import Child
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.schemas.identity import Lane
from pganalytics.sink.deep_audit import deep_audit
from waiting import until

TESTS = Path(__file__).parents[1]


class Services:
    """Services of one installation, each `pganalytics NAME` with a log of its own."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.folder = folder
        self.children: dict[str, Child] = {}
        self._config = folder / "settings.toml"
        self._config.write_text(as_toml(settings), encoding="utf-8")

    def start(self, name: str, *, fault: str = "") -> None:
        """`fault` plants one of `integration.sink_faults`, `integration.streams_faults`."""
        how = [f"integration.{name}_faults", fault] if fault else ["pganalytics.cli"]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PGANALYTICS_", "KAFKA_"))}
        words = [sys.executable, "-m", *how, name, "--config", str(self._config)]
        env = {**kept, "PYTHONPATH": str(TESTS)}
        self.children[name] = Child.start(words, env=env, stdout=self.folder / f"{name}.log", name=name)

    def log(self, name: str) -> str:
        """The end of its log."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-3000:]


@contextmanager
def running(settings: Settings, folder: Path) -> Iterator[Services]:
    """Services that end with the block."""
    services = Services(settings, folder)
    try:
        yield services
    finally:
        for child in services.children.values():
            child.kill()


class Load:
    """Records of a few collectors, one after the other, until it is stopped; heartbeats that count them at the end."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._feed = Feed(settings)
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent: dict[str, int] = {f"c{number}": 0 for number in range(8)}

    @property
    def count(self) -> int:
        return sum(self.sent.values())

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            name = self._random.choice(list(self.sent))
            upto = self.sent[name] + self._random.randint(1, 30)
            records = [record(name, seq) for seq in range(self.sent[name] + 1, upto + 1)]
            self._feed.admit(*records, *self._random.sample(records, len(records) // 4))
            self.sent[name] = upto

    @contextmanager
    def running(self) -> Iterator["Load"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(60)
            beats = [heartbeat(name, 1, {Lane.NORMAL: highest}) for name, highest in self.sent.items()]
            self._feed.admit(*beats, lane=Lane.CRITICAL)


def settled(settings: Settings, load: Load) -> None:
    """Everything that was sent is stored, once."""
    stored = Store(settings)
    until(lambda: stored.stored() == load.count + len(load.sent), timeout_s=60, what="all stored")
    report = deep_audit(settings)
    assert report.ok, report.to_json()
    assert report.total.emitted == report.total.stored == load.count + len(load.sent)
    assert stored.one("select count(*) from metrics.database") == load.count


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Log:
    """The lines that a process wrote since `mark`, or since its start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0

    def mark(self) -> None:
        """Count from here on."""
        self._seen = len(self._all())

    def lines(self, pattern: str = "") -> list[str]:
        """Those that a pattern is found in."""
        return [line for line in self._all()[self._seen :] if re.search(pattern, line)]

    def _all(self) -> list[str]:
        return self._path.read_text(encoding="utf-8", errors="replace").splitlines() if self._path.exists() else []
