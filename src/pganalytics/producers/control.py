"""Which order of the streams a collector follows, and how long. Pure but for one lock.

An order ends by a clock that does not go back, its time to live after it was received, less what is known of its age: the
broker's time is at least that of the newest order of all, so one that was appended long before the newest is old. The agent's own
clock takes no part. After a restart an old order that nobody has replaced is followed for one time to live more, and then ends.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pganalytics.schemas.control import Control
from pganalytics.schemas.identity import Lane

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Following:
    """`seen`: the highest version received; `order`: what is followed, until `until_s`; None when the settings decide."""

    seen: int = 0
    order: Control | None = None
    until_s: float = 0.0

    def take(self, order: Control, age_s: float, now_s: float) -> "Following":
        """An order was received; a version that is not newer changes nothing."""
        if order.version <= self.seen:
            return self
        if age_s >= order.ttl_s:
            return Following(order.version)
        return Following(order.version, order, now_s + order.ttl_s - age_s)

    def at(self, now_s: float) -> "Following":
        """What is followed now."""
        return Following(self.seen) if self.order is not None and now_s >= self.until_s else self


@dataclass(frozen=True, slots=True)
class Received:
    """An order and when the broker appended it."""

    order: Control
    appended_us: int


class BrokerTime:
    """A time that the broker's is certainly not before."""

    def __init__(self) -> None:
        self._us = 0
        self._noted_s = 0.0

    def note(self, appended_us: int, now_s: float) -> None:
        """The broker appended something at this time."""
        if appended_us > self.at_least_us(now_s):
            self._us, self._noted_s = appended_us, now_s

    def at_least_us(self, now_s: float) -> float:
        """Microseconds."""
        return self._us + (now_s - self._noted_s) * MICROSECONDS


class Controls:
    """What the collectors follow. One thread takes orders; any thread may ask."""

    def __init__(self, collectors: Iterable[str] = (), most_stretch: float = 1.0) -> None:
        self._following = dict.fromkeys(collectors, Following())
        self._most_stretch = most_stretch
        self._broker = BrokerTime()
        self._lock = threading.Lock()
        self._changed: set[str] = set()

    def collectors(self) -> list[str]:
        """Who may be told something."""
        with self._lock:
            return list(self._following)

    def follow(self, collectors: Collection[str]) -> None:
        """These from now on; who is new among them has heard of nothing."""
        with self._lock:
            self._following = {one: self._following.get(one, _NONE) for one in collectors}

    def take(self, received: Mapping[str, Received], newest_us: int, now_s: float) -> list[str]:
        """All orders of the topic: what is not among them is deleted. `newest_us`: when the newest of all was appended. Returns
        the collectors for which something changes."""
        self._broker.note(newest_us, now_s)
        broker_us = self._broker.at_least_us(now_s)
        changed = []
        for collector in self.collectors():
            before = self._of(collector)
            one = received.get(collector)
            if one is None:
                after = Following(before.seen)
            else:
                age_s = max(0.0, (broker_us - one.appended_us) / MICROSECONDS)
                after = before.take(one.order, age_s, now_s)
            changed += self._put(collector, after.at(now_s))
        return changed

    def expire(self, now_s: float) -> list[str]:
        """Let orders end whose time is up; the collectors for which something changes."""
        return [each for collector in self.collectors() for each in self._put(collector, self._of(collector).at(now_s))]

    def take_changed(self) -> set[str]:
        """Collectors for which something has changed since this was asked last."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return changed

    def stretch(self, collector: str, lane: Lane) -> float:
        """How many times longer than set the intervals are."""
        order = self._of(collector).order
        return 1.0 if order is None else min(order.stretch(lane), self._most_stretch)

    def rows(self, collector: str, limit: int | None) -> int | None:
        """Most rows in detail where the settings say `limit`: never more."""
        order = self._of(collector).order
        return limit if limit is None or order is None or not order.rows else min(limit, order.rows)

    def version(self, collector: str) -> int:
        """Of the order that is followed; 0 when none is."""
        order = self._of(collector).order
        return 0 if order is None else order.version

    def _of(self, collector: str) -> Following:
        with self._lock:
            return self._following.get(collector, _NONE)

    def _put(self, collector: str, after: Following) -> list[str]:
        """The collector, when it is told something else."""
        with self._lock:
            before = self._following.get(collector)
            if before is None:
                return []
            self._following[collector] = after
            if _told(before) == _told(after):
                return []
            self._changed.add(collector)
            return [collector]


_NONE = Following()


def _told(following: Following) -> tuple[float, float, int]:
    order = following.order
    return (1.0, 1.0, 0) if order is None else (order.normal, order.bulk, order.rows)
