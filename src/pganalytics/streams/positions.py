"""How far each partition is done. Pure bookkeeping: no clock, no client; for one thread, the event loop's.

This, not Faust's own bookkeeping, is what is committed. The invariant: between the committed offset at assignment and the
position, every offset was taken in order and everything made of it is acknowledged. Faust may hand over records before it
has sought to the committed offset, and calls the jump a compacted gap. Our topics are not compacted: a jump means that
records were skipped, and committing beyond it would lose them; or that somebody writes in transactions, whose markers take
offsets. Which of the two it is only the broker can say, so jumps are returned and not judged here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pganalytics.streams.records import Arrival, Partition


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the broker says of a partition: the group's committed offset (None: never), the log's start and end."""

    committed: int | None
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Start:
    """The offset at which reading must begin. `outside` says what is wrong with the committed one; empty when nothing is."""

    offset: int
    outside: str = ""


@dataclass(frozen=True, slots=True)
class Jump:
    """A record at `offset` came where the one at `expected` was due."""

    partition: Partition
    expected: int
    offset: int


def start_of(bounds: Bounds) -> Start:
    """Reading goes on at the committed offset. Where the log does not have it, at the log's start."""
    if bounds.committed is None:
        return Start(bounds.low)
    if bounds.committed > bounds.high:
        return Start(bounds.low, f"committed is offset {bounds.committed}, the log ends at {bounds.high}")
    if bounds.committed < bounds.low:
        lost = bounds.low - bounds.committed
        return Start(bounds.low, f"committed is offset {bounds.committed}, the log starts at {bounds.low}: {lost} not read")
    return Start(bounds.committed)


class Positions:
    """The partitions of the current assignment. `generation` changes whenever what was taken before is void."""

    def __init__(self) -> None:
        self.generation = 0
        self.assigned: frozenset[Partition] = frozenset()
        """What is ours now, also where nothing came yet. Another thread may read it."""
        self._starts: dict[Partition, int] = {}
        self._done: dict[Partition, int] = {}

    def forget(self) -> None:
        """Partitions were assigned or revoked: what is in hand belongs to nobody, and every partition starts anew."""
        self.generation += 1
        self.assigned = frozenset()
        self._starts.clear()
        self._done.clear()

    def unknown(self, arrivals: Iterable[Arrival]) -> dict[Partition, int]:
        """The partitions of which nothing was taken yet, each with its first offset here."""
        first: dict[Partition, int] = {}
        for arrival in arrivals:
            if arrival.place not in self._starts:
                first.setdefault(arrival.place, arrival.offset)
        return first

    def begin(self, partition: Partition, offset: int) -> None:
        """Expect this offset first. Nothing is committed before the first record is finished, and what is to be told with it."""
        self._starts[partition] = offset

    def take(self, arrivals: Iterable[Arrival]) -> tuple[dict[Partition, int], list[Jump]]:
        """The positions when these records are finished, and the jumps on the way to them. A lower offset is a redelivery.

        Nothing is changed: a batch that is given up half-way leaves its positions behind, and the next batch finds the jump.
        """
        taken: dict[Partition, int] = {}
        jumps = []
        for arrival in arrivals:
            expected = taken.get(arrival.place)
            if expected is None:
                expected = self._done.get(arrival.place, self._starts[arrival.place])
            if arrival.offset > expected:
                jumps.append(Jump(arrival.place, expected, arrival.offset))
            taken[arrival.place] = max(expected, arrival.offset + 1)
        return taken, jumps

    def finish(self, taken: Mapping[Partition, int]) -> None:
        """Everything made of these records is acknowledged."""
        self._done |= taken

    def done(self, partition: Partition) -> int | None:
        """What may be committed; None when nothing was finished."""
        return self._done.get(partition)

    def known(self) -> dict[Partition, int]:
        """All that may be committed. Another thread may ask: a copy of one moment, made in one step of the interpreter."""
        return dict(self._done)

    def partitions(self) -> list[Partition]:
        """The partitions of which something was finished."""
        return list(self._done)
