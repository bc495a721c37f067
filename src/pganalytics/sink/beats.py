"""What a heartbeat adds to the ledger, read from its body. Pure.

Everything is a union: neither the order nor the age of heartbeats matters, and one that comes twice changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pganalytics.schemas.codec import fill
from pganalytics.schemas.identity import LANES, Lane, Stream
from pganalytics.schemas.metric import MetricSchema, builtin_schemas
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.multiranges import MOST_SEQ

MOST_EPOCHS = 500
MOST_UNSENT = 20_000
"""Far above what agents send (50 epochs, 32 ranges per lane): more would make one collector's ledger rows slow for all."""


class ImplausibleBeat(ValueError):
    """A heartbeat whose counts contradict themselves: none of them is applied."""


@dataclass(frozen=True, slots=True)
class EpochBeat:
    """One epoch as a heartbeat tells of it. `spool_id` is None for the older epochs that it lists.

    `final`: the highest seq of each lane, in the order of LANES, when nothing of the epoch will follow.
    """

    collector: str
    epoch: int
    spool_id: str | None
    at_us: int
    final: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Which epochs a heartbeat names. `share`: how much that is of all that its spool knows, above 0 and up to 1.

    `appended_at_us`: when the broker took it.
    """

    collector: str
    appended_at_us: int
    share: float
    epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Beat:
    """`emitted`: highest seq by stream. `sent`: what Kafka has acknowledged of it. `listing`: None when its place is unknown."""

    emitted: Mapping[Stream, int]
    sent: Mapping[Stream, Ranges]
    epochs: tuple[EpochBeat, ...]
    listing: Listing | None = None


def read_beat(schema: MetricSchema, record: Mapping[str, Any], *, appended_at_us: int = 0) -> Beat:
    """Read a decoded heartbeat, taken by the broker at `appended_at_us` (0: unknown); raises ImplausibleBeat."""
    collector, own, at_us = record["collector"], record["epoch"], record["collected_at"]
    emitted = {Stream(collector, own, lane): record[f"emitted_{lane}"] for lane in LANES}
    highest = tuple(emitted.values())
    epochs = {own: EpochBeat(collector, own, record["spool_id"], at_us, highest if record["final"] else None)}
    for old in _rows(schema, "epochs", record, most=MOST_EPOCHS):
        epoch = old["old_epoch"]
        if epoch < 1 or epoch in epochs:
            raise ImplausibleBeat(f"old epoch {epoch} is none, or is listed twice")
        highest = tuple(old[f"old_emitted_{lane}"] for lane in LANES)
        emitted |= {Stream(collector, epoch, lane): seq for lane, seq in zip(LANES, highest, strict=True)}
        epochs[epoch] = EpochBeat(collector, epoch, None, at_us, highest if old["old_final"] else None)
    if "\0" in record["spool_id"]:
        raise ImplausibleBeat("a spool id with U+0000 inside")
    for stream, highest in emitted.items():
        if not 0 <= highest <= MOST_SEQ:
            raise ImplausibleBeat(f"emitted is {highest} in lane {stream.lane}")
    unsent = _unsent(collector, _rows(schema, "unsent", record, most=MOST_UNSENT))
    sent = {stream: Ranges.of([(1, highest)]) - unsent.get(stream, Ranges()) for stream, highest in emitted.items()}
    listing = _listing(collector, appended_at_us, tuple(epochs), record["epochs_total"])
    return Beat(emitted=emitted, sent=sent, epochs=tuple(epochs.values()), listing=listing)


def tells_counts(schema: MetricSchema) -> bool:
    """Whether a schema has all that `read_beat` reads, as the heartbeat of this version has it."""
    ours = {field.name: field for field in builtin_schemas()["heartbeat"].fields}
    theirs = {field.name: field for field in schema.fields}
    needed = [
        name for name in ours if name.startswith(("emitted_", "old_", "unsent_")) or name in ("spool_id", "final", "epochs_total")
    ]
    return all(
        name in theirs and (theirs[name].primitive, theirs[name].group) == (ours[name].primitive, ours[name].group)
        for name in needed
    )


def _listing(collector: str, appended_at_us: int, epochs: tuple[int, ...], older: int) -> Listing | None:
    """`epochs`: its own and the older ones that it lists, of `older` in all."""
    listed = len(epochs) - 1
    share = listed / older if older > listed else 1.0
    return Listing(collector, appended_at_us, share, epochs) if appended_at_us > 0 and share > 0 else None


def _unsent(collector: str, rows: Sequence[Mapping[str, Any]]) -> dict[Stream, Ranges]:
    spans: dict[Stream, list[tuple[int, int]]] = {}
    for row in rows:
        low, high = row["unsent_low"], row["unsent_high"]
        if row["unsent_lane"] not in LANES or not 1 <= low <= high <= MOST_SEQ:
            raise ImplausibleBeat(f"unsent range {low}-{high} of lane {row['unsent_lane'][:20]!r}")
        spans.setdefault(Stream(collector, row["unsent_epoch"], Lane(row["unsent_lane"])), []).append((low, high))
    return {stream: Ranges.of(found) for stream, found in spans.items()}


def _rows(schema: MetricSchema, group: str, record: Mapping[str, Any], *, most: int) -> list[dict[str, Any]]:
    columns = fill(schema.groups[group], record)
    if any(len(cells) > most for cells in columns.values()):
        raise ImplausibleBeat(f"more than {most} rows in group {group}")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
