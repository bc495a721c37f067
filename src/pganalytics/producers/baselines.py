"""Baselines as a log: each commit appends what changed, every 60th is a full reading. Pure; the spool keeps the bytes.

An entry is a line of JSON (context, keys that changed, keys that went, shape) and the counters of the changed keys as
little-endian 8-byte numbers, all zstd-compressed.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard

from pganalytics.producers.compression import compress, decompress
from pganalytics.producers.diff import Baseline, places
from pganalytics.producers.reading import Context, Key

FULL_EVERY = 60


class BaselineDamaged(ValueError):
    """A log entry cannot be read: the caller begins with a new baseline, and says so."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A baseline that the spool has, and how many entries its log has since and with the last full one."""

    baseline: Baseline
    entries: int


@dataclass(frozen=True, slots=True)
class Movement:
    """What the spool appends to the log of (collector, metric, database) in the record's transaction.

    A full one replaces all before it.
    """

    collector: str
    metric: str
    database: str
    full: bool
    body: bytes


def advance(kept: Kept | None, baseline: Baseline, columns: Sequence[str]) -> tuple[bool, bytes, Kept]:
    """(whether the entry is full, the entry, the state once it is committed). `columns` names the counters."""
    if kept is None or kept.entries >= FULL_EVERY:
        rows = list(range(len(baseline.index)))
        return True, _pack(baseline, columns, rows, []), Kept(baseline, 1)
    gone = list(kept.baseline.index.keys() - baseline.index.keys())
    return False, _pack(baseline, columns, _moved(kept.baseline, baseline), gone), Kept(baseline, kept.entries + 1)


def restore(entries: Iterable[bytes], columns: Sequence[str]) -> Kept | None:
    """The baseline that a log holds: a full entry and the changes after it, in order.

    Raises BaselineDamaged, also when the counters are not those of `columns`: the metric has got another schema.
    """
    rows: dict[Key, tuple[list[int], list[float], int]] = {}
    context, count, widths = None, 0, (0, 0)
    for entry in entries:
        context, keys, gone, longs, doubles, began, widths = _unpack(entry, columns)
        for key in gone:
            rows.pop(key, None)
        rows.update(zip(keys, zip(longs, doubles, began, strict=True), strict=True))
        count += 1
    if context is None:
        return None
    cells = list(rows.values())
    baseline = Baseline(
        context=context,
        index={key: row for row, key in enumerate(rows)},
        longs=np.array([cell[0] for cell in cells], dtype=np.int64).reshape(len(rows), widths[0]),
        doubles=np.array([cell[1] for cell in cells], dtype=np.float64).reshape(len(rows), widths[1]),
        began_us=np.array([cell[2] for cell in cells], dtype=np.int64),
    )
    return Kept(baseline, count)


def _moved(before: Baseline, after: Baseline) -> list[int]:
    """Rows of `after` that are new or differ in any counter or mark."""
    if before.index is after.index:  # the same rows
        moved = (before.longs != after.longs).any(axis=1) | (before.doubles != after.doubles).any(axis=1)
        moved |= before.began_us != after.began_us
        return list(np.flatnonzero(moved).tolist())
    rows = places(before.index, after.index)
    moved = rows < 0
    if len(before.index):
        moved = (
            moved
            | (before.longs[rows] != after.longs).any(axis=1)
            | (before.doubles[rows] != after.doubles).any(axis=1)
            | (before.began_us[rows] != after.began_us)
        )
    return [int(row) for row in np.flatnonzero(moved)]


def _pack(baseline: Baseline, columns: Sequence[str], rows: list[int], gone: list[Key]) -> bytes:
    keys = list(baseline.index)
    head = {
        "context": {name: getattr(baseline.context, name) for name in Context.__slots__},
        "keys": [keys[row] for row in rows],
        "gone": gone,
        "columns": list(columns),
        "widths": [baseline.longs.shape[1], baseline.doubles.shape[1]],
    }
    arrays = (baseline.longs[rows].astype("<i8"), baseline.doubles[rows].astype("<f8"), baseline.began_us[rows].astype("<i8"))
    body = json.dumps(head, separators=(",", ":")).encode() + b"\n" + b"".join(array.tobytes() for array in arrays)
    return compress(body, level=1)


_Entry = tuple[Context, list[Key], list[Key], list[list[int]], list[list[float]], list[int], tuple[int, int]]


def _unpack(entry: bytes, columns: Sequence[str]) -> _Entry:
    try:
        line, _, rest = decompress(entry).partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        if head["columns"] != list(columns):
            raise BaselineDamaged("a baseline in the spool has other counters than the metric's schema")
        count, (wide, double) = len(head["keys"]), head["widths"]
        longs = np.frombuffer(rest, dtype="<i8", count=count * wide).reshape(count, wide)
        doubles = np.frombuffer(rest, dtype="<f8", count=count * double, offset=longs.nbytes).reshape(count, double)
        began = np.frombuffer(rest, dtype="<i8", count=count, offset=longs.nbytes + doubles.nbytes)
        keys, gone = ([tuple(key) for key in head[part]] for part in ("keys", "gone"))
        return Context(**head["context"]), keys, gone, longs.tolist(), doubles.tolist(), began.tolist(), (wide, double)
    except BaselineDamaged:
        raise
    except (ValueError, KeyError, TypeError, zstandard.ZstdError) as error:
        raise BaselineDamaged(f"a baseline in the spool cannot be read: {error!r}") from error
