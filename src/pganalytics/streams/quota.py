"""What becomes of one collector's records: token buckets for records, rows and bytes. Pure; time is the broker's append time.

Three buckets of one rate and different size. The *share* has the burst of the quota: while it has something left a record is
admitted, else deferred. The *ceiling* holds a day more and counts all that goes on, admitted or deferred: beyond it records
are shed. The *critical* one limits what passes for being critical, as debt in the other two; a critical record beyond it is
over quota like any other. Heartbeats pass up to one in 10 s, three at once. Dictionaries are deferred where others are shed.

A record passes while a bucket has anything left, and may overdraw it: then one larger than the whole burst is not held back
for ever, and the rate in the long run still holds. Debt counts up to twice the burst of the share: critical records cannot
shut out the others for longer than one burst takes to refill. A verdict stays for a while, so that the seqs that are deferred
or shed are few long ranges and not thousands of short ones.

Arithmetic is exact: amounts are billionths of a token. A bucket is kept as what the quota will have granted, since the epoch,
at the moment at which all that was spent is earned back; so nothing has to be done while time passes.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

TOKEN = 1_000_000_000
SECOND_US = 1_000_000
STICKY_US = 30 * SECOND_US
SHED_STICKY_US = 300 * SECOND_US
"""Ranges that are shed stay in the ledger for ever, those that are deferred do not."""
BEAT_US = 10 * SECOND_US
BEATS_AT_ONCE = 3
MOST_OVERDRAFT_S = 86_400
"""A forged row count must not hold back a collector for ever."""

Amounts = tuple[int, int, int]


class QuotaSettings(Protocol):
    """A quota as people write it."""

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

    @property
    def critical_burst_s(self) -> float:
        """The same for records that pass for being critical."""

    @property
    def ceiling_s(self) -> float:
        """Seconds of quota, beyond the burst, that may be deferred."""


class Verdict(StrEnum):
    """What becomes of a record."""

    ADMITTED = "admitted"
    DEFERRED = "deferred"
    SHED = "shed"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The size of a bucket: what may be spent before it is empty, and the most that is ever booked."""

    burst: Amounts
    most: Amounts


@dataclass(frozen=True, slots=True)
class Limits:
    """A quota in billionths of a token, for records, rows and bytes. `earned`: per microsecond.

    `debt`: the most that records which pass in any case may spend of the share.
    """

    earned: Amounts
    share: Bucket
    debt: Amounts
    critical: Bucket
    ceiling: Bucket

    @classmethod
    def of(cls, quota: QuotaSettings) -> Self:
        """The limits of a quota; rates are kept to the thousandth of a token per second."""
        rates = (quota.records_per_s, quota.rows_per_s, quota.bytes_per_s)
        records, rows, size = (max(1, round(rate * TOKEN / SECOND_US)) for rate in rates)
        earned = (records, rows, size)
        share = _bucket(earned, quota.burst_s)
        return cls(
            earned=earned,
            share=share,
            debt=(2 * share.burst[0], 2 * share.burst[1], 2 * share.burst[2]),
            critical=_bucket(earned, quota.critical_burst_s),
            ceiling=_bucket(earned, quota.burst_s + quota.ceiling_s),
        )


@dataclass(frozen=True, slots=True)
class Load:
    """One record as the quota sees it. `kept`: it is never shed."""

    at_us: int
    rows: int
    size: int
    critical: bool = False
    heartbeat: bool = False
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """One collector under one quota. A collector that is not known, or has a new quota, has spent nothing."""

    limits: Limits
    clock_us: int
    share: Amounts = (0, 0, 0)
    critical: Amounts = (0, 0, 0)
    ceiling: Amounts = (0, 0, 0)
    deferred_until_us: int = 0
    critical_until_us: int = 0
    shed_until_us: int = 0
    beats_until_us: int = 0


@dataclass(frozen=True, slots=True)
class _Moment:
    """What one record is judged by. `granted`: by the quota, since the epoch."""

    now_us: int
    granted: Amounts
    cost: Amounts


def judge(account: Account | None, load: Load, limits: Limits) -> tuple[Account, Verdict]:
    """Let a record pass, defer it or shed it, and book what goes on. Time does not go back: records may come in any order."""
    if account is None or (account.limits is not limits and account.limits != limits):
        account = Account(limits, account.clock_us if account else load.at_us)
    now_us = max(account.clock_us, load.at_us)
    one, two, three = limits.earned
    cost = (TOKEN, load.rows * TOKEN, load.size * TOKEN)
    moment = _Moment(now_us, (one * now_us, two * now_us, three * now_us), cost)
    if load.heartbeat and account.beats_until_us <= now_us + (BEATS_AT_ONCE - 1) * BEAT_US:
        return _pass_as_debt(account, moment, limits, heartbeat=True), Verdict.ADMITTED
    if load.critical:
        if account.critical_until_us <= now_us and _has_left(account.critical, moment, limits.critical):
            return _pass_as_debt(account, moment, limits, heartbeat=False), Verdict.ADMITTED
    elif (
        account.deferred_until_us <= now_us
        and account.shed_until_us <= now_us
        and _has_left(account.share, moment, limits.share)
        and _has_left(account.ceiling, moment, limits.ceiling)
    ):
        return _pass(account, moment, limits), Verdict.ADMITTED
    return _hold(account, load, moment, limits)


def _pass(account: Account, moment: _Moment, limits: Limits) -> Account:
    return Account(
        limits,
        moment.now_us,
        _booked(account.share, moment, limits.share.most),
        account.critical,
        _booked(account.ceiling, moment, limits.ceiling.most),
        account.deferred_until_us,
        account.critical_until_us,
        account.shed_until_us,
        account.beats_until_us,
    )


def _pass_as_debt(account: Account, moment: _Moment, limits: Limits, *, heartbeat: bool) -> Account:
    beats_until_us = account.beats_until_us
    return Account(
        limits,
        moment.now_us,
        _booked(account.share, moment, limits.debt),
        account.critical if heartbeat else _booked(account.critical, moment, limits.critical.most),
        _booked(account.ceiling, moment, limits.ceiling.most),
        account.deferred_until_us,
        account.critical_until_us,
        account.shed_until_us,
        max(beats_until_us, moment.now_us) + BEAT_US if heartbeat else beats_until_us,
    )


def _hold(account: Account, load: Load, moment: _Moment, limits: Limits) -> tuple[Account, Verdict]:
    """A record over quota. A verdict begins with the first record that it holds, and lasts; nothing prolongs it."""
    now_us, ceiling = moment.now_us, account.ceiling
    deferred, critical, shed = account.deferred_until_us, account.critical_until_us, account.shed_until_us
    beyond = now_us < shed or not _has_left(ceiling, moment, limits.ceiling)
    verdict = Verdict.SHED if beyond and not load.kept else Verdict.DEFERRED
    if verdict is Verdict.DEFERRED:
        until = now_us + STICKY_US
        ceiling = _booked(ceiling, moment, limits.ceiling.most)
    else:
        until = shed = shed if now_us < shed else now_us + SHED_STICKY_US
    if load.critical:
        critical = critical if now_us < critical else until
    else:
        deferred = deferred if now_us < deferred else until
    beats = account.beats_until_us
    return Account(limits, now_us, account.share, account.critical, ceiling, deferred, critical, shed, beats), verdict


def _has_left(spent: Amounts, moment: _Moment, bucket: Bucket) -> bool:
    granted, burst = moment.granted, bucket.burst
    return spent[0] - granted[0] < burst[0] and spent[1] - granted[1] < burst[1] and spent[2] - granted[2] < burst[2]


def _booked(spent: Amounts, moment: _Moment, most: Amounts) -> Amounts:
    granted, cost = moment.granted, moment.cost
    return (
        _add(spent[0], granted[0], cost[0], most[0]),
        _add(spent[1], granted[1], cost[1], most[1]),
        _add(spent[2], granted[2], cost[2], most[2]),
    )


def _add(spent: int, granted: int, cost: int, most: int) -> int:
    """Never less than before: a smaller limit forgives nothing."""
    booked = (spent if spent > granted else granted) + cost
    if booked > granted + most:
        booked = granted + most
    return booked if booked > spent else spent


def _bucket(earned: Amounts, burst_s: float) -> Bucket:
    burst_us, overdraft_us = round(burst_s * SECOND_US), MOST_OVERDRAFT_S * SECOND_US
    records, rows, size = earned
    burst = (records * burst_us, rows * burst_us, size * burst_us)
    overdraft = (records * overdraft_us, rows * overdraft_us, size * overdraft_us)
    return Bucket(burst, (burst[0] + overdraft[0], burst[1] + overdraft[1], burst[2] + overdraft[2]))
