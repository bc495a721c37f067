"""What workers hand to the spool, and what the spool hands to the sender. Values."""

import json
from dataclasses import dataclass

from pganalytics.producers.baselines import Movement
from pganalytics.schemas.headers import Headers, HeartbeatFacts
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.schemas.metric import MetricSchema
from pganalytics.schemas.ranges import Ranges


@dataclass(frozen=True, slots=True)
class Record:
    """A record without its seq: `rest` is `RecordCodec.encode_rest` of everything after the identity."""

    collector: str
    epoch: int
    schema: MetricSchema
    rest: bytes
    rows: int
    collected_at_us: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is committed together: the record, and the baseline that moves with it. Either may be absent."""

    record: Record | None
    movement: Movement | None


@dataclass(frozen=True, slots=True)
class Unsent:
    """A record that Kafka has not acknowledged, ready to be sent; a stub has no body."""

    id: int
    headers: Headers
    body: bytes | None


@dataclass(frozen=True, slots=True)
class EpochState:
    """What the spool knows of an epoch: highest seqs given, and what is unsent, per lane."""

    epoch: int
    emitted: dict[Lane, int]
    unsent: dict[Lane, Ranges]

    @property
    def all_sent(self) -> bool:
        """Whether Kafka has acknowledged everything of it."""
        return not any(self.unsent.values())


@dataclass(frozen=True, slots=True)
class SpoolState:
    """The facts of a heartbeat that only the spool knows. `own.emitted` includes the heartbeat itself, `own.unsent` does not.

    `old` are at most 50 of the `old_total` older epochs.
    """

    spool_id: str
    records: int
    size: int
    own: EpochState
    old: tuple[EpochState, ...]
    old_total: int


def facts_to_text(facts: HeartbeatFacts) -> str:
    """As the spool keeps them."""
    emitted = [facts.emitted[lane] for lane in LANES]
    return json.dumps([emitted, facts.epochs, facts.final, facts.up, facts.control])


def facts_from_text(text: str) -> HeartbeatFacts:
    """The inverse of `facts_to_text`."""
    emitted, epochs, final, up, control = json.loads(text)
    return HeartbeatFacts(dict(zip(LANES, emitted, strict=True)), tuple(epochs), tuple(final), up, control)
