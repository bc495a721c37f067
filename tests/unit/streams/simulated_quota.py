"""What quotas must do with the records of a history, as debts in whole numbers.

Shares no code with what is tested. Amounts are millionths of a token: a rate per second is as many per microsecond.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pganalytics.schemas.identity import Lane
from pganalytics.streams.quota import Verdict
from unit.streams.quota_model import Quota
from unit.streams.simulated_history import SECOND, Facts, Record

Costs = tuple[int, int, int]


class Debts:
    """What was spent of records, rows and bytes and is not earned back. The rates are whole numbers."""

    def __init__(self, quota: Quota, burst_s: float) -> None:
        self.rates = (int(quota.records_per_s), int(quota.rows_per_s), int(quota.bytes_per_s))
        self.burst = [int(rate * burst_s * SECOND) for rate in self.rates]
        self.owed = [0, 0, 0]

    def earn(self, us: int) -> None:
        self.owed = [max(0, owed - rate * us) for owed, rate in zip(self.owed, self.rates, strict=True)]

    def has_left(self) -> bool:
        return all(owed < burst for owed, burst in zip(self.owed, self.burst, strict=True))

    def spend(self, costs: Costs, *, at_most_twice: bool = False) -> None:
        for which, cost in enumerate(costs):
            grown = self.owed[which] + cost * SECOND
            most = 2 * self.burst[which] if at_most_twice else grown
            self.owed[which] = max(self.owed[which], min(grown, most))


@dataclass(slots=True)
class Spent:
    """What one quota let pass, for the sums at the end: time and costs."""

    quota: Quota
    share: list[tuple[int, Costs]] = field(default_factory=list)
    critical: list[tuple[int, Costs]] = field(default_factory=list)
    onward: list[tuple[int, Costs]] = field(default_factory=list)


class Payer:
    """One collector under one quota."""

    def __init__(self, quota: Quota, now_us: int) -> None:
        self.spent = Spent(quota)
        self.now_us = now_us
        self._share = Debts(quota, quota.burst_s)
        self._critical = Debts(quota, quota.critical_burst_s)
        self._ceiling = Debts(quota, quota.burst_s + quota.ceiling_s)
        self._credit_us = 30 * SECOND
        self._held_until = {True: 0, False: 0}
        self._shed_until = 0

    def judge(self, at_us: int, facts: Facts, size: int, *, kept: bool) -> Verdict:
        passed_us, self.now_us = max(0, at_us - self.now_us), max(self.now_us, at_us)
        for debts in (self._share, self._critical, self._ceiling):
            debts.earn(passed_us)
        self._credit_us = min(30 * SECOND, self._credit_us + passed_us)
        costs = (1, min(facts.rows, size), size)
        critical, now_us = facts.lane is Lane.CRITICAL, self.now_us
        if facts.beat is not None and self._credit_us >= 10 * SECOND:
            self._credit_us -= 10 * SECOND
            return self._pass(costs)
        if critical and now_us >= self._held_until[True] and self._critical.has_left():
            self._critical.spend(costs)
            self.spent.critical.append((now_us, costs))
            return self._pass(costs)
        free = now_us >= self._held_until[False] and now_us >= self._shed_until
        if not critical and free and self._share.has_left() and self._ceiling.has_left():
            self._share.spend(costs)
            self._ceiling.spend(costs)
            self.spent.share.append((now_us, costs))
            self.spent.onward += [] if kept else [(now_us, costs)]
            return Verdict.ADMITTED
        return self._hold(costs, critical=critical, kept=kept)

    def _pass(self, costs: Costs) -> Verdict:
        self._share.spend(costs, at_most_twice=True)
        self._ceiling.spend(costs)
        return Verdict.ADMITTED

    def _hold(self, costs: Costs, *, critical: bool, kept: bool) -> Verdict:
        now_us, until = self.now_us, self.now_us + 30 * SECOND
        shed = not kept and (now_us < self._shed_until or not self._ceiling.has_left())
        if shed:
            self._shed_until = until = self._shed_until if now_us < self._shed_until else now_us + 300 * SECOND
        else:
            self._ceiling.spend(costs)
            self.spent.onward += [] if kept else [(now_us, costs)]
        if now_us >= self._held_until[critical]:
            self._held_until[critical] = until
        return Verdict.SHED if shed else Verdict.DEFERRED


class Cashier:
    """All collectors and the quotas in effect."""

    def __init__(self, default: Quota, overrides: Mapping[str, Mapping[str, int]]) -> None:
        self._default = default
        self.overrides = overrides
        self._payers: dict[str, Payer] = {}
        self.periods: list[Spent] = []

    def judge(self, record: Record) -> Verdict:
        facts, came = record.facts, record.arrival
        assert facts is not None
        quota, payer = self._quota_of(facts.collector), self._payers.get(facts.collector)
        if payer is None or payer.spent.quota != quota:
            payer = self._payers[facts.collector] = Payer(quota, payer.now_us if payer else came.at_us)
            self.periods.append(payer.spent)
        return payer.judge(came.at_us, facts, came.size, kept=facts.metric == "query_text")

    def _quota_of(self, name: str) -> Quota:
        fits = [each for each in self.overrides if fnmatchcase(name, each)]
        given = self.overrides[max(fits, key=lambda each: (each == name, len(each)))] if fits else {}
        return Quota(**{**self._default.__dict__, **given})


def overspent(period: Spent) -> bool:
    """Whether in any stretch of time more passed than the quota grants. The last record of a stretch may overdraw."""
    quota = period.quota
    return (
        _beyond(period.share, quota, quota.burst_s)
        or _beyond(period.critical, quota, quota.critical_burst_s)
        or _beyond(period.onward, quota, quota.burst_s + quota.ceiling_s)
    )


def _beyond(passed: list[tuple[int, Costs]], quota: Quota, burst_s: float) -> bool:
    rates = (int(quota.records_per_s), int(quota.rows_per_s), int(quota.bytes_per_s))
    for which, rate in enumerate(rates):
        for first in range(len(passed)):
            began_us, total = passed[first][0], 0
            for at_us, costs in passed[first : first + 20]:
                if total and total * SECOND >= rate * (at_us - began_us + burst_s * SECOND):
                    return True
                total += costs[which]
    return False
