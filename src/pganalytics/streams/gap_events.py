"""Events of gaps and heartbeats: kinds, places and sentences. Pure."""

from dataclasses import dataclass

from pganalytics.schemas.events import EventKind
from pganalytics.streams.gaps import Change
from pganalytics.streams.pulses import Clock, Noticed, Word

SECOND = 1_000_000

KIND = {
    Change.OPENED: EventKind.GAP,
    Change.FILLED: EventKind.GAP_FILLED,
    Change.REUSED: EventKind.SEQ_REUSED,
    Change.CONFIRMED: EventKind.GAP_CONFIRMED,
    Change.TAIL: EventKind.TAIL,
    Change.LOST_TAIL: EventKind.GAP_CONFIRMED,
    Noticed.BACK: EventKind.BACK,
    Noticed.RESTARTED: EventKind.RESTARTED,
    Noticed.CONFLICT: EventKind.CONFLICT,
    Noticed.CLOCK: EventKind.CLOCK_SKEW,
}
SENTENCE = {
    Change.OPENED: "later records came before these",
    Change.FILLED: "it came later than its successors",
    Change.REUSED: "two different records have this identity: the agent was put back to an earlier state while it ran",
    Change.CONFIRMED: "these did not come until the deadline",
    Change.TAIL: "emitted, and nothing of the lane came until the deadline: in the agent's spool, on the way, or lost",
    Change.LOST_TAIL: "all of this epoch was sent, and these, its last, did not come until the deadline",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """The record at which an event was noticed, or with which what it tells began."""

    topic: str
    partition: int
    offset: int
    at_us: int


def sentence_of(word: Word, epoch: int) -> str:
    """What a heartbeat of this epoch tells."""
    if word.what is Noticed.BACK:
        return "a heartbeat came" if word.other == epoch else f"a heartbeat came, of another epoch than {word.other}"
    if word.what is Noticed.RESTARTED:
        return f"epoch {epoch} follows epoch {word.other}"
    if word.what is Noticed.CONFLICT:
        return f"epochs {word.other} and {epoch} take turns and do not list each other: two agents are alive under one id"
    if word.clock is Clock.AGREES:
        return "the agent's clock agrees with Kafka's again"
    return f"the agent's clock is {word.clock} of Kafka's by at least {word.skew_us / SECOND:.0f} s".replace(
        "behind of", "behind"
    )
