"""A fleet that comes back at once after an outage is admitted at the pace of its quotas; nothing of it is shed."""

from collections import Counter

from pganalytics.runtime.settings import Quota
from pganalytics.streams.quota import Account, Limits, Load, Verdict, judge

SECOND = 1_000_000
AGENTS = 500
RECORDS = 2 * 60 * 12
"""Two hours of a standard collector."""
CRITICAL = 2 * 60 * 6
SENDING_S = 120
"""How long it takes all of them to send it."""


def test_five_hundred_agents_return_at_once() -> None:
    quota = Quota()
    limits = Limits.of(quota)
    accounts: dict[int, Account] = {}
    told: Counter[tuple[bool, Verdict]] = Counter()
    for number in range(RECORDS):
        at_us = SENDING_S * SECOND * number // RECORDS
        for agent in range(AGENTS):
            for critical in (False, True)[: 2 if number % (RECORDS // CRITICAL) == 0 else 1]:
                load = Load(at_us, 60, 4000, critical)
                accounts[agent], verdict = judge(accounts.get(agent), load, limits)
                told[critical, verdict] += 1
        paced = AGENTS * (quota.records_per_s * (at_us / SECOND + quota.burst_s) + 1)
        assert told[False, Verdict.ADMITTED] <= paced, "more than the quotas of all of them"
    assert told[False, Verdict.ADMITTED] + told[False, Verdict.DEFERRED] == AGENTS * RECORDS
    assert told[False, Verdict.ADMITTED] < AGENTS * RECORDS / 2, "nearly all of it at once"
    assert told[True, Verdict.ADMITTED] == AGENTS * CRITICAL
    for agent in range(AGENTS):
        accounts[agent], verdict = judge(accounts[agent], Load((SENDING_S + 300) * SECOND, 60, 4000), limits)
        assert verdict is Verdict.ADMITTED, "minutes later they are as if nothing had been"
