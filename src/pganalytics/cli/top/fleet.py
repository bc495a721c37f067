"""What is known of the fleet: of each target the newest snapshot of each metric, and nothing else. Pure: time is an argument.

A record that comes twice, or after a later one of its metric, changes nothing, whatever topic it came by. A snapshot in parts
counts when all of them are there. Everything is bounded: targets, parts, rows, lengths of texts.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pganalytics.cli.top import extracts
from pganalytics.cli.top.readings import Beat, Blocking, Database, Sessions, Standby, Statements
from pganalytics.cli.top.records import Seen
from pganalytics.schemas.metric import builtin_schemas

T = TypeVar("T")

MOST_TARGETS, MOST_PARTS, MOST_PENDING, MOST_TEXTS, MOST_SIZES = 10_000, 64, 200, 50_000, 1000
PATIENCE = 3
"""A snapshot is as good as the present for so many of its intervals; a target without a heartbeat for as many is silent."""
MOST_STRETCH = 10
ENDED_S = 900.0
"""So long one that has ended is shown."""
DEAF_US = 120_000_000
"""An agent's clock may be set back: when nothing came from the epoch at hand for so long, any other one is newer."""

READERS: dict[str, Callable[[Sequence[Seen]], Any]] = {
    "heartbeat": extracts.read_beat,
    "database": extracts.read_databases,
    "activity": extracts.read_sessions,
    "blocking": extracts.read_blocking,
    "statements": extracts.read_statements,
    "replication": extracts.read_senders,
    "wal_receiver": extracts.read_receiver,
}


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """The newest snapshot of a metric. `patience_s`: for so long it speaks of the present."""

    epoch: int
    seq: int
    collected_at_us: int
    since_us: int
    appended_us: int
    heard_us: int
    patience_s: float
    value: T

    @property
    def interval_s(self) -> float:
        """What its counters cover; 0 when it has none."""
        return max(0, self.collected_at_us - self.since_us) / 1e6


@dataclass(frozen=True, slots=True)
class Target:
    """All that is known of a target; the fields are named as their metrics. `sizes`: bytes by database."""

    name: str
    heartbeat: Kept[Beat] | None = None
    database: Kept[tuple[Database, ...]] | None = None
    activity: Kept[tuple[Sessions, ...]] | None = None
    blocking: Kept[Blocking] | None = None
    statements: Kept[Statements] | None = None
    replication: Kept[tuple[Standby, ...]] | None = None
    wal_receiver: Kept[tuple[Standby, ...]] | None = None
    sizes: Mapping[str, Kept[int]] = field(default_factory=dict)
    heard_us: int = 0

    def with_newest(self, metric: str, parts: Sequence[Seen], usual_s: float) -> "Target":
        """The same with another snapshot of a metric."""
        changed: dict[str, Any] = {metric: newest(getattr(self, metric), parts[0], READERS[metric](parts), usual_s=usual_s)}
        return replace(self, **changed)

    def fresh(self, kept: Kept[T] | None, now_us: int) -> Kept[T] | None:
        """The snapshot, unless it is too old to speak of the present."""
        return kept if kept is not None and self.age_s(kept, now_us) <= kept.patience_s else None

    def age_s(self, kept: Kept[Any], now_us: int) -> float:
        """How old it is: for how long we have had it, and how much longer than the newest heartbeat it was on its way to the
        broker, as out of a spool. The agent's clock is compared with itself only."""
        late_us = 0
        if self.heartbeat is not None:
            late_us = (kept.appended_us - kept.collected_at_us) - (self.heartbeat.appended_us - self.heartbeat.collected_at_us)
        return (max(0, now_us - kept.heard_us) + max(0, late_us)) / 1e6


class Fleet:
    """Takes records, and knows the newest of each. For one thread. `heard_us`: when anything came last, 0 before. `intervals`:
    seconds between readings of metrics, where they are not as the schemas say."""

    def __init__(self, intervals: Mapping[str, float] | None = None) -> None:
        self.intervals = {name: float(schema.interval_s) for name, schema in builtin_schemas().items()} | dict(intervals or {})
        self.targets: dict[str, Target] = {}
        self.heard_us = 0
        self._texts: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._pending: OrderedDict[tuple[str, str, int, int], dict[int, Seen]] = OrderedDict()

    def frozen(self) -> "Fleet":
        """As it is at this moment, whatever comes later; only texts are known to both."""
        copy = Fleet(self.intervals)
        copy.targets, copy.heard_us, copy._texts = dict(self.targets), self.heard_us, self._texts
        return copy

    def text(self, target: str, queryid: int) -> str | None:
        """The text of a statement, if it was seen."""
        return self._texts.get((target, queryid))

    def note(self, seen: Seen) -> None:
        """Take a record into account."""
        name, metric = seen.headers.identity.collector, seen.headers.metric
        self.heard_us = max(self.heard_us, seen.heard_us)
        target = self.targets.get(name) or self._new(name)
        self.targets[name] = target = replace(target, heard_us=max(target.heard_us, seen.heard_us))
        if metric == "query_text":
            self._learn(name, extracts.read_texts([seen]))
        elif metric == "sizes":
            database, size = extracts.read_size([seen])
            kept = newest(target.sizes.get(database), seen, size, usual_s=self.intervals["sizes"])
            if kept is not None and (database in target.sizes or len(target.sizes) < MOST_SIZES):
                self.targets[name] = replace(target, sizes={**target.sizes, database: kept})
        elif (parts := self._complete(seen)) is not None and is_newer(getattr(target, metric), parts[0]):
            self.targets[name] = target.with_newest(metric, parts, self.intervals[metric])

    def is_quiet(self, now_us: int) -> bool:
        """Whether nothing comes from anybody, for so long that no single target can be at fault."""
        return now_us - self.heard_us > PATIENCE * self.intervals["heartbeat"] * 1e6

    def forget_ended(self, now_us: int) -> None:
        """Drop those that ended long ago."""
        for target in list(self.targets.values()):
            beat = target.heartbeat
            if beat is not None and beat.value.final and now_us - target.heard_us > ENDED_S * 1e6:
                del self.targets[target.name]

    def _new(self, name: str) -> Target:
        if len(self.targets) >= MOST_TARGETS:
            oldest = min(self.targets.values(), key=lambda target: target.heard_us)
            del self.targets[oldest.name]
        return Target(name)

    def _learn(self, target: str, texts: Mapping[int, str]) -> None:
        for queryid, text in texts.items():
            self._texts[target, queryid] = text
            self._texts.move_to_end((target, queryid))
        while len(self._texts) > MOST_TEXTS:
            self._texts.popitem(last=False)

    def _complete(self, seen: Seen) -> list[Seen] | None:
        """All parts of the snapshot that this one is of; None while some are not there."""
        part, parts = seen.body["part"], seen.body["parts"]
        if parts == 1:
            return [seen]
        if not 1 <= part <= parts <= MOST_PARTS:
            return None
        who = seen.headers.identity
        snapshot = (who.collector, seen.headers.metric, who.epoch, seen.body["collected_at"])
        found = self._pending.setdefault(snapshot, {})
        found.setdefault(part, seen)
        if len(found) < parts:
            while len(self._pending) > MOST_PENDING:
                self._pending.popitem(last=False)
            return None
        del self._pending[snapshot]
        return [found[number] for number in sorted(found)]


def is_newer(kept: Kept[Any] | None, seen: Seen) -> bool:
    """Whether a record is of a later reading than what is kept. Epochs have no order: between two the agent's clock decides."""
    if kept is None:
        return True
    if kept.epoch == seen.headers.identity.epoch:
        return seen.headers.identity.seq > kept.seq
    return bool(seen.body["collected_at"] > kept.collected_at_us) or seen.heard_us - kept.heard_us > DEAF_US


def newest(kept: Kept[T] | None, seen: Seen, value: T, *, usual_s: float) -> Kept[T] | None:
    """What is kept from now on. An agent that was told to read less often is known by the gaps that it leaves."""
    if not is_newer(kept, seen):
        return kept
    who, body = seen.headers.identity, seen.body
    gap_s = (body["collected_at"] - kept.collected_at_us) / 1e6 if kept is not None and kept.epoch == who.epoch else 0
    patience_s = PATIENCE * max(usual_s, min(gap_s, MOST_STRETCH * usual_s))
    return Kept(who.epoch, who.seq, body["collected_at"], body["since"], seen.appended_us, seen.heard_us, patience_s, value)
