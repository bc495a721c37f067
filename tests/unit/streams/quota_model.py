"""The rules of quotas written down once more, with fractions of whole tokens: what the real ones are compared with."""

from dataclasses import dataclass
from fractions import Fraction

from pganalytics.streams.quota import Load, Verdict

SECOND = 1_000_000
DAY_S = 86_400


@dataclass(frozen=True)
class Quota:
    records_per_s: float = 2
    rows_per_s: float = 100
    bytes_per_s: float = 1000
    burst_s: float = 10
    critical_burst_s: float = 20
    ceiling_s: float = 90


class NaiveBucket:
    """What is spent and not earned back, of records, rows and bytes."""

    def __init__(self, rates: list[Fraction], burst_s: float) -> None:
        self.rates = rates
        self.burst = [rate * Fraction(burst_s) for rate in rates]
        self.debts = [Fraction(0)] * 3

    def earn(self, passed_s: Fraction) -> None:
        self.debts = [max(Fraction(0), debt - rate * passed_s) for debt, rate in zip(self.debts, self.rates, strict=True)]

    @property
    def has_left(self) -> bool:
        return all(debt < burst for debt, burst in zip(self.debts, self.burst, strict=True))

    def book(self, costs: list[int], most: list[Fraction] | None = None) -> None:
        most = most or [burst + DAY_S * rate for burst, rate in zip(self.burst, self.rates, strict=True)]
        self.debts = [max(debt, min(debt + cost, limit)) for debt, cost, limit in zip(self.debts, costs, most, strict=True)]


class NaiveCollector:
    """One collector, whose quota may change: then it starts anew."""

    def __init__(self) -> None:
        self.quota: Quota | None = None
        self.now: int | None = None

    def _start(self, quota: Quota) -> None:
        self.quota = quota
        rates = [Fraction(rate) for rate in (quota.records_per_s, quota.rows_per_s, quota.bytes_per_s)]
        self.share = NaiveBucket(rates, quota.burst_s)
        self.critical = NaiveBucket(rates, quota.critical_burst_s)
        self.ceiling = NaiveBucket(rates, quota.burst_s + quota.ceiling_s)
        self.deferred_until = self.critical_until = self.shed_until = -1
        self.beats = Fraction(0)

    def judge(self, load: Load, quota: Quota) -> Verdict:
        if quota != self.quota:
            self._start(quota)
        before = load.at_us if self.now is None else self.now
        self.now = max(before, load.at_us)
        passed_s = Fraction(self.now - before, SECOND)
        for bucket in (self.share, self.critical, self.ceiling):
            bucket.earn(passed_s)
        self.beats = max(Fraction(0), self.beats - passed_s / 10)
        costs = [1, load.rows, load.size]
        if load.heartbeat and self.beats <= 2:
            self.beats += 1
            return self._pass_as_debt(costs)
        if load.critical and self.now >= self.critical_until and self.critical.has_left:
            self.critical.book(costs)
            return self._pass_as_debt(costs)
        waits = self.now < self.deferred_until or self.now < self.shed_until
        if not load.critical and not waits and self.share.has_left and self.ceiling.has_left:
            self.share.book(costs)
            self.ceiling.book(costs)
            return Verdict.ADMITTED
        return self._hold(load, costs, self.now)

    def _pass_as_debt(self, costs: list[int]) -> Verdict:
        self.share.book(costs, [2 * burst for burst in self.share.burst])
        self.ceiling.book(costs)
        return Verdict.ADMITTED

    def _hold(self, load: Load, costs: list[int], now: int) -> Verdict:
        if (now < self.shed_until or not self.ceiling.has_left) and not load.kept:
            if now >= self.shed_until:
                self.shed_until = now + 300 * SECOND
            self._stick(load, now, self.shed_until)
            return Verdict.SHED
        self.ceiling.book(costs)
        self._stick(load, now, now + 30 * SECOND)
        return Verdict.DEFERRED

    def _stick(self, load: Load, now: int, until: int) -> None:
        if load.critical:
            self.critical_until = self.critical_until if now < self.critical_until else until
        else:
            self.deferred_until = self.deferred_until if now < self.deferred_until else until
