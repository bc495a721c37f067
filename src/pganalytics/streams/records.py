"""What the streams read and what they send, as values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pganalytics.schemas.identity import Lane

Partition = tuple[str, int]
"""Topic and number."""

HeaderPairs = Sequence[tuple[str, bytes | None]]

MOST_KEY_BYTES = 1024
"""A stub keeps a key up to this size; a collector's id has at most 200."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record of a collected topic. `lane` is the topic's; `at_us` is when the broker appended it."""

    topic: str
    partition: int
    offset: int
    at_us: int
    lane: Lane
    key: bytes | None
    value: bytes | None
    headers: HeaderPairs

    @property
    def place(self) -> Partition:
        """Where it lay."""
        return self.topic, self.partition

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.value) if self.value is not None else 0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to send. Without a `partition` the key decides."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: HeaderPairs = ()


def stub(refused: Outgoing, error: str) -> Outgoing | None:
    """What to send for a record that the broker refuses for good, so that it holds up nothing and the sink names it.

    First the same without its body; then, when key or headers are what is too large, nothing but the error. None when that
    was refused as well.
    """
    told = ("error", error.encode("ascii", "replace"))
    if refused.value is not None:
        kept = [header for header in refused.headers if header[0] != "error"]
        return replace(refused, value=None, headers=[*kept, told])
    if len(refused.headers) > 1 or (refused.key is not None and len(refused.key) > MOST_KEY_BYTES):
        key = refused.key if refused.key is not None and len(refused.key) <= MOST_KEY_BYTES else None
        return replace(refused, key=key, headers=[told])
    return None
