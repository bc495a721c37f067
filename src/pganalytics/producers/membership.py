"""Which collectors an agent has: those that the settings name, and those of which only the spool knows.

The main thread changes them; any thread may look up an epoch or a state, and whoever wants all of them takes a copy.
"""

import contextlib
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pganalytics.producers.beats import Pulsing
from pganalytics.producers.collectors import Job
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.meters import Meters
from pganalytics.producers.pools import Pools
from pganalytics.producers.runner import Runner
from pganalytics.producers.spool import Spool
from pganalytics.producers.target_state import NOT_CONFIGURED, TargetState
from pganalytics.schemas.headers import HEARTBEAT
from pganalytics.schemas.identity import make_epoch


@dataclass(frozen=True, slots=True)
class Changes:
    """Collectors that come, that are read otherwise, and that go."""

    begun: frozenset[str]
    changed: frozenset[str]
    ended: frozenset[str]


def changes_of(before: Iterable[Job], after: Iterable[Job]) -> Changes:
    """What becomes of collectors when these jobs take the place of those. Pure."""
    old, new = by_collector(before), by_collector(after)
    both = old.keys() & new.keys()
    return Changes(
        begun=frozenset(new.keys() - both),
        changed=frozenset(one for one in both if old[one] != new[one]),
        ended=frozenset(old.keys() - both),
    )


def by_collector(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    """The jobs of each."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.key.collector, []).append(job)
    return found


class Membership:
    """`epochs` and `states` have an entry for every collector, `named` is what the settings name, `jobs` what they say of it."""

    def __init__(self, spool: Spool, jobs: Sequence[Job]) -> None:
        """Begin an epoch for each collector, also for those that only the spool knows."""
        self._spool = spool
        self.jobs = jobs
        self.named = frozenset(job.key.collector for job in jobs)
        self.epochs: dict[str, int] = {}
        self.states: dict[str, TargetState] = {}
        self._left: set[str] = set()
        leftover = frozenset(spool.collectors()) - self.named
        spool.keep_baselines_of(self.named)
        self._begin({one: TargetState() for one in self.named} | {one: TargetState(NOT_CONFIGURED) for one in leftover})

    @property
    def longest_job_s(self) -> float:
        """The longest time-out of a query."""
        return max(job.timeout_s for job in self.jobs)

    def take(self, jobs: Sequence[Job], open_epochs: Collection[tuple[str, int]]) -> Changes:
        """Name the collectors of these jobs from now on. Raises Refused; then it may be tried again. Who was read no more and
        has told its end, so that its epoch is not among the open ones, is forgotten."""
        changes = changes_of(self.jobs, jobs)
        self._begin({one: TargetState() for one in changes.begun})
        self.jobs = jobs
        self.named = frozenset(job.key.collector for job in jobs)
        self._left -= self.named
        for one in self._left.copy():
            if (one, self.epochs[one]) not in open_epochs:
                self._left.discard(one)
                del self.states[one], self.epochs[one]
        return changes

    def pulsing(self) -> dict[str, Pulsing]:
        """How each collector beats; those that the settings do not name as the slowest of the others."""
        intervals = {job.key.collector: job.interval_s for job in self.jobs if job.key.metric == HEARTBEAT}
        slowest_s = max(intervals.values())
        return {one: Pulsing(epoch, intervals.get(one, slowest_s), one in intervals) for one, epoch in self.epochs.items()}

    def end(self, collector: str) -> None:
        """It is read no more. Its baselines go: whoever reads the target meanwhile counts from his own."""
        self.states[collector].failed(NOT_CONFIGURED)
        self._left.add(collector)
        with contextlib.suppress(Refused):  # they go at the next start
            self._spool.keep_baselines_of(self.named)

    def _begin(self, states: Mapping[str, TargetState]) -> None:
        begun = {one: make_epoch(time.time_ns() // 1000, secrets.randbits(10)) for one in states}
        for collector, epoch in begun.items():
            self._spool.start_epoch(collector, epoch)
        self.states |= states
        self.epochs |= begun


def hand_over(
    members: Membership,
    pools: Pools,
    runner: Runner,
    meters: Meters,
    collector: str,
    before: Sequence[Job],
    after: Sequence[Job],
) -> None:
    """What must not outlive the old jobs of a collector, none of which runs; called before the new ones begin, which may be none.

    In the scheduler's thread.
    """
    pools.leave(collector)
    runner.unload({job.key for job in before} - {job.key for job in after})
    if not after:
        members.end(collector)
        meters.forget(collector)
        return
    metrics = {job.key.metric for job in after}
    if gone := {job.key.metric for job in before} - metrics:
        meters.forget(collector, gone)
    elsewhere = bool(before) and _address(before[0]) != _address(after[0])
    members.states[collector].begin_anew(metrics, elsewhere=elsewhere)


def _address(job: Job) -> tuple[str, int]:
    return job.target.host, job.target.port
