"""A batch, and what it does to the ledger once the locked rows are known. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.beats import Beat, EpochBeat, Listing
from pganalytics.sink.records import Noticed, Partition, Place, Poison, Reading, Reason, Row, Span

MOST_TIME_US = 2**53
"""A heartbeat's time beyond this is a broken clock: not kept."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of some partitions, judged. `spans` says which; every offset in them has one reading."""

    spans: Mapping[Partition, Span]
    readings: tuple[Reading, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """What can be stored."""
        return tuple(reading for reading in self.readings if isinstance(reading, Row))

    @property
    def poisons(self) -> tuple[Poison, ...]:
        """What cannot."""
        return tuple(reading for reading in self.readings if isinstance(reading, Poison))

    @property
    def noticed(self) -> tuple[Noticed, ...]:
        """Events."""
        return tuple(reading for reading in self.readings if isinstance(reading, Noticed))

    def condemned(self, verdicts: Mapping[Place, Poison]) -> "Batch":
        """The same batch with these records' rows turned into dead letters."""
        return replace(self, readings=tuple(verdicts.get(reading.message.place, reading) for reading in self.readings))


@dataclass(slots=True)
class Change:
    """What a batch adds to one ledger row."""

    stored: Ranges = field(default_factory=Ranges)
    dead: Ranges = field(default_factory=Ranges)
    shed: Ranges = field(default_factory=Ranges)
    deferred: Ranges = field(default_factory=Ranges)
    sent: Ranges = field(default_factory=Ranges)
    emitted: int = 0

    def saw(self, seqs: Ranges) -> Ranges:
        """Note that these exist: a seq seen above `emitted` raises it."""
        if seqs:
            self.emitted = max(self.emitted, seqs.spans[-1][1])
        return seqs


@dataclass(frozen=True, slots=True)
class Plan:
    """`new`: the rows to write. `changes`: by stream, in key order. `duplicates`: rows that are in the store already.

    `dead`: how many cannot be stored, by reason.
    """

    new: tuple[Row, ...]
    changes: Mapping[Stream, Change]
    duplicates: int
    dead: Mapping[Reason, int]


def windows(batch: Batch) -> dict[Stream, Ranges]:
    """Every stream that the batch touches, in key order, with the range of seqs of its rows (empty when it has none)."""
    seqs = _seqs(batch.rows)
    touched = set(seqs) | {poison.identity.stream for poison in batch.poisons if poison.identity is not None}
    touched |= {stream for noticed in batch.noticed if (stream := _concerned(noticed)) is not None}
    touched |= {stream for beat in _beats(batch) for stream in beat.emitted}
    return {stream: Ranges.of([(min(seqs[stream]), max(seqs[stream]))] if stream in seqs else []) for stream in sorted(touched)}


def plan(batch: Batch, stored: Mapping[Stream, Ranges]) -> Plan:
    """New is what the locked rows do not have in `stored`, and the first of its kind in the batch; nothing else counts."""
    changes = {stream: Change() for stream in windows(batch)}
    fresh: dict[Stream, set[int]] = {}
    for stream, seqs in _seqs(batch.rows).items():
        changes[stream].stored = changes[stream].saw(Ranges.numbers(seqs) - stored[stream])
        changes[stream].saw(Ranges.numbers(seqs))
        fresh[stream] = set(changes[stream].stored)
    new = []
    for row in batch.rows:
        waiting = fresh[row.identity.stream]
        if row.identity.seq in waiting:
            waiting.remove(row.identity.seq)
            new.append(row)
    _add_poisons(batch, changes)
    _add_events(batch, changes)
    for beat in _beats(batch):
        for stream, highest in beat.emitted.items():
            changes[stream].emitted = max(changes[stream].emitted, highest)
            changes[stream].sent |= beat.sent[stream]
    dead = Counter(poison.reason for poison in batch.poisons)
    return Plan(new=tuple(new), changes=changes, duplicates=len(batch.rows) - len(new), dead=dead)


def epochs(batch: Batch) -> list[EpochBeat]:
    """What the batch's heartbeats say of epochs, one value per epoch. A time that is not trusted is 0."""
    merged: dict[tuple[str, int], EpochBeat] = {}
    told = [(beat, True) for row in batch.rows if (beat := row.beat)]
    told += [(beat, False) for poison in batch.poisons if (beat := poison.beat)]
    for beat, trusted in told:
        for told_epoch in beat.epochs:
            at_us = told_epoch.at_us if trusted and told_epoch.at_us < MOST_TIME_US else 0
            before = merged.get((told_epoch.collector, told_epoch.epoch), told_epoch)
            merged[told_epoch.collector, told_epoch.epoch] = replace(
                told_epoch,
                spool_id=told_epoch.spool_id or before.spool_id,
                at_us=at_us if before is told_epoch else max(at_us, before.at_us),
                final=_least(told_epoch.final, before.final),
            )
    return [merged[key] for key in sorted(merged)]


def listings(batch: Batch) -> list[Listing]:
    """Which epochs the batch's heartbeats name, also those that come again: each counts once by its time."""
    told = {(beat.listing.collector, beat.listing.appended_at_us): beat.listing for beat in _beats(batch) if beat.listing}
    return [told[key] for key in sorted(told)]


def _least(left: tuple[int, ...] | None, right: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if left is None or right is None:
        return left or right
    return tuple(map(min, left, right))


def _seqs(rows: Iterable[Row]) -> dict[Stream, list[int]]:
    seqs: dict[Stream, list[int]] = {}
    for row in rows:
        seqs.setdefault(row.identity.stream, []).append(row.identity.seq)
    return seqs


def _beats(batch: Batch) -> list[Beat]:
    told: list[Row | Poison] = [*batch.rows, *batch.poisons]
    return [reading.beat for reading in told if reading.beat is not None]


def _concerned(noticed: Noticed) -> Stream | None:
    """The stream whose ledger row an event changes."""
    event = noticed.event
    if event.kind not in (EventKind.DEFERRED, EventKind.SHED) or event.lane is None or event.epoch < 1:
        return None
    return Stream(event.collector, event.epoch, event.lane)


def _add_poisons(batch: Batch, changes: Mapping[Stream, Change]) -> None:
    dead: dict[Stream, list[int]] = {}
    for poison in batch.poisons:
        if poison.identity is not None:
            dead.setdefault(poison.identity.stream, []).append(poison.identity.seq)
    for stream, seqs in dead.items():
        changes[stream].dead = changes[stream].saw(Ranges.numbers(seqs))


def _add_events(batch: Batch, changes: Mapping[Stream, Change]) -> None:
    for noticed in batch.noticed:
        stream = _concerned(noticed)
        if stream is None:
            continue
        seqs = changes[stream].saw(noticed.event.ranges)
        if noticed.event.kind is EventKind.SHED:
            changes[stream].shed |= seqs
        else:
            changes[stream].deferred |= seqs
