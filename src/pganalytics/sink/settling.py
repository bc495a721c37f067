"""When a record that was sent must have arrived: by positions, never by age. Pure.

A round takes what heartbeats call sent and the ledger has not seen settled. It waits until the streams' commits pass the
ends that the collected topics had then, and after that until the store's positions pass the ends that the admitted topics
and the events had then. A record that is still not settled lies nowhere on its way: a hole. However long a backlog is,
nothing in it is taken for lost.

Epochs whose spool seems to be gone are judged with the round: a heartbeat on its way could still name them.

What is deferred waits in a topic of its own that is drained with what capacity is left: it is judged in a round of its own,
by that topic's end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pganalytics.schemas.identity import LANES, Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.records import Partition

Open = Mapping[Stream, Ranges]
"""Seqs that were sent and are neither stored, dead, shed nor missing, by stream."""


class Stage(StrEnum):
    """What a round waits for."""

    STREAMS = "streams"
    SINK = "sink"


@dataclass(frozen=True, slots=True)
class Round:
    """`ends`: what must be passed in this stage. `deferred_ends`: the end of the deferred topic, noted with the sink's ends.

    `of_deferred`: a round of what was deferred. `suspects`: (collector, epoch) of epochs that heartbeats leave out.
    """

    taken: Open
    stage: Stage
    ends: Mapping[Partition, int] = field(default_factory=dict)
    deferred_ends: Mapping[Partition, int] = field(default_factory=dict)
    of_deferred: bool = False
    suspects: frozenset[tuple[str, int]] = frozenset()

    def passed(self, done: Mapping[Partition, int], starts: Mapping[Partition, int]) -> bool:
        """Whether every end is reached. A log that is empty up to its end needs no commit and no position."""
        return all(done.get(where, -1) >= end or starts.get(where, -1) >= end for where, end in self.ends.items())

    def for_sink(self, ends: Mapping[Partition, int], deferred_ends: Mapping[Partition, int]) -> "Round":
        """The next stage."""
        return replace(self, stage=Stage.SINK, ends=ends, deferred_ends=deferred_ends)

    def for_deferred(self, waiting: Open) -> "Round":
        """The round of what is found deferred when this one is over."""
        return Round(waiting, Stage.SINK, self.deferred_ends, of_deferred=True)

    def holes(self, still_open: Open) -> dict[Stream, Ranges]:
        """Of what was taken, what is not settled yet. To be asked when the last stage is passed."""
        return _nonempty({stream: seqs & still_open.get(stream, Ranges()) for stream, seqs in self.taken.items()})


def split(holes: Open, deferred: Open) -> tuple[dict[Stream, Ranges], dict[Stream, Ranges]]:
    """Holes that are not deferred, and those that are."""
    now = {stream: seqs - deferred.get(stream, Ranges()) for stream, seqs in holes.items()}
    later = {stream: seqs & deferred.get(stream, Ranges()) for stream, seqs in holes.items()}
    return _nonempty(now), _nonempty(later)


def joined(left: Open, right: Open) -> dict[Stream, Ranges]:
    """The union."""
    return {stream: left.get(stream, Ranges()) | right.get(stream, Ranges()) for stream in {*left, *right}}


def lanes_of(holes: Open) -> list[Lane]:
    """The lanes that have holes."""
    having = {stream.lane for stream in holes}
    return [lane for lane in LANES if lane in having]


def without(holes: Open, found: Open) -> dict[Stream, Ranges]:
    """What is left of the holes."""
    return _nonempty({stream: seqs - found.get(stream, Ranges()) for stream, seqs in holes.items()})


def _nonempty(seqs: Open) -> dict[Stream, Ranges]:
    return {stream: ranges for stream, ranges in seqs.items() if ranges}
