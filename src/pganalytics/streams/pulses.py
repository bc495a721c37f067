"""The heartbeats of one collector: restarts, two agents under one id, clocks, silence and return. Pure.

A heartbeat whose seq is not above the highest of its epoch is a redelivery and means nothing, not even life.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import Lane

MOST_EPOCHS = 4
"""Epochs remembered per collector: that many agents under one id are told apart."""
MOST_LISTED = 64
"""A heartbeat lists at most 50 old epochs; a forged one may name any number."""
SWITCHES = 4
"""Changes between known epochs that make a conflict. A heartbeat that a dead agent had left in its spool makes two."""
OWED_LANES = (Lane.NORMAL, Lane.BULK)
"""A heartbeat has itself the highest seq of its own lane."""


class Clock(StrEnum):
    """An agent's clock against the broker's."""

    AGREES = "agrees"
    AHEAD = "ahead"
    BEHIND = "behind"


class Noticed(StrEnum):
    """What a heartbeat tells."""

    BACK = "back"
    RESTARTED = "restarted"
    CONFLICT = "conflict"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Bounds:
    """`skew_us`: the difference of clocks that is told; it is over below half of it. `window_us`: how far apart the changes
    between epochs may be that make a conflict. `interval_us`: between heartbeats."""

    skew_us: int
    window_us: int
    interval_us: int


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat, as its headers and the broker tell."""

    epoch: int
    seq: int
    at_us: int
    collected_at_us: int
    offset: int
    facts: HeartbeatFacts


@dataclass(frozen=True, slots=True)
class Known:
    """The newest heartbeat of one epoch. `emitted`: of the lanes in OWED_LANES."""

    epoch: int
    seq: int
    at_us: int
    emitted: tuple[int, ...]
    clock: Clock


@dataclass(frozen=True, slots=True)
class Pulse:
    """One collector. `known`: its epochs, the one that it is in first; `listed`: those that its heartbeats name as old.

    `at_us`, `offset`: of the newest heartbeat; `up`, `stopped`: what it says of the target, and whether it ends its epoch.
    """

    era: int
    known: tuple[Known, ...]
    listed: frozenset[int]
    at_us: int
    offset: int
    up: bool
    stopped: bool
    silent: bool = False
    switches: int = 0
    switched_us: int = 0


@dataclass(frozen=True, slots=True)
class Word:
    """Something to tell. `other`: the epoch before, or the other one; `skew_us`: the clock is off by at least this."""

    what: Noticed
    other: int = 0
    clock: Clock = Clock.AGREES
    skew_us: int = 0


def feel(pulse: Pulse | None, beat: Beat, *, era: int, bounds: Bounds) -> tuple[Pulse, list[Word]]:
    """Take one heartbeat into account."""
    if pulse is None or pulse.era != era:
        first, words = _known(None, beat, Clock.AGREES, bounds)
        return _after(None, beat, era=era, known=(first,)), words
    before = next((known for known in pulse.known if known.epoch == beat.epoch), None)
    if before is not None and beat.seq <= before.seq:
        return pulse, []
    current = pulse.known[0]
    now, skewed = _known(before, beat, (before or current).clock, bounds)
    words = [Word(Noticed.BACK, current.epoch)] if pulse.silent else []
    others = tuple(known for known in pulse.known if known.epoch != beat.epoch)
    if beat.epoch == current.epoch:
        return _after(pulse, beat, era=era, known=(now, *others)), words + skewed
    if beat.epoch in pulse.listed:  # left over in the spool of the agent that runs now
        left = replace(pulse, known=_bounded((current, now, *others[1:])), at_us=beat.at_us, offset=beat.offset, silent=False)
        return left, words + skewed
    after = _after(pulse, beat, era=era, known=_bounded((now, *others)))
    if before is None:
        return replace(after, switches=1, switched_us=beat.at_us), [*words, Word(Noticed.RESTARTED, current.epoch), *skewed]
    if current.epoch in beat.facts.epochs:
        return after, words + skewed
    switches = pulse.switches + 1 if beat.at_us - pulse.switched_us <= bounds.window_us else 1
    if switches == SWITCHES:
        words.append(Word(Noticed.CONFLICT, current.epoch))
    return replace(after, switches=switches, switched_us=beat.at_us), words + skewed


def fall_silent(pulse: Pulse) -> Pulse:
    """No heartbeat came until the deadline."""
    return replace(pulse, silent=True)


def _after(pulse: Pulse | None, beat: Beat, *, era: int, known: tuple[Known, ...]) -> Pulse:
    facts = beat.facts
    return Pulse(
        era=era,
        known=known,
        listed=frozenset(facts.epochs[:MOST_LISTED]) if facts.epochs else frozenset(),
        at_us=beat.at_us,
        offset=beat.offset,
        up=facts.up,
        stopped=beat.epoch in facts.final,
        switches=pulse.switches if pulse else 0,
        switched_us=pulse.switched_us if pulse else 0,
    )


def _known(before: Known | None, beat: Beat, clock: Clock, bounds: Bounds) -> tuple[Known, list[Word]]:
    """A heartbeat was made before it was appended, and after the one before it in its epoch was: only then is another made.

    So a clock that says otherwise is off by at least the difference, however long the heartbeat waited in its spool.
    """
    off = {Clock.AHEAD: beat.collected_at_us - beat.at_us}
    if before is not None:
        off[Clock.BEHIND] = before.at_us - beat.collected_at_us
    told = [each for each, skew_us in off.items() if skew_us > (bounds.skew_us // 2 if each is clock else bounds.skew_us)]
    now = told[0] if told else Clock.AGREES if before is not None or clock is not Clock.BEHIND else clock
    emitted = tuple(beat.facts.emitted[lane] for lane in OWED_LANES)
    known = Known(beat.epoch, beat.seq, beat.at_us, emitted, now)
    return known, [] if now is clock else [Word(Noticed.CLOCK, clock=now, skew_us=off.get(now, 0))]


def _bounded(known: tuple[Known, ...]) -> tuple[Known, ...]:
    return known[:MOST_EPOCHS]
