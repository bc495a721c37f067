"""What of a target cannot be read, why, and what to do: the metric `metric_status`. Pure, but for the lock of the board.

Sent when it changes, and once a day while there is anything: an empty snapshot tells that all is readable again.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pganalytics.producers.results import Collected, Failed, Kind, Outcome, Unavailable
from pganalytics.schemas.codec import elide
from pganalytics.schemas.metric import MetricSchema

METRIC_STATUS = "metric_status"
AGAIN_US = 86_400_000_000
NOT_TOLD = frozenset({"stopping", "reset_while_reading"})
"""Failures that are over with the next reading, or with the agent."""
Place = tuple[str, str]
"""Metric and database; the database is empty for metrics of instance scope, the metric for a database as a whole."""


@dataclass(frozen=True, slots=True)
class Status:
    """Why a metric is not read. `kind`: what is missing, or the kind of the failure."""

    kind: str
    reason: str
    cure: str


def status_of(outcome: Outcome) -> Status | None:
    """None: it was read."""
    if isinstance(outcome, Unavailable):
        return Status(outcome.kind.value, outcome.reason, outcome.cure)
    if isinstance(outcome, Failed):
        return Status(outcome.kind, outcome.reason, outcome.cure)
    return None


def is_telling(outcome: Outcome) -> bool:
    """Whether the outcome says anything about what can be read; that a target is down is the heartbeat's to tell."""
    if isinstance(outcome, Failed):
        return not outcome.of_target and outcome.kind not in NOT_TOLD
    return isinstance(outcome, Collected | Unavailable)


class Board:
    """The statuses of one collector. Any thread may note; one asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: dict[Place, tuple[Status, int]] = {}
        self._sent: dict[Place, Status] = {}
        self._sent_at = 0

    def note(self, place: Place, status: Status | None, now_us: int) -> None:
        """A reading came to its end; None when it went well."""
        with self._lock:
            before = self._statuses.get(place)
            if status is None:
                self._statuses.pop(place, None)
            elif before is None or before[0] != status:
                self._statuses[place] = status, now_us

    def unreadable(self) -> int:
        """How many cannot be read, but for what the server's version does not have."""
        with self._lock:
            return sum(status.kind != Kind.VERSION for status, _ in self._statuses.values())

    def keep_databases(self, unavailable: Mapping[str, Status], databases: frozenset[str], now_us: int) -> None:
        """The databases as they were found: what is noted of others goes, those that cannot be connected to are noted."""
        with self._lock:
            self._statuses = {
                place: noted for place, noted in self._statuses.items() if place[0] and (not place[1] or place[1] in databases)
            }
        for name, status in unavailable.items():
            self.note(("", name), status, now_us)

    def keep_metrics(self, metrics: Collection[str]) -> None:
        """These are read from now on: what is noted of others goes."""
        with self._lock:
            self._statuses = {place: noted for place, noted in self._statuses.items() if not place[0] or place[0] in metrics}

    def to_send(self, now_us: int) -> list[tuple[Place, Status, int]] | None:
        """All statuses with their beginnings, when they differ from what was sent or a day has passed; else None."""
        with self._lock:
            current = {place: status for place, (status, _) in self._statuses.items()}
            is_old = bool(current) and not 0 <= now_us - self._sent_at < AGAIN_US
            if current == self._sent and not is_old:
                return None
            return [(place, status, since) for place, (status, since) in sorted(self._statuses.items())]

    def was_sent(self, rows: Sequence[tuple[Place, Status, int]], now_us: int) -> None:
        """The spool has them."""
        with self._lock:
            self._sent = {place: status for place, status, _ in rows}
            self._sent_at = now_us


def status_values(schema: MetricSchema, databases: int, rows: Sequence[tuple[Place, Status, int]], now_us: int) -> dict[str, Any]:
    """The fields of a record, for the number of databases that are read."""
    columns: dict[str, list[Any]] = {
        "metric": [place[0] for place, _, _ in rows],
        "database": [place[1] for place, _, _ in rows],
        "kind": [status.kind for _, status, _ in rows],
        "reason": [status.reason for _, status, _ in rows],
        "cure": [status.cure for _, status, _ in rows],
        "noticed_at": [since for _, _, since in rows],
    }
    common = {"collected_at": now_us, "since": now_us, "part": 1, "parts": 1, "databases": databases}
    return common | elide(schema.groups["rows"], columns)
