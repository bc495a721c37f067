"""A quota gives each collector its rate and its burst, no more and no less, whatever the order of records."""

from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.streams.quota import STICKY_US, TOKEN, Account, Limits, Load, Verdict, judge
from unit.streams.quota_model import SECOND, NaiveCollector, Quota

LIMITS = Limits.of(Quota())
ADMITTED, DEFERRED, SHED = Verdict.ADMITTED, Verdict.DEFERRED, Verdict.SHED

loads = st.builds(
    Load,
    at_us=st.integers(0, 900 * SECOND),
    rows=st.sampled_from([0, 1, 50, 500, 100_000]),
    size=st.sampled_from([0, 10, 5_000, 10**6]),
    critical=st.booleans(),
    heartbeat=st.sampled_from([False, False, False, True]),
    kept=st.sampled_from([False, False, True]),
)
histories = st.lists(st.tuples(loads, st.integers(1, 30)), max_size=40).map(
    lambda told: [load for load, times in told for _ in range(times)]
)


def verdicts(history: list[Load], limits: Limits = LIMITS) -> list[Verdict]:
    account: Account | None = None
    told = []
    for load in history:
        account, verdict = judge(account, load, limits)
        told.append(verdict)
    return told


def load(
    at_s: float, *, rows: int = 1, size: int = 10, critical: bool = False, heartbeat: bool = False, kept: bool = False
) -> Load:
    return Load(round(at_s * SECOND), rows, size, critical, heartbeat, kept)


def runs(told: list[Verdict]) -> list[tuple[Verdict, int]]:
    return [(verdict, len(list(group))) for verdict, group in groupby(told)]


@given(histories)
def test_it_is_the_naive_model_in_integers(history: list[Load]) -> None:
    model = NaiveCollector()
    assert verdicts(history) == [model.judge(each, Quota()) for each in history]


@given(histories)
def test_dictionaries_are_never_shed(history: list[Load]) -> None:
    told = zip(history, verdicts(history), strict=True)
    assert all(verdict is not SHED for each, verdict in told if each.kept)


@given(histories)
def test_nobody_gets_more_than_burst_and_rate(history: list[Load]) -> None:
    """In any window, what is admitted by the share, what is admitted as critical, and what goes on at all."""
    ordered = sorted(history, key=lambda each: each.at_us)
    told = list(zip(ordered, verdicts(ordered), strict=True))
    bounds = {
        10: [each for each, verdict in told if verdict is ADMITTED and not each.critical and not each.heartbeat],
        20: [each for each, verdict in told if verdict is ADMITTED and each.critical and not each.heartbeat],
    }
    for burst_s, passed in bounds.items():
        for first in range(len(passed)):
            window_s = (passed[-1].at_us - passed[first].at_us) / SECOND
            assert len(passed) - first <= 2 * (window_s + burst_s) + 1


@given(st.integers(1, 400), st.integers(0, 10**9))
def test_a_collector_below_its_rates_is_never_deferred(count: int, start_us: int) -> None:
    history = [Load(start_us + i * SECOND // 2, 50, 500) for i in range(count)]
    assert set(verdicts(history)) == {ADMITTED}


def test_a_burst_passes_and_what_follows_is_deferred_for_half_a_minute() -> None:
    history = [load(0) for _ in range(25)]
    assert verdicts(history) == [ADMITTED] * 20 + [DEFERRED] * 5
    later = [load(at_s) for at_s in (1, 29.9, 30, 31)]
    assert verdicts(history + later)[-4:] == [DEFERRED] * 2 + [ADMITTED] * 2


def test_each_bucket_defers_by_itself() -> None:
    assert verdicts([load(0, rows=1000), load(0)]) == [ADMITTED, DEFERRED]
    assert verdicts([load(0, size=10_000), load(0)]) == [ADMITTED, DEFERRED]
    assert verdicts([load(0, rows=999), load(0)]) == [ADMITTED, ADMITTED]


def test_a_record_larger_than_the_burst_passes_and_is_paid_for_afterwards() -> None:
    history = [load(0, rows=5000), load(1), load(39), load(70)]
    assert verdicts(history) == [ADMITTED, DEFERRED, DEFERRED, ADMITTED]


@pytest.mark.parametrize("how", [{"rows": 1000}, {"size": 10_000}, {}], ids=["rows", "bytes", "records"])
def test_beyond_the_ceiling_records_are_shed_for_five_minutes(how: dict[str, Any]) -> None:
    """20 records of burst or one of 10 s of rows or bytes, and 90 s more that are deferred. Then 5 minutes are earned back."""
    flood = 200 if not how else 10
    told = verdicts([load(0, **how) for _ in range(flood)] + [load(0, **how)] * 2 + [load(299.9), load(300)])
    share, ceiling = (20, 180) if not how else (1, 9)
    assert runs(told) == [(ADMITTED, share), (DEFERRED, ceiling), (SHED, 3), (ADMITTED, 1)]


def test_what_is_shed_is_not_paid_for() -> None:
    """After the same five minutes a thousand shed records leave the same account as two."""
    flood = [load(0) for _ in range(200)]
    for shed in (2, 1000):
        told = verdicts([*flood, *[load(0)] * shed, *[load(300)] * 250])
        assert runs(told)[2:] == [(SHED, shed), (ADMITTED, 20), (DEFERRED, 180), (SHED, 50)]


def test_a_million_shed_records_make_few_ranges() -> None:
    """Three hours of a hundred records a second at a quota of two: about two ranges in five minutes."""
    told = verdicts([Load(i * SECOND // 100, 1, 10) for i in range(1_080_000)])
    found = runs(told)
    assert sum(count for verdict, count in found if verdict is SHED) > 1_000_000
    assert sum(verdict is SHED for verdict, _ in found) <= 3 * 12
    assert len(found) <= 4 * 3 * 12


def test_critical_records_and_heartbeats_pass_when_all_else_is_shed() -> None:
    history = [load(0) for _ in range(300)] + [load(1, critical=True), load(1, critical=True, heartbeat=True), load(1)]
    assert verdicts(history)[-3:] == [ADMITTED, ADMITTED, SHED]


def test_critical_records_shut_out_the_others_for_one_refill_at_most() -> None:
    flood = [load(0, rows=10**6, size=10**7, critical=True)]
    assert verdicts([*flood, load(1), load(31.1)]) == [ADMITTED, SHED, SHED]
    flood = [load(0, critical=True) for _ in range(39)]
    assert verdicts([*flood, load(1), load(31.1)]) == [ADMITTED] * 39 + [DEFERRED, ADMITTED]


def test_who_marks_everything_critical_gains_nothing() -> None:
    """Its own limit of 20 s, then deferred up to the ceiling, then shed, as anybody else."""
    told = verdicts([load(0, critical=True) for _ in range(210)])
    assert runs(told) == [(ADMITTED, 40), (DEFERRED, 160), (SHED, 10)]
    told = verdicts([load(i / 10, critical=True) for i in range(40_000)], Limits.of(Quota(ceiling_s=990)))
    assert 8000 <= told.count(ADMITTED) + told.count(DEFERRED) <= 8000 + 2000


def test_a_critical_record_beyond_its_limit_holds_back_no_other() -> None:
    limits = Limits.of(Quota(critical_burst_s=1))
    told = verdicts([load(0, critical=True) for _ in range(3)] + [load(0)], limits)
    assert told == [ADMITTED, ADMITTED, DEFERRED, ADMITTED]


def test_heartbeats_pass_one_in_ten_seconds_and_three_at_once() -> None:
    """More of them are critical records like any other."""
    full = [load(0, critical=True) for _ in range(300)]
    told = verdicts([*full, *[load(1, critical=True, heartbeat=True)] * 5, *[load(11, critical=True, heartbeat=True)] * 2])
    assert told[300:] == [ADMITTED] * 3 + [SHED] * 2 + [ADMITTED, SHED]


def test_a_dictionary_is_deferred_where_others_are_shed() -> None:
    told = verdicts([load(0) for _ in range(200)] + [load(0), load(0, kept=True), load(0)])
    assert told[200:] == [SHED, DEFERRED, SHED]


def test_a_forged_row_count_shuts_out_for_a_day_and_not_for_ever() -> None:
    """Beyond the ceiling too; the streams believe no more rows than a body has bytes."""
    assert verdicts([load(0, rows=2**63 - 1), load(86_000), load(86_401)])[1:] == [SHED, ADMITTED]


def test_time_that_goes_back_earns_nothing() -> None:
    history = [load(100) for _ in range(20)] + [load(at_s) for at_s in (0, 99, 5, 100)]
    assert verdicts(history)[-4:] == [DEFERRED] * 4


def test_a_new_quota_starts_anew_and_an_equal_one_does_not() -> None:
    account, _ = judge(None, load(100), LIMITS)
    for _ in range(30):
        account, verdict = judge(account, load(100), Limits.of(Quota()))
    assert verdict is DEFERRED
    changed = Limits.of(Quota(records_per_s=4))
    account, verdict = judge(account, load(0), changed)
    assert (verdict, account.clock_us) == (ADMITTED, 100 * SECOND)
    told = []
    for _ in range(40):
        account, verdict = judge(account, load(100), changed)
        told.append(verdict)
    assert told == [ADMITTED] * 39 + [DEFERRED]


def test_the_smallest_rate_is_not_zero() -> None:
    limits = Limits.of(Quota(records_per_s=1e-9))
    assert limits.earned[0] == 1
    assert verdicts([load(0)], Limits.of(Quota(records_per_s=0.001, burst_s=1))) == [ADMITTED]
    assert (TOKEN, STICKY_US) == (10**9, 30 * SECOND)
