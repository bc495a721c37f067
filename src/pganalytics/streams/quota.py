"""What one collector may send: three token buckets, for records, rows and bytes. Pure; time is the broker's append time.

An account says what is spent and not yet earned back, in billionths of a token, so that arithmetic is exact. A record
passes while every bucket has something left, and may overdraw it: then a record larger than the whole burst is not held
back for ever, and the rate in the long run still holds. Records that always pass (critical ones, heartbeats) are debt in
the same buckets, but only up to twice the burst: they cannot shut out the others for longer than one burst takes to refill.

A verdict of "deferred" stays for a while, so that the deferred seqs are few long ranges and not thousands of short ones.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

TOKEN = 1_000_000_000
STICKY_US = 30_000_000
MOST_OVERDRAFT_S = 86_400
"""A forged row count must not defer a collector for ever."""

Amounts = tuple[int, int, int]


class QuotaSettings(Protocol):
    """The settings of a quota."""

    @property
    def records_per_s(self) -> float:
        """Records per second."""

    @property
    def rows_per_s(self) -> float:
        """Rows per second."""

    @property
    def bytes_per_s(self) -> float:
        """Bytes of bodies per second."""

    @property
    def burst_s(self) -> float:
        """Seconds of quota that may be saved up."""


class Verdict(StrEnum):
    """What becomes of a record."""

    ADMITTED = "admitted"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class Limits:
    """A quota in billionths of a token, for records, rows and bytes. `earned`: per microsecond."""

    earned: Amounts
    burst: Amounts

    @classmethod
    def of(cls, quota: QuotaSettings) -> Self:
        """The limits of a quota; rates are kept to the thousandth of a token per second."""
        rates = (quota.records_per_s, quota.rows_per_s, quota.bytes_per_s)
        records, rows, size = (max(1, round(rate * TOKEN / 1_000_000)) for rate in rates)
        burst_us = round(quota.burst_s * 1_000_000)
        return cls((records, rows, size), (records * burst_us, rows * burst_us, size * burst_us))

    def overdraft(self) -> Amounts:
        """The most that can be spent and not earned back."""
        records, rows, size = (earned * MOST_OVERDRAFT_S * 1_000_000 for earned in self.earned)
        return self.burst[0] + records, self.burst[1] + rows, self.burst[2] + size


@dataclass(frozen=True, slots=True)
class Load:
    """One record as the quota sees it. `exempt`: it always passes."""

    at_us: int
    rows: int
    size: int
    exempt: bool


@dataclass(frozen=True, slots=True)
class Account:
    """One collector. A collector that is not known has spent nothing."""

    clock_us: int
    spent: Amounts = (0, 0, 0)
    deferred_until_us: int = 0


def judge(account: Account | None, load: Load, limits: Limits) -> tuple[Account, Verdict]:
    """Let a record pass, and book it, or defer it."""
    account = Account(load.at_us) if account is None else _at(account, load.at_us, limits)
    cost = (TOKEN, load.rows * TOKEN, load.size * TOKEN)
    if load.exempt:
        most = (2 * limits.burst[0], 2 * limits.burst[1], 2 * limits.burst[2])
        return _book(account, cost, most), Verdict.ADMITTED
    if account.clock_us < account.deferred_until_us:
        return account, Verdict.DEFERRED
    if any(spent >= burst for spent, burst in zip(account.spent, limits.burst, strict=True)):
        return Account(account.clock_us, account.spent, account.clock_us + STICKY_US), Verdict.DEFERRED
    return _book(account, cost, limits.overdraft()), Verdict.ADMITTED


def _at(account: Account, at_us: int, limits: Limits) -> Account:
    """The account at a time; time does not go back, so records of several partitions may come in any order."""
    elapsed_us = at_us - account.clock_us
    if elapsed_us <= 0:
        return account
    (records, rows, size), (one, two, three) = account.spent, limits.earned
    left = (max(0, records - one * elapsed_us), max(0, rows - two * elapsed_us), max(0, size - three * elapsed_us))
    return Account(at_us, left, account.deferred_until_us)


def _book(account: Account, cost: Amounts, most: Amounts) -> Account:
    spent = account.spent
    records, rows, size = (max(spent[i], min(spent[i] + cost[i], most[i])) for i in range(3))
    return Account(account.clock_us, (records, rows, size), account.deferred_until_us)
