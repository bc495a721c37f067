"""What was sent of a metric whose rows are sent when they change: by key a hash in memory, the rows in the spool. Pure.

The spool keeps a log, as it does of baselines: each commit appends the rows that changed, every 60th is a full one.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard

from pganalytics.producers.baselines import FULL_EVERY, BaselineDamaged
from pganalytics.producers.compression import compress, decompress
from pganalytics.producers.reading import Key

Cells = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Contents:
    """By key (hash of the row, when it was sent in microseconds). `policy`: the redaction that the rows went through.

    `whole`: hash of the reading that all this was found in, as the target gave it; None after a start. `oldest_us`: when the row
    was sent that was not sent again for the longest time.
    """

    policy: str
    sent: Mapping[Key, tuple[int, int]]
    entries: int
    oldest_us: int
    whole: int | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """What a reading changes: keys of rows to be sent (in the reading's order), and keys that are gone."""

    send: list[Key]
    gone: list[Key]


def is_the_same(kept: Contents, whole: int, now_us: int, resend_us: int) -> bool:
    """Whether a reading is what the last one was, to the last byte and in the same order, and nothing is to be sent again."""
    return kept.whole == whole and 0 <= now_us - kept.oldest_us < resend_us


def compare_contents(
    kept: Contents | None, rows: Mapping[Key, Cells], now_us: int, resend_us: int, *, unread: Collection[Key] = ()
) -> Delta:
    """Rows that are new, differ, or were sent longer ago than `resend_us`; a clock that was put back counts as that. What is
    `unread` is neither sent nor gone."""
    if kept is None:
        return Delta(list(rows), [])

    def is_due(key: Key, cells: Cells) -> bool:
        if key in unread:
            return False
        before = kept.sent.get(key)
        return before is None or before[0] != hash_of(cells) or not 0 <= now_us - before[1] < resend_us

    return Delta([key for key, cells in rows.items() if is_due(key, cells)], [key for key in kept.sent if key not in rows])


def advance_contents(
    kept: Contents | None,
    rows: Mapping[Key, Cells],
    delta: Delta,
    *,
    columns: Sequence[str],
    policy: str,
    now_us: int,
    unread: Collection[Key] = (),
) -> tuple[bool, bytes, Contents]:
    """(whether the entry is full, the entry, the state once it is committed). While something is unread no entry is full: what is
    known of it is in the log alone."""
    sent = {key: kept.sent[key] for key in kept.sent if key in rows} if kept is not None else {}
    sent |= {key: (hash_of(rows[key]), now_us) for key in delta.send}
    full = kept is None or (kept.entries >= FULL_EVERY and not unread)
    keys = list(rows) if full else delta.send
    head = {
        "columns": list(columns),
        "policy": policy,
        "keys": keys,
        "rows": [list(rows[key]) for key in keys],
        "sent_at": [sent[key][1] for key in keys],
        "gone": [] if full else delta.gone,
    }
    body = compress(json.dumps(head, separators=(",", ":")).encode())
    return full, body, _contents(policy, sent, 1 if kept is None or full else kept.entries + 1)


def restore_contents(entries: Iterable[bytes], columns: Sequence[str]) -> Contents | None:
    """The state that a log holds. Raises BaselineDamaged, also when the metric has got other columns."""
    rows, policy, count = _replay(entries, columns)
    return _contents(policy, {key: (hash_of(cells), at) for key, (cells, at) in rows.items()}, count) if count else None


def rows_of(entries: Iterable[bytes], columns: Sequence[str]) -> dict[Key, list[Any]]:
    """The rows as they were sent last, by key."""
    return {key: cells for key, (cells, _) in _replay(entries, columns)[0].items()}


def whole_of(names: Sequence[str], rows: Sequence[Cells]) -> int:
    """The hash of a whole reading, in this process."""
    return hash(repr((names, rows)))


def _contents(policy: str, sent: Mapping[Key, tuple[int, int]], entries: int) -> Contents:
    return Contents(policy, sent, entries, min((at for _, at in sent.values()), default=0))


def hash_of(cells: Cells) -> int:
    """64 bits of a row, in this process: Python's hash of a text is SipHash with a key that is made at the start. That of a tuple
    would not do: -1 and -2 have one hash there."""
    return hash(repr(list(cells)))


def _replay(entries: Iterable[bytes], columns: Sequence[str]) -> tuple[dict[Key, tuple[list[Any], int]], str, int]:
    rows: dict[Key, tuple[list[Any], int]] = {}
    policy, count = "", 0
    for entry in entries:
        try:
            head = json.loads(decompress(entry))
            if head["columns"] != list(columns):
                raise BaselineDamaged("what was sent has other columns than the metric's schema")
            for key in head["gone"]:
                rows.pop(tuple(key), None)
            rows.update(zip(map(tuple, head["keys"]), zip(head["rows"], head["sent_at"], strict=True), strict=True))
            policy = head["policy"]
        except BaselineDamaged:
            raise
        except (ValueError, KeyError, TypeError, zstandard.ZstdError) as error:
            raise BaselineDamaged(f"what was sent cannot be read in the spool: {error!r}") from error
        count += 1
    return rows, policy, count
