"""What a collector knows of its target between heartbeats, and what it counts. Shared by workers and the heartbeat's thread."""

import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pganalytics.producers.statuses import Board, Place

NOT_READ = "not_read"
"""Error of a target that was not tried yet."""
NOT_CONFIGURED = "not_configured"
"""Error of a collector that the settings do not name: only the spool knows it."""


@dataclass(frozen=True, slots=True)
class LastReading:
    """`values`: fields of the heartbeat as the target gave them at `reading_at_us`; empty when it never answered."""

    up: bool
    error: str
    reading_at_us: int | None
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Risks:
    """What the last readings said of things that go wrong slowly. `coverage`: by metric, the least of its databases; metrics
    that rank nothing have none. `slots_at_risk`: None while the metric was not read."""

    coverage: Mapping[str, float]
    slots_at_risk: int | None


class TargetState:
    """The last reading and the counts of one collector since its epoch began, and its board of what cannot be read.

    Any thread may use it.
    """

    def __init__(self, error: str = NOT_READ) -> None:
        self._lock = threading.Lock()
        self._last = LastReading(False, error, None, {})
        self._counts: Counter[str] = Counter()
        self._coverage: dict[Place, float] = {}
        self._slots_at_risk: int | None = None
        self.board = Board()

    def answered(self, at_us: int, values: Mapping[str, Any]) -> None:
        """The target was read for its heartbeat."""
        with self._lock:
            self._last = LastReading(True, "", at_us, values)

    def failed(self, kind: str) -> None:
        """The target as a whole did not answer; what it said last stays, with its age."""
        with self._lock:
            self._last = LastReading(False, kind, self._last.reading_at_us, self._last.values)

    def begin_anew(self, metrics: Collection[str], *, elsewhere: bool) -> None:
        """Other settings: these metrics are read from now on, `elsewhere` of another server. What was counted stays."""
        with self._lock:
            if elsewhere:
                self._last = LastReading(False, NOT_READ, None, {})
            self._coverage = {}
            self._slots_at_risk = None
        self.board.keep_metrics(metrics)

    def count(self, name: str) -> None:
        """One more of `name`, for example skipped.running."""
        with self._lock:
            self._counts[name] += 1

    def note_coverage(self, place: Place, share: float) -> None:
        """A snapshot of a metric that ranks its rows was spooled."""
        with self._lock:
            self._coverage[place] = share

    def note_slots(self, at_risk: int) -> None:
        """The replication slots were read."""
        with self._lock:
            self._slots_at_risk = at_risk

    def risks(self) -> Risks:
        """As they were last read."""
        with self._lock:
            coverage: dict[str, float] = {}
            for (metric, _), share in self._coverage.items():
                coverage[metric] = min(share, coverage.get(metric, share))
            return Risks(coverage, self._slots_at_risk)

    def seen(self) -> tuple[LastReading, dict[str, int]]:
        """The last reading, and the counts by name."""
        with self._lock:
            return self._last, dict(sorted(self._counts.items()))
