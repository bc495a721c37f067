"""What `check` finds: lines with a level, and what mends them. Values only."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pganalytics.producers.server_look import ServerLook


class Level(StrEnum):
    """`missing`: a metric that is wanted cannot be read; `warning`: it can, and something is worth mending."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `subject`: a metric, or what else it is about; `databases`: where it was found, none for the server as a whole.

    `cure`: what to do, in words; `paste`: lines for psql, empty when there are none. `took_s`: seconds that the reading took, the
    longest of several databases; None when nothing was read.
    """

    level: Level
    subject: str
    reason: str = ""
    cure: str = ""
    paste: str = ""
    databases: tuple[str, ...] = ()
    took_s: float | None = None


@dataclass(frozen=True, slots=True)
class TargetReport:
    """One target. Where it was not `reached`, `metrics` says why. `look` is None when its settings could not be read.

    `records_per_minute`: at most; `busy_share`: workers that its readings keep busy.
    """

    collector: str
    host: str
    port: int
    databases: int
    reached: bool
    look: ServerLook | None
    verified: bool
    metrics: Sequence[Finding]
    hints: Sequence[Finding]
    records_per_minute: float
    busy_share: float

    @property
    def findings(self) -> list[Finding]:
        """All lines."""
        return [*self.metrics, *self.hints]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All targets, and what concerns them together."""

    targets: Sequence[TargetReport]
    fleet: Sequence[Finding]

    @property
    def missing(self) -> int:
        """How many lines say that something is missing."""
        findings = [finding for target in self.targets for finding in target.findings]
        return sum(finding.level is Level.MISSING for finding in (*findings, *self.fleet))

    @property
    def unreachable(self) -> int:
        """How many targets could not be reached."""
        return sum(not target.reached for target in self.targets)
