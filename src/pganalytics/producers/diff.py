"""From two readings to what happened between them. Pure.

The sum of all deltas of a key equals the movement of its counter, however often the counter began anew in between, as far as
PostgreSQL's own marks tell. The rules, in this order:

- another server (system identifier), or statistics older than the baseline that are not the baseline's: the reading is a new
  baseline and nothing is emitted;
- statistics that began after the baseline was read: every row counts from zero, its delta is its whole value;
- a row that the baseline does not have was made in between, since every reading sees all rows: its whole value;
- a row that says it began after the baseline was read, or of which an integer counter went back: its whole value;
- otherwise the difference.

A counter that could not be read keeps the baseline's value, so a later delta covers it. Doubles take no part in the search for
resets: rounding can make them go back.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import repeat
from operator import eq
from typing import Any

import numpy as np

from pganalytics.producers.reading import UNREADABLE, Context, Doubles, Key, Longs, Reading
from pganalytics.producers.scalars import of_another_server


@dataclass(frozen=True, slots=True)
class Baseline:
    """The last reading that was durably spooled: its context, and the counters of each key."""

    context: Context
    index: Mapping[Key, int]
    longs: Longs
    doubles: Doubles
    began_us: Longs


@dataclass(frozen=True, slots=True)
class Difference:
    """Deltas of all rows of a reading, in its order. `changed`: indexes of the rows of which an integer counter moved.

    `whole`: all counters began anew, for the `reason`. `rows_began`: single rows did.
    """

    since_us: int
    longs: Longs
    doubles: Doubles
    changed: Longs
    whole: bool
    reason: str
    rows_began: bool


def first_baseline(reading: Reading) -> Baseline:
    """The baseline that a reading is by itself."""
    index = {key: row for row, key in enumerate(reading.keys)}
    doubles = np.where(np.isfinite(reading.doubles), reading.doubles, 0.0)
    return Baseline(reading.context, index, reading.longs, doubles, reading.began_us)


def compare(baseline: Baseline | None, reading: Reading) -> tuple[Difference | None, Baseline]:
    """What moved, and the next baseline; the difference is None when there is nothing to compare with."""
    if baseline is None or _another_server(baseline.context, reading.context):
        return None, first_baseline(reading)
    if (plain := _compare_plain(baseline, reading)) is not None:
        return plain
    return _compare_any(baseline, reading)


def _compare_plain(baseline: Baseline, reading: Reading) -> tuple[Difference, Baseline] | None:
    """What most readings are: the same rows in the same order, each further than before, and all of it readable. None when it is
    not so; the result is that of `_compare_any`, in a few steps."""
    if not reading.keys or len(reading.keys) != len(baseline.index) or _began_after(baseline.context, reading.context):
        return None
    if not all(map(eq, baseline.index, reading.keys)) or (reading.began_us != baseline.began_us).any():
        return None
    if (reading.longs == UNREADABLE).any() or not np.isfinite(reading.doubles).all():
        return None
    longs = reading.longs - baseline.longs
    if (longs < 0).any():  # went back; or was unreadable before, when it overflows
        return None
    difference = Difference(
        since_us=min(baseline.context.collected_at_us, reading.context.collected_at_us),
        longs=longs,
        doubles=reading.doubles - baseline.doubles,
        changed=np.flatnonzero(longs.any(axis=1)),
        whole=False,
        reason="",
        rows_began=False,
    )
    return difference, Baseline(reading.context, baseline.index, reading.longs, reading.doubles, reading.began_us)


def _compare_any(baseline: Baseline, reading: Reading) -> tuple[Difference, Baseline]:
    rows = places(baseline.index, reading.keys)
    known = rows >= 0
    before, before_doubles = _rows_of(baseline.longs, rows, reading.longs), _rows_of(baseline.doubles, rows, reading.doubles)
    before_began = _rows_of(baseline.began_us, rows, reading.began_us)
    whole = _began_after(baseline.context, reading.context)

    unreadable = reading.longs == UNREADABLE
    now = np.where(unreadable & known[:, None], before, reading.longs)
    now_doubles = np.where(np.isfinite(reading.doubles), reading.doubles, np.where(known[:, None], before_doubles, 0.0))
    zero_before = np.where(before == UNREADABLE, 0, before)
    went_back = ((now < zero_before) & ~unreadable).any(axis=1) & known
    began = (reading.began_us != before_began) & (reading.began_us > baseline.context.server_time_us) & known
    anew = ~known | went_back | began | whole

    value = np.where(now == UNREADABLE, 0, now)
    longs = np.where(anew[:, None], np.where(unreadable, 0, value), value - zero_before)
    doubles = now_doubles - np.where(anew[:, None], 0.0, before_doubles)
    difference = Difference(
        since_us=min(baseline.context.collected_at_us, reading.context.collected_at_us),
        longs=longs,
        doubles=doubles,
        changed=np.flatnonzero((longs != 0).any(axis=1)),
        whole=whole,
        reason=reason_of(baseline.context, reading.context) if whole else "",
        rows_began=bool((went_back | began).any()),
    )
    kept = np.where(unreadable & anew[:, None], UNREADABLE, now)
    index = {key: row for row, key in enumerate(reading.keys)}
    return difference, Baseline(reading.context, index, kept, now_doubles, reading.began_us)


def places(index: Mapping[Key, int], keys: Collection[Key]) -> Longs:
    """The row of each key, -1 where there is none."""
    return np.fromiter(map(index.get, keys, repeat(-1)), dtype=np.int64, count=len(keys))


def reason_of(before: Context, now: Context) -> str:
    """Why statistics began anew between two readings."""
    if before.postmaster_start_us != now.postmaster_start_us:
        return "restart"
    if now.crash_us is not None and now.crash_us > before.server_time_us:
        return "crash"
    return "stats_reset"


def _another_server(before: Context, now: Context) -> bool:
    if before.system_identifier != now.system_identifier:
        return True
    known = before.lineage_us is not None and now.lineage_us is not None
    return (known and before.lineage_us != now.lineage_us and not _began_after(before, now)) or of_another_server(before, now)


def _began_after(before: Context, now: Context) -> bool:
    return now.lineage_us is not None and now.lineage_us != before.lineage_us and now.lineage_us > before.server_time_us


def _rows_of(matrix: Any, rows: Longs, like: Any) -> Any:
    """The baseline's rows in the reading's order; zeros where there is none."""
    if not len(matrix):
        return np.zeros_like(like)
    taken = matrix[rows]
    taken[rows < 0] = 0
    return taken
