"""Who may take a worker. Pure.

Four rules keep one target from hurting the others:
- a target that is new, or failed last time, gets no worker before it is known that somebody answers at its address;
- targets that were slow or failed last time are suspects: together they hold at most a quarter of the workers (at least one);
  targets that are new and suspects together leave a quarter to those that are proven; one job each, so none takes all threads;
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
    """A due job that waits for a worker. `most_per_target`: jobs that its target may run at once; `asks`: it has to answer."""

    key: JobKey
    critical: bool
    most_per_target: int
    asks: bool = True


@dataclass(slots=True)
class Workers:
    """Which job runs and what is known of collectors' targets. Belongs to one thread. `isolate` is off in control tests only.

    `trusted` were read well last time, `suspects` were not; who is in neither is new. `answering`: somebody is there.
    """

    count: int
    isolate: bool = True
    running: dict[JobKey, Candidate] = field(default_factory=dict)
    trusted: set[str] = field(default_factory=set)
    suspects: set[str] = field(default_factory=set)
    answering: set[str] = field(default_factory=set)
    _asked: set[str] = field(default_factory=set)

    def to_ask(self, waiting: Iterable[Candidate]) -> list[JobKey]:
        """A job of each target of which somebody must find out now whether it answers, and then call `heard`."""
        known = self.answering | self._asked
        unknown = {one.key.collector: one.key for one in waiting if self.isolate and one.asks and one.key.collector not in known}
        self._asked |= set(unknown)
        return list(unknown.values())

    def heard(self, collector: str, *, answers: bool) -> None:
        """Somebody is there or not, as far as can be told before anything is asked."""
        self._asked.discard(collector)
        if answers:
            self.answering.add(collector)
        else:
            self.suspects.add(collector)

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

    def finished(self, key: JobKey, *, well: bool | None, elapsed_s: float) -> None:
        """A job ended. `well`: its target answered; None when that was not tried."""
        del self.running[key]
        if well is None:
            return
        quick = well and elapsed_s < SLOW_S
        for names, is_one in ((self.trusted, quick), (self.suspects, not quick), (self.answering, well)):
            (names.add if is_one else names.discard)(key.collector)

    def _may_run(self, candidate: Candidate) -> bool:
        collector = candidate.key.collector
        of_target = sum(key.collector == collector for key in self.running)
        if of_target >= candidate.most_per_target or candidate.key in self.running:
            return False
        if candidate.key.database and any(self._same_database(key, candidate.key) for key in self.running):
            return False
        if not self.isolate:
            return True
        if (
            candidate.asks
            and collector not in self.trusted
            and (of_target or collector not in self.answering or not self._has_room(candidate))
        ):
            return False
        normal = sum(not one.critical for one in self.running.values())
        return candidate.critical or self.count == 1 or normal < self.count - quarter(self.count)

    def _has_room(self, candidate: Candidate) -> bool:
        """Whether enough workers would be left to those that are proven; of two, their critical jobs have to earn trust first."""
        unproven = [one for one in self.running.values() if one.key.collector not in self.trusted]
        suspects = sum(one.key.collector in self.suspects for one in unproven)
        if candidate.key.collector in self.suspects and suspects >= quarter(self.count):
            return False
        if self.count == 1:
            return True
        room = self.count - quarter(self.count)
        return len(unproven) < room and (
            candidate.critical or sum(not one.critical for one in unproven) < room - quarter(self.count)
        )

    @staticmethod
    def _same_database(one: JobKey, other: JobKey) -> bool:
        return (one.collector, one.database) == (other.collector, other.database)


def quarter(count: int) -> int:
    """A quarter of the workers, at least one."""
    return max(1, count // 4)
