"""When jobs are due. Pure: `now` is an argument, in seconds of any clock that does not go back.

Phases come from a hash, so that a fleet never fires at once and a restart does not move them. Databases of one server come in
groups: a worker reads those of a group one after the other, which costs less than to begin for each of them. A job that was
missed (the machine slept) runs once and goes on from now, not once per missed interval. Intervals may be stretched; what they are
without it is not forgotten.
"""

import hashlib
import heapq
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

FIRST_WITHIN_S = 3.0
"""The first runs of all jobs are spread over this time, or over the interval when that is shorter."""
GROUP = 12
"""Databases of one server that are due together, on average, where it has more."""


class JobKey(NamedTuple):
    """One metric of one collector; of a metric of database scope, in one database."""

    collector: str
    metric: str
    database: str = ""


@dataclass(slots=True)
class Schedule:
    """A heap of (due time, job). Belongs to one thread."""

    intervals: dict[JobKey, float] = field(default_factory=dict)
    _factors: dict[JobKey, float] = field(default_factory=dict)
    _never_ran: set[JobKey] = field(default_factory=set)
    _heap: list[tuple[float, JobKey]] = field(default_factory=list)

    @classmethod
    def starting(cls, jobs: Iterable[tuple[JobKey, float]], now: float) -> "Schedule":
        """All jobs with their intervals in seconds, the first run of each soon after `now`."""
        schedule = cls()
        schedule.begin(jobs, now)
        return schedule

    def begin(self, jobs: Iterable[tuple[JobKey, float]], now: float) -> None:
        """Further jobs, the first run of each soon after `now`."""
        for key, interval_s in jobs:
            self.intervals[key] = interval_s
            self._never_ran.add(key)
            heapq.heappush(self._heap, (now + phase(key) * min(interval_s, FIRST_WITHIN_S), key))

    def add(self, jobs: Collection[tuple[JobKey, float]], now: float, *, databases: int = 1) -> None:
        """Further jobs, which run first within their interval, each at its phase. `databases`: how many their server has.

        What has a multiple of the shortest interval of its database is due at times at which that one is due as well.
        """
        turns: dict[tuple[str, str], float] = {}
        for key, interval_s in jobs:
            place = key.collector, key.database
            turns[place] = min(interval_s, turns.get(place, interval_s))
        for key, interval_s in jobs:
            self.intervals[key] = interval_s
            self._never_ran.add(key)
            share, turn_s = phase(key, databases), turns[key.collector, key.database]
            if key.database and (interval_s / turn_s).is_integer():
                first_s = (int(share * interval_s / turn_s) + share) * turn_s
            else:
                first_s = share * interval_s
            heapq.heappush(self._heap, (now + first_s, key))

    def remove(self, keys: Collection[JobKey]) -> None:
        """Jobs that will not run any more."""
        self._heap = [(at, key) for at, key in self._heap if key not in keys]
        heapq.heapify(self._heap)
        for key in keys:
            del self.intervals[key]
            self._factors.pop(key, None)
            self._never_ran.discard(key)

    def stretch(self, factors: Mapping[JobKey, float], now: float) -> None:
        """Make these jobs' intervals so many times as long as they are without it. What counts is when a job ran last: it is due
        one new interval after that, or, where that has passed, at the next of such times. The first run comes when it comes."""
        moved = {key: factor for key, factor in factors.items() if factor != self._factors.get(key, 1.0)}
        if not moved:
            return
        self._heap = [(self._again(at, key, moved[key], now) if key in moved else at, key) for at, key in self._heap]
        heapq.heapify(self._heap)
        self._factors |= moved

    def due(self, now: float) -> list[JobKey]:
        """The jobs due by now, each at most once, in order; their next times are set."""
        ready = []
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            ready.append(key)
            self._never_ran.discard(key)
            interval_s = self.intervals[key] * self._factors.get(key, 1.0)
            missed = int((now - at) // interval_s)
            heapq.heappush(self._heap, (at + (missed + 1) * interval_s, key))
        return ready

    def wait_s(self, now: float, most: float) -> float:
        """Seconds until the next job is due, 0 to `most`."""
        return min(max(self._heap[0][0] - now, 0.0), most) if self._heap else most

    def _again(self, at: float, key: JobKey, factor: float, now: float) -> float:
        """When a job that was due at `at` is due with another factor."""
        if at <= now or key in self._never_ran:
            return at
        before = self.intervals[key] * self._factors.get(key, 1.0)
        after = self.intervals[key] * factor
        last = at - before
        due = last + max(1, math.ceil((now - last) / after)) * after
        return due if after > before else min(at, due)


def phase(key: JobKey, databases: int = 1) -> float:
    """0 to 1, the same in every process. Metrics of one database have one phase: they find its connection open. The groups of
    the `databases` of one server have phases that are equally far from each other."""
    if not key.database:
        return _share_of(f"{key.collector}\n{key.metric}")
    groups = math.ceil(databases / GROUP)
    group = int(_share_of(f"{key.collector}\ndatabase {key.database}") * groups)
    return (_share_of(f"{key.collector}\ndatabases") + group / groups) % 1.0


def _share_of(text: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
