"""Who may take a worker. Pure: `now` is an argument, in seconds of any clock that does not go back.

What keeps one target from hurting the others:
- a target that is new, or failed last time, gets no worker before it is known that somebody answers at its address;
- targets that were slow or failed last time are suspects: together they hold at most a quarter of the workers (at least one);
  targets that are new and suspects together leave a quarter to those that are proven; one job each;
- a reading that is overdue, by what it took last time, leaves its place to a stand-in, of which there are as many as workers;
  its target begins nothing else meanwhile. While half of the stand-ins are busy, everybody has to answer at the door first;
- critical jobs have a quarter of the workers to themselves;
- no target runs more jobs at once than it may have connections, and no database more than one.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

from pganalytics.producers.schedule import JobKey

SLOW_S = 2.0
"""A reading that takes longer makes its target a suspect until one is quicker."""


PATIENCE_S = 0.2
FIRST_S = 1.0
"""A reading is overdue after twice the time that it took last, at least PATIENCE_S; the first one after FIRST_S."""
FRESH_S = 1.0
"""While half of the stand-ins are busy: for how long it counts that a target has answered."""


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

    `trusted` were read well last time, `suspects` were not; who is in neither is new. `answered`: when it was known last that
    somebody is there; who is not in it has to be asked. `began`: when each running job started; `took_s`: by collector
    and metric, how long the last one ran that went well.
    """

    count: int
    isolate: bool = True
    running: dict[JobKey, Candidate] = field(default_factory=dict)
    began: dict[JobKey, float] = field(default_factory=dict)
    trusted: set[str] = field(default_factory=set)
    suspects: set[str] = field(default_factory=set)
    answered: dict[str, float] = field(default_factory=dict)
    took_s: dict[tuple[str, str], float] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _doubted: set[JobKey] = field(default_factory=set)

    @property
    def threads(self) -> int:
        """How many jobs may run at once, stand-ins included."""
        return self.count * (2 if self.isolate else 1)

    def to_ask(self, waiting: Iterable[Candidate], now: float) -> list[JobKey]:
        """A job of each target of which somebody must find out now whether it answers, and then call `heard`."""
        if not self.isolate:
            return []
        there = partial(self._is_there, now=now, is_scarce=self._is_scarce(now))
        wanted = {one.key.collector: one.key for one in waiting if one.asks and one.key.collector not in self._asked}
        unknown = {collector: key for collector, key in wanted.items() if not there(collector)}
        self._asked |= set(unknown)
        return list(unknown.values())

    def heard(self, collector: str, now: float, *, answers: bool) -> None:
        """Somebody is there or not, as far as can be told before anything is asked."""
        self._asked.discard(collector)
        if answers:
            self.answered[collector] = now
        else:
            self._judge(collector, is_well=False)
            self.answered.pop(collector, None)

    def admit(self, waiting: Iterable[Candidate], now: float) -> list[Candidate]:
        """Which of the waiting jobs start now; they count as running from here on. Critical ones come first."""
        started: list[Candidate] = []
        replaced = self._replaced(now)
        in_place = [one for key, one in self.running.items() if key not in replaced]
        there = partial(self._is_there, now=now, is_scarce=self._is_scarce(now))
        for candidate in sorted(waiting, key=lambda one: not one.critical):
            if len(in_place) >= self.count:
                break
            if self._may_run(candidate, now) and (not self.isolate or self._is_safe(candidate, in_place, there)):
                self.running[candidate.key] = candidate
                self.began[candidate.key] = now
                if candidate.key.collector in self.suspects:
                    self._doubted.add(candidate.key)
                in_place.append(candidate)
                started.append(candidate)
        return started

    def moved(self, key: JobKey, at: float) -> None:
        """A running job has come to the next of several databases, each of which has the time of a reading."""
        if key in self.began:
            self.began[key] = at

    def finished(self, key: JobKey, now: float, *, well: bool | None, elapsed_s: float) -> None:
        """A job ended. `well`: its target answered; None when that was not tried."""
        began = self.began.pop(key)
        del self.running[key]
        self._doubted.discard(key)
        if well is None:
            return
        self._judge(key.collector, is_well=well and elapsed_s < SLOW_S)
        if well:
            self.answered[key.collector] = now
            self.took_s[key.collector, key.metric] = now - began
        else:
            self.answered.pop(key.collector, None)

    def forget(self, collector: str) -> None:
        """Nothing of it runs; should it come again it is new."""
        self.trusted.discard(collector)
        self.suspects.discard(collector)
        self._asked.discard(collector)
        self.answered.pop(collector, None)
        for place in [place for place in self.took_s if place[0] == collector]:
            del self.took_s[place]

    def _judge(self, collector: str, *, is_well: bool) -> None:
        (self.trusted if is_well else self.suspects).add(collector)
        (self.suspects if is_well else self.trusted).discard(collector)

    def _replaced(self, now: float) -> list[JobKey]:
        """Running jobs whose places are taken by stand-ins; those that began as a suspect's never."""
        if not self.isolate:
            return []
        overdue = [key for key in self.running if key not in self._doubted and self._is_overdue(key, now)]
        return overdue[: self.count]

    def _is_overdue(self, key: JobKey, now: float) -> bool:
        took_s = self.took_s.get((key.collector, key.metric))
        return now - self.began[key] > (FIRST_S if took_s is None else max(PATIENCE_S, 2 * took_s))

    def _is_scarce(self, now: float) -> bool:
        return 2 * len(self._replaced(now)) >= self.count

    def _is_there(self, collector: str, *, now: float, is_scarce: bool) -> bool:
        at = self.answered.get(collector)
        return at is not None and (not is_scarce or now - at < FRESH_S)

    def _may_run(self, candidate: Candidate, now: float) -> bool:
        """Whether its target's other jobs let it."""
        of_target = [key for key in self.running if key.collector == candidate.key.collector]
        if len(of_target) >= candidate.most_per_target or candidate.key in of_target:
            return False
        if candidate.key.database and any(key.database == candidate.key.database for key in of_target):
            return False
        if not self.isolate or not of_target:
            return True
        is_proven = candidate.key.collector in self.trusted or not candidate.asks
        return is_proven and not any(self._is_overdue(key, now) for key in of_target)

    def _is_safe(self, candidate: Candidate, in_place: Collection[Candidate], there: Callable[[str], bool]) -> bool:
        """Whether enough workers are left for others should it hang."""
        if candidate.asks and not there(candidate.key.collector):
            return False
        if candidate.asks and candidate.key.collector not in self.trusted and not self._has_room(candidate, in_place):
            return False
        normal = sum(not one.critical for one in in_place)
        return candidate.critical or self.count == 1 or normal < self.count - quarter(self.count)

    def _has_room(self, candidate: Candidate, in_place: Collection[Candidate]) -> bool:
        """Whether enough workers would be left to those that are proven; of two, their critical jobs have to earn trust first."""
        unproven = [one for one in in_place if one.key.collector not in self.trusted]
        suspects = sum(one.key.collector in self.suspects for one in unproven)
        if candidate.key.collector in self.suspects and suspects >= quarter(self.count):
            return False
        if self.count == 1:
            return True
        room = self.count - quarter(self.count)
        normal = sum(not one.critical for one in unproven)
        return len(unproven) < room and (candidate.critical or normal < room - quarter(self.count))


def quarter(count: int) -> int:
    """A quarter of the workers, at least one."""
    return max(1, count // 4)
