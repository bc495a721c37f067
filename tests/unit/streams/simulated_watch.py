"""What must be told of gaps and heartbeats in a history, counted in the plainest way: every seq, every deadline.

Shares no code with what is tested.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import Lane
from pganalytics.streams.records import Partition
from unit.streams.arrivals import TOPICS
from unit.streams.simulated_history import SECOND, Facts, Record

STEP_US, CONFIRM_US, SILENT_US, SKEW_US = 30 * SECOND, 120 * SECOND, 90 * SECOND, 30 * SECOND
K = EventKind

Told = tuple[str, str, int, str, tuple[int, ...], str, int, int]
"""Kind, collector, epoch, lane, seqs, topic, offset, time."""


@dataclass(slots=True)
class Claim:
    """A heartbeat says that a lane has got so far. `top`: where the lane was then."""

    highest: int
    final: bool
    at_us: int
    offset: int
    due_us: int
    top: int
    told: bool = False


@dataclass(slots=True)
class Sequence:
    """`missing`: seq -> offset and time of what showed it, its deadline; `made_us`: of the highest, None if it
    means nothing."""

    top: int
    made_us: int | None
    missing: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    confirmed: set[int] = field(default_factory=set)
    claim: Claim | None = None


@dataclass(slots=True)
class Epoch:
    seq: int
    at_us: int
    emitted: Mapping[Lane, int]
    clock: str


@dataclass(slots=True)
class Heart:
    current: int
    epochs: dict[int, Epoch]
    listed: tuple[int, ...]
    at_us: int
    offset: int
    due_us: int
    silent: bool = False
    turns: int = 0
    turned_us: int = 0


@dataclass(slots=True)
class Log:
    """One partition, as far as it was read. The keys are collector and epoch, or collector."""

    lane: Lane
    at_us: int
    following: int = 0
    live_us: int = 0
    sequences: dict[tuple[str, int], Sequence] = field(default_factory=dict)
    hearts: dict[str, Heart] = field(default_factory=dict)


class Watcher:
    """What is told of gaps and heartbeats."""

    def __init__(self) -> None:
        self.logs: dict[Partition, Log] = {}

    def begin(self, place: Partition, offset: int) -> None:
        log = self.logs.get(place)
        if log is not None and offset > log.following:
            log.sequences, log.hearts = {}, {}

    def take(self, record: Record) -> list[Told]:
        came, facts = record.arrival, record.facts
        log = self.logs.setdefault(came.place, Log(came.lane, came.at_us))
        log.following = max(log.following, came.offset + 1)
        told = self.move(came.place, came.at_us)
        if facts is not None:
            told += self._count(log, facts, came.offset, came.at_us)
            if facts.beat is not None:
                told += self._beat(came.partition, log, facts, came.offset, came.at_us)
        return told

    def move(self, place: Partition, at_us: int) -> list[Told]:
        """Time passes: whatever is due is told."""
        log, topic = self.logs[place], place[0]
        if at_us > log.at_us:
            log.live_us += min(at_us - log.at_us, STEP_US)
            log.at_us = at_us
        told: list[Told] = []
        for name, heart in log.hearts.items():
            if not heart.silent and heart.due_us <= log.live_us:
                heart.silent = True
                told.append((K.SILENT, name, heart.current, "critical", (), topic, heart.offset, heart.at_us + SILENT_US))
        for (name, epoch), one in log.sequences.items():
            due = [seq for seq, (_, _, due_us) in one.missing.items() if seq not in one.confirmed and due_us <= log.live_us]
            one.confirmed.update(due)
            for offset, at in {one.missing[seq][:2] for seq in due}:
                seqs = tuple(sorted(seq for seq in due if one.missing[seq][0] == offset))
                told.append((K.GAP_CONFIRMED, name, epoch, log.lane, seqs, topic, offset, at + CONFIRM_US))
            if one.claim is not None and not one.claim.told and one.claim.due_us <= log.live_us:
                told += self._claim_is_due(log.lane, name, epoch, one, one.claim)
        return told

    def _claim_is_due(self, lane: Lane, name: str, epoch: int, one: Sequence, claim: Claim) -> list[Told]:
        topic, at_us = TOPICS.collected(Lane.CRITICAL), claim.at_us + CONFIRM_US
        seqs = tuple(range(one.top + 1, claim.highest + 1))
        if not seqs or (not claim.final and one.top != claim.top):
            one.claim = None
            return []
        claim.told = True
        if not claim.final:
            return [(K.TAIL, name, epoch, lane, seqs, topic, claim.offset, at_us)]
        one.missing |= dict.fromkeys(seqs, (claim.offset, claim.at_us, claim.due_us))
        one.confirmed |= set(seqs)
        one.top, one.made_us, one.claim = claim.highest, None, None
        return [(K.GAP_CONFIRMED, name, epoch, lane, seqs, topic, claim.offset, at_us)]

    def _count(self, log: Log, facts: Facts, offset: int, at_us: int) -> list[Told]:
        topic, seq = TOPICS.collected(facts.lane), facts.seq
        one = log.sequences.get((facts.collector, facts.epoch))
        if one is None:
            log.sequences[facts.collector, facts.epoch] = Sequence(seq, facts.made_us)
            return []
        kind: EventKind | None = None
        seqs: tuple[int, ...] = (seq,)
        if seq > one.top:
            if seq > one.top + 1:
                kind, seqs = K.GAP, tuple(range(one.top + 1, seq))
                one.missing |= dict.fromkeys(seqs, (offset, at_us, log.live_us + CONFIRM_US))
            one.top, one.made_us = seq, facts.made_us
        elif seq in one.missing:
            kind = K.GAP_FILLED
            del one.missing[seq]
            if seq == one.top:
                one.made_us = facts.made_us
        elif seq == one.top and one.made_us not in (None, facts.made_us):
            kind, one.made_us = K.SEQ_REUSED, None
        return [] if kind is None else [(kind, facts.collector, facts.epoch, facts.lane, seqs, topic, offset, at_us)]

    def _beat(self, partition: int, log: Log, facts: Facts, offset: int, at_us: int) -> list[Told]:
        beat, name, epoch = facts.beat, facts.collector, facts.epoch
        assert beat is not None
        heart = log.hearts.get(name)
        before = heart.epochs.get(epoch) if heart else None
        if before is not None and facts.seq <= before.seq:
            return []
        kinds = [K.BACK] if heart is not None and heart.silent else []
        clock = before.clock if before else heart.epochs[heart.current].clock if heart else "agrees"
        now = _clock(clock, facts.made_us - at_us, before.at_us - facts.made_us if before else None)
        kinds += [K.CLOCK_SKEW] if now != clock else []
        known = Epoch(facts.seq, at_us, beat.emitted, now)
        due_us = log.live_us + SILENT_US
        if heart is None:
            log.hearts[name] = heart = Heart(epoch, {epoch: known}, beat.epochs, at_us, offset, due_us)
        else:
            kinds += self._turn(heart, facts, at_us)
            heart.epochs[epoch] = known
            heart.at_us, heart.offset, heart.due_us, heart.silent = at_us, offset, due_us, False
        for each in {epoch, *beat.final} & set(heart.epochs):
            self._claims(partition, (name, each), heart.epochs[each].emitted, each in beat.final, offset, at_us)
        topic = TOPICS.collected(Lane.CRITICAL)
        return [(kind, name, epoch, Lane.CRITICAL, (), topic, offset, at_us) for kind in kinds]

    def _turn(self, heart: Heart, facts: Facts, at_us: int) -> list[EventKind]:
        """Whether another agent speaks."""
        assert facts.beat is not None
        last, kinds = heart.current, []
        if facts.epoch != last and facts.epoch in heart.listed:
            return []
        if facts.epoch not in heart.epochs:
            heart.turns, heart.turned_us = 1, at_us
            kinds = [K.RESTARTED]
        elif facts.epoch != last and last not in facts.beat.epochs:
            heart.turns = heart.turns + 1 if at_us - heart.turned_us <= SILENT_US else 1
            heart.turned_us = at_us
            kinds = [K.CONFLICT] if heart.turns == 4 else []
        heart.current, heart.listed = facts.epoch, facts.beat.epochs
        return kinds

    def _claims(
        self, partition: int, whose: tuple[str, int], emitted: Mapping[Lane, int], final: bool, offset: int, at_us: int
    ) -> None:
        for lane in (Lane.NORMAL, Lane.BULK):
            log = self.logs.get((TOPICS.collected(lane), partition))
            one = log.sequences.get(whose) if log else None
            if log is None or one is None:
                continue
            highest, old = emitted[lane], one.claim
            due_us = log.live_us + max(0, at_us - log.at_us) + CONFIRM_US
            if highest <= one.top:
                one.claim = None
            elif old is None or (not old.final and (final or old.top != one.top)):
                one.claim = Claim(highest, final, at_us, offset, due_us, one.top)


def _clock(clock: str, ahead_us: int, behind_us: int | None) -> str:
    """It is told beyond the bound, and over below half of it."""
    if ahead_us > (SKEW_US // 2 if clock == "ahead" else SKEW_US):
        return "ahead"
    if behind_us is not None and behind_us > (SKEW_US // 2 if clock == "behind" else SKEW_US):
        return "behind"
    return "behind" if behind_us is None and clock == "behind" else "agrees"
