"""How far a consumer group is behind the ends of its topics: in records, and by the age of the oldest one.

A consumer knows the ends of logs only where it is fetching, and what is paused is not fetched. So a thread of its own asks,
with a client of its own that is in no group: nothing that reads or writes records waits for it. It tells of all partitions,
also of those that nobody reads now.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaException

from pganalytics.runtime.health import Look, look_after
from pganalytics.runtime.kafka import UNREACHABLE
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.measurements import Measurements
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.settings import Kafka

logger = logging.getLogger(__name__)

EVERY_S = 5.0
ASK_S = 3.0
Partition = tuple[str, int]


class Progress:
    """How far the partitions of this process are done, as it knows better than the group's commits. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: dict[Partition, int] = {}

    def begin(self, offsets: Mapping[Partition, int]) -> None:
        """These are ours, and no others, read from here on."""
        with self._lock:
            self._done = dict(offsets)

    def moved(self, offsets: Mapping[Partition, int]) -> None:
        """Done up to these offsets."""
        with self._lock:
            self._done |= offsets

    def known(self) -> dict[Partition, int]:
        """The next offset of each."""
        with self._lock:
            return dict(self._done)


@dataclass(frozen=True, slots=True)
class Lag:
    """Of one topic. `oldest_s`: when the oldest record that is not done was appended, seconds since 1970; None when there is
    none, or when it could not be read."""

    records: int
    oldest_s: float | None


def lag_of(
    topic: str, ends: Mapping[Partition, int], done: Mapping[Partition, int], appended_s: Mapping[Partition, float]
) -> Lag:
    """From the ends of its logs and what is done; `appended_s`: of the first record of each that is not. Pure."""
    behind = {where: ends[where] - done[where] for where in ends if where[0] == topic and ends[where] > done[where]}
    return Lag(sum(behind.values()), min((appended_s[where] for where in behind if where in appended_s), default=None))


@dataclass(frozen=True, slots=True)
class LagNames:
    """A service's self-metrics of its lag."""

    records: str
    seconds: str
    retention: str
    looked: str


def lag_meter(
    measurements: Measurements, names: LagNames, lanes: Mapping[str, str], *, kept_s: Mapping[str, float]
) -> Callable[[Mapping[str, Lag], float], None]:
    """What writes lags into these self-metrics; `lanes`: the label of each topic, `kept_s`: how long it keeps a record."""
    for topic, lane in lanes.items():
        measurements.put(names.retention, kept_s[topic], lane=lane)

    def tell(lags: Mapping[str, Lag], now_s: float) -> None:
        for topic, lag in lags.items():
            measurements.put(names.records, lag.records, lane=lanes[topic])
            if lag.oldest_s is not None or not lag.records:
                age_s = 0.0 if lag.oldest_s is None else max(0.0, now_s - lag.oldest_s)
                measurements.put(names.seconds, age_s, lane=lanes[topic])
        measurements.put(names.looked, now_s)

    return tell


class LagWatch:
    """`run` is the body of its thread. `known`: what this process has done, more than is committed; `own`: the partitions that it
    reads, unless these are just those; `tell` hears of each look the lags by topic and the time."""

    def __init__(
        self,
        kafka: Kafka,
        group: str,
        topics: Sequence[str],
        *,
        known: Callable[[], Mapping[Partition, int]],
        tell: Callable[[Mapping[str, Lag], float], None],
        own: Callable[[], Collection[Partition]] | None = None,
    ) -> None:
        self._topics = tuple(topics)
        self._partitions = [(topic, number) for topic in self._topics for number in range(kafka.partitions)]
        self._offsets = GroupOffsets(kafka.model_copy(update={"timeout_s": ASK_S}), group, name="lag")
        self._known = known
        self._own = known if own is None else own
        self._tell = tell
        self._first: dict[Partition, tuple[int, float]] = {}
        self._failed = 0
        self._news = OnChange()
        self.last: Look | None = None
        """What the last look found, for who judges health; None while Kafka does not answer. Any thread may read it."""

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set. While Kafka does not answer the last numbers stand, with the time at which they were so."""
        try:
            while not stop.is_set():
                self._try()
                stop.wait(EVERY_S)
        finally:
            self._offsets.close()

    def _try(self) -> None:
        try:
            lags = self.look()
        except KafkaException as error:
            name = error.args[0].name()
            self._failed += 1
            if self._failed > 1:
                self.last = None  # what was stuck may have waited for Kafka: it has its time again
            state = "unreachable" if error.args[0].code() in UNREACHABLE else name
            if self._failed > 1 and self._news.is_news("lag", state):  # once is nothing: a new leader
                logger.warning("the lag cannot be asked", extra={"error": name, "reason": error.args[0].str()})
        else:
            self._failed = 0
            self._news.is_news("lag", "")
            self._tell(lags, time.time())

    def close(self) -> None:
        """Let go of the connections, after `look` alone; `run` does so itself."""
        self._offsets.close()

    def look(self) -> dict[str, Lag]:
        """Ask once; raises KafkaException. Ends first: what is done meanwhile is no lag."""
        ends = self._offsets.ends(self._partitions)
        own = frozenset(self._own())
        done = self._done()
        self.last = look_after(self.last, ends, done, own=own, now=time.monotonic())
        appended_s = self._appended({where: done[where] for where in ends if ends[where] > done[where]})
        return {topic: lag_of(topic, ends, done, appended_s) for topic in self._topics}

    def _done(self) -> dict[Partition, int]:
        """What this process knows, else what is committed, else the log's start."""
        committed = self._offsets.committed(self._partitions)
        never = [where for where, offset in committed.items() if offset is None]
        starts = self._offsets.starts(never) if never else {}
        return starts | {where: offset for where, offset in committed.items() if offset is not None} | dict(self._known())

    def _appended(self, offsets: Mapping[Partition, int]) -> dict[Partition, float]:
        """Of the record at each of these offsets. What was read once is not read again while it stays the first."""
        self._first = {where: first for where, first in self._first.items() if offsets.get(where) == first[0]}
        unread = {where: offset for where, offset in offsets.items() if where not in self._first}
        found = self._offsets.appended_s(unread) if unread else {}
        self._first |= {where: (unread[where], appended_s) for where, appended_s in found.items()}
        return {where: appended_s for where, (_, appended_s) in self._first.items()}
