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
    """One epoch as a heartbeat tells of it. `spool_id` is None for the older epochs that it lists."""

    collector: str
    epoch: int
    spool_id: str | None
    at_us: int
    final: bool


@dataclass(frozen=True, slots=True)
class Beat:
    """`emitted`: highest seq by stream. `sent`: what Kafka has acknowledged of it."""

    emitted: Mapping[Stream, int]
    sent: Mapping[Stream, Ranges]
    epochs: tuple[EpochBeat, ...]


def read_beat(schema: MetricSchema, record: Mapping[str, Any]) -> Beat:
    """Read a decoded heartbeat; raises ImplausibleBeat."""
    collector, own = record["collector"], record["epoch"]
    emitted = {Stream(collector, own, lane): record[f"emitted_{lane}"] for lane in LANES}
    epochs = {own: EpochBeat(collector, own, record["spool_id"], record["collected_at"], record["final"])}
    for old in _rows(schema, "epochs", record, most=MOST_EPOCHS):
        epoch = old["old_epoch"]
        if epoch < 1 or epoch in epochs:
            raise ImplausibleBeat(f"old epoch {epoch} is none, or is listed twice")
        emitted |= {Stream(collector, epoch, lane): old[f"old_emitted_{lane}"] for lane in LANES}
        epochs[epoch] = EpochBeat(collector, epoch, None, record["collected_at"], old["old_final"])
    if "\0" in record["spool_id"]:
        raise ImplausibleBeat("a spool id with U+0000 inside")
    for stream, highest in emitted.items():
        if not 0 <= highest <= MOST_SEQ:
            raise ImplausibleBeat(f"emitted is {highest} in lane {stream.lane}")
    unsent = _unsent(collector, _rows(schema, "unsent", record, most=MOST_UNSENT))
    sent = {stream: Ranges.of([(1, highest)]) - unsent.get(stream, Ranges()) for stream, highest in emitted.items()}
    return Beat(emitted=emitted, sent=sent, epochs=tuple(epochs.values()))


def tells_counts(schema: MetricSchema) -> bool:
    """Whether a schema has all that `read_beat` reads, as the heartbeat of this version has it."""
    ours = {field.name: field for field in builtin_schemas()["heartbeat"].fields}
    theirs = {field.name: field for field in schema.fields}
    needed = [name for name in ours if name.startswith(("emitted_", "old_", "unsent_")) or name in ("spool_id", "final")]
    return all(
        name in theirs and (theirs[name].primitive, theirs[name].group) == (ours[name].primitive, ours[name].group)
        for name in needed
    )


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
