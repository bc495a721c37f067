"""Who a record is: (collector, epoch, lane, seq). Everything that counts records counts these."""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_LONG = 2**63 - 1

_COLLECTOR = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:@/\[\]-]{0,199}")


class Lane(StrEnum):
    """The priority class in which a record was emitted. It never changes, whatever topic carries the record."""

    CRITICAL = "critical"
    NORMAL = "normal"
    BULK = "bulk"


LANES: tuple[Lane, ...] = tuple(Lane)


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """One sequence of records: seq counts 1, 2, 3... within it.

    `epoch` is one start of the collector in an agent, a positive 64-bit number compared for equality only.
    """

    collector: str
    epoch: int
    lane: Lane


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """One record, once and for all."""

    collector: str
    epoch: int
    lane: Lane
    seq: int

    @property
    def stream(self) -> Stream:
        """The sequence that this record belongs to."""
        return Stream(self.collector, self.epoch, self.lane)


def is_collector_id(text: str) -> bool:
    """Collector ids are printable ASCII without spaces or quotes, 1 to 200 characters: they travel in headers and keys."""
    return _COLLECTOR.fullmatch(text) is not None


def make_epoch(now_us: int, random_bits: int) -> int:
    """An epoch: microseconds with the low 10 bits random, so that two starts in one instant (or with one clock) differ."""
    return max(now_us, 1) & ~0x3FF | (random_bits & 0x3FF) or 1
