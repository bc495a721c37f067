"""Who may take a worker. Pure.

Three rules keep one target from hurting the others:
- targets that are new, slow or failed last time are suspects: together they hold at most a quarter of the workers (at least
  one), one job each, so a hung target cannot take all threads;
- critical jobs have a quarter of the workers to themselves;
- no target runs more jobs at once than it may have connections, and no database more than one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pganalytics.producers.schedule import JobKey

SLOW_S = 2.0
"""A reading that takes longer makes its target a suspect until one is quicker."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A due job that waits for a worker. `most_per_target`: jobs that its target may run at once."""

    key: JobKey
    critical: bool
    most_per_target: int


@dataclass(slots=True)
class Workers:
    """Which job runs and which collectors are suspects. Belongs to one thread. `isolate` is off in control tests only."""

    count: int
    isolate: bool = True
    running: dict[JobKey, Candidate] = field(default_factory=dict)
    trusted: set[str] = field(default_factory=set)

    def admit(self, waiting: Iterable[Candidate]) -> list[Candidate]:
        """Which of the waiting jobs start now; they count as running from here on. Critical ones come first."""
        started = []
        for candidate in sorted(waiting, key=lambda one: not one.critical):
            if len(self.running) >= self.count:
                break
            if self._may_run(candidate):
                self.running[candidate.key] = candidate
                started.append(candidate)
        return started

    def finished(self, key: JobKey, *, well: bool, elapsed_s: float) -> None:
        """A job ended. `well`: its target answered."""
        del self.running[key]
        if well and elapsed_s < SLOW_S:
            self.trusted.add(key.collector)
        else:
            self.trusted.discard(key.collector)

    def _may_run(self, candidate: Candidate) -> bool:
        of_target = sum(key.collector == candidate.key.collector for key in self.running)
        if of_target >= candidate.most_per_target or candidate.key in self.running:
            return False
        if candidate.key.database and any(self._same_database(key, candidate.key) for key in self.running):
            return False
        if not self.isolate:
            return True
        if candidate.key.collector not in self.trusted:
            suspects = sum(key.collector not in self.trusted for key in self.running)
            if of_target or suspects >= quarter(self.count):
                return False
        if candidate.critical or self.count == 1:
            return True
        slots = self.count - quarter(self.count)
        if slots == 1 and candidate.key.collector not in self.trusted:
            return False  # its heartbeat, which is critical, earns it trust first
        return sum(not one.critical for one in self.running.values()) < slots

    @staticmethod
    def _same_database(one: JobKey, other: JobKey) -> bool:
        return (one.collector, one.database) == (other.collector, other.database)


def quarter(count: int) -> int:
    """A quarter of the workers, at least one."""
    return max(1, count // 4)
