"""What a collector knows of its target between heartbeats, and what it counts. Shared by workers and the heartbeat's thread."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pganalytics.producers.statuses import Board

NOT_READ = "not_read"
"""Error of a target that was not tried yet."""


@dataclass(frozen=True, slots=True)
class LastReading:
    """`values`: fields of the heartbeat as the target gave them at `reading_at_us`; empty when it never answered."""

    up: bool
    error: str
    reading_at_us: int | None
    values: Mapping[str, Any]


class TargetState:
    """The last reading and the counts of one collector since its epoch began, and its board of what cannot be read.

    Any thread may use it.
    """

    def __init__(self, error: str = NOT_READ) -> None:
        self._lock = threading.Lock()
        self._last = LastReading(False, error, None, {})
        self._counts: Counter[str] = Counter()
        self.board = Board()

    def answered(self, at_us: int, values: Mapping[str, Any]) -> None:
        """The target was read for its heartbeat."""
        with self._lock:
            self._last = LastReading(True, "", at_us, values)

    def failed(self, kind: str) -> None:
        """The target as a whole did not answer; what it said last stays, with its age."""
        with self._lock:
            self._last = LastReading(False, kind, self._last.reading_at_us, self._last.values)

    def count(self, name: str) -> None:
        """One more of `name`, for example skipped.running."""
        with self._lock:
            self._counts[name] += 1

    def seen(self) -> tuple[LastReading, dict[str, int]]:
        """The last reading, and the counts by name."""
        with self._lock:
            return self._last, dict(sorted(self._counts.items()))
