"""Which admitted topic a record goes to. Pure: facts in, destination out."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pganalytics.schemas.identity import Lane
from pganalytics.streams.quota import Verdict


class Destination(StrEnum):
    """The admitted topics: one for each lane, and one for what is over quota."""

    CRITICAL = "critical"
    NORMAL = "normal"
    BULK = "bulk"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the choice depends on. `over_quota` and `silent` are of the collector, `open_gap` of the record's sequence."""

    lane: Lane
    verdict: Verdict
    metric: str = ""
    collector: str = ""
    over_quota: bool = False
    silent: bool = False
    open_gap: bool = False


class AdmittedTopics(Protocol):
    """Names of topics."""

    def admitted(self, lane: Lane) -> str:
        """What the streams let through."""

    @property
    def deferred(self) -> str:
        """What is over quota."""


def choose(facts: Facts) -> Destination:
    """Where no rule matches: a record over quota waits; every other one stays in the lane in which it was emitted."""
    if facts.verdict is Verdict.DEFERRED:
        return Destination.DEFERRED
    return Destination(facts.lane.value)


def topic_of(destination: Destination, topics: AdmittedTopics) -> str:
    """The topic's name."""
    return topics.deferred if destination is Destination.DEFERRED else topics.admitted(Lane(destination.value))
