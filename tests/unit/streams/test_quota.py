"""A quota gives each collector its rate and its burst, no more and no less, whatever the order of records."""

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.streams.quota import STICKY_US, TOKEN, Account, Limits, Load, Verdict, judge

SECOND = 1_000_000


@dataclass(frozen=True)
class Quota:
    records_per_s: float = 2
    rows_per_s: float = 100
    bytes_per_s: float = 1000
    burst_s: float = 10


LIMITS = Limits.of(Quota())

loads = st.lists(
    st.builds(
        Load,
        at_us=st.integers(0, 120 * SECOND),
        rows=st.sampled_from([0, 1, 50, 500, 100_000]),
        size=st.sampled_from([0, 10, 5_000, 10**6]),
        exempt=st.booleans(),
    ),
    max_size=120,
)


def verdicts(history: list[Load], limits: Limits = LIMITS) -> list[Verdict]:
    account: Account | None = None
    told = []
    for load in history:
        account, verdict = judge(account, load, limits)
        told.append(verdict)
    return told


def load(at_s: float, *, rows: int = 1, size: int = 10, exempt: bool = False) -> Load:
    return Load(round(at_s * SECOND), rows, size, exempt)


class NaiveBuckets:
    """The same rules with fractions of whole tokens and one list per bucket, written down once more from the docs."""

    def __init__(self, quota: Quota) -> None:
        self.rates = [Fraction(rate) for rate in (quota.records_per_s, quota.rows_per_s, quota.bytes_per_s)]
        self.bursts = [rate * Fraction(quota.burst_s) for rate in self.rates]
        self.debts = [Fraction(0)] * 3
        self.now: int | None = None
        self.deferred_until = -1

    def judge(self, load: Load) -> Verdict:
        if self.now is not None and load.at_us > self.now:
            passed = Fraction(load.at_us - self.now, SECOND)
            self.debts = [max(Fraction(0), debt - rate * passed) for debt, rate in zip(self.debts, self.rates, strict=True)]
        self.now = load.at_us if self.now is None else max(self.now, load.at_us)
        costs = [1, load.rows, load.size]
        if load.exempt:
            self._add(costs, [2 * burst for burst in self.bursts])
            return Verdict.ADMITTED
        if self.now < self.deferred_until:
            return Verdict.DEFERRED
        if any(debt >= burst for debt, burst in zip(self.debts, self.bursts, strict=True)):
            self.deferred_until = self.now + STICKY_US
            return Verdict.DEFERRED
        self._add(costs, [burst + 86_400 * rate for burst, rate in zip(self.bursts, self.rates, strict=True)])
        return Verdict.ADMITTED

    def _add(self, costs: list[int], most: list[Fraction]) -> None:
        self.debts = [max(debt, min(debt + cost, limit)) for debt, cost, limit in zip(self.debts, costs, most, strict=True)]


@given(loads)
def test_it_is_the_naive_model_in_integers(history: list[Load]) -> None:
    model = NaiveBuckets(Quota())
    assert verdicts(history) == [model.judge(each) for each in history]


@given(loads)
def test_what_is_exempt_always_passes(history: list[Load]) -> None:
    told = verdicts(history)
    assert all(verdict is Verdict.ADMITTED for each, verdict in zip(history, told, strict=True) if each.exempt)


@given(loads)
def test_nobody_gets_more_than_burst_and_rate(history: list[Load]) -> None:
    """In any window, admitted records that are not exempt stay below rate * time + burst + the one that overdraws."""
    ordered = sorted(history, key=lambda each: each.at_us)
    passed = [
        each for each, verdict in zip(ordered, verdicts(ordered), strict=True) if verdict is Verdict.ADMITTED and not each.exempt
    ]
    for first in range(len(passed)):
        window_s = (passed[-1].at_us - passed[first].at_us) / SECOND
        assert len(passed) - first <= 2 * (window_s + 10) + 1


@given(st.integers(1, 400), st.integers(0, 10**9))
def test_a_collector_below_its_rates_is_never_deferred(count: int, start_us: int) -> None:
    history = [Load(start_us + i * SECOND // 2, 50, 500, False) for i in range(count)]
    assert set(verdicts(history)) == {Verdict.ADMITTED}


def test_a_burst_passes_and_what_follows_is_deferred_for_half_a_minute() -> None:
    history = [load(0) for _ in range(25)]
    assert verdicts(history) == [Verdict.ADMITTED] * 20 + [Verdict.DEFERRED] * 5
    later = [load(at_s) for at_s in (1, 29.9, 30, 31)]
    assert verdicts(history + later)[-4:] == [Verdict.DEFERRED] * 2 + [Verdict.ADMITTED] * 2


def test_each_bucket_defers_by_itself() -> None:
    assert verdicts([load(0, rows=1000), load(0)]) == [Verdict.ADMITTED, Verdict.DEFERRED]
    assert verdicts([load(0, size=10_000), load(0)]) == [Verdict.ADMITTED, Verdict.DEFERRED]
    assert verdicts([load(0, rows=999), load(0)]) == [Verdict.ADMITTED, Verdict.ADMITTED]


def test_a_record_larger_than_the_burst_passes_and_is_paid_for_afterwards() -> None:
    history = [load(0, rows=5000), load(1), load(39), load(70)]
    assert verdicts(history) == [Verdict.ADMITTED, Verdict.DEFERRED, Verdict.DEFERRED, Verdict.ADMITTED]


def test_exempt_records_shut_out_the_others_for_one_refill_at_most() -> None:
    flood = [load(0, rows=10**6, size=10**7, exempt=True) for _ in range(1000)]
    told = verdicts([*flood, load(1), load(31.1)])
    assert told == [Verdict.ADMITTED] * 1000 + [Verdict.DEFERRED, Verdict.ADMITTED]


def test_a_forged_row_count_defers_for_a_day_and_not_for_ever() -> None:
    assert verdicts([load(0, rows=2**63 - 1), load(86_000), load(86_401)])[1:] == [Verdict.DEFERRED, Verdict.ADMITTED]


def test_time_that_goes_back_earns_nothing() -> None:
    history = [load(100) for _ in range(20)] + [load(at_s) for at_s in (0, 99, 5, 100)]
    assert verdicts(history)[-4:] == [Verdict.DEFERRED] * 4


def test_the_smallest_rate_is_not_zero() -> None:
    limits = Limits.of(Quota(records_per_s=1e-9))
    assert limits.earned[0] == 1
    assert verdicts([load(0)], Limits.of(Quota(records_per_s=0.001, burst_s=1))) == [Verdict.ADMITTED]
    assert TOKEN == 10**9
