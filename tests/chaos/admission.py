"""What the streams made of the collected records, by plain consumers of ours: how it grows, and the count at the end."""

import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, TopicPartition

from integration.streams_feed import Feed, Got, events, outputs, read_all, topics_of
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES, Identity

EVERY_S = 0.2


@dataclass(frozen=True)
class Count:
    """Every identity that is in the collected topics, against the admitted topics, the deferred one and the events that name what
    is shed. `never_came`: what the client reported as delivered and the collected topics do not have; no streams saw it."""

    sent: int
    lost: frozenset[Identity]
    strange: frozenset[Identity]
    """Neither sent, nor shed without being sent: whatever nobody collected."""
    both: frozenset[Identity]
    """Passed on and called shed: the ranges are not exact. After a crash a verdict may be another one; without one never."""
    again: int
    deferred: int
    shed: int
    never_came: int = 0

    def problems(self, kinds: Sequence[str]) -> list[str]:
        """One line for each of these kinds of identities, and for what was delivered and is nowhere."""
        found = [f"{kind}: {len(who)}, {min(who)}..." for kind in kinds if (who := getattr(self, kind))]
        return [*found, *([f"delivered and not in the topics: {self.never_came}"] if self.never_came else [])]

    def __str__(self) -> str:
        text = (
            f"collected {self.sent}, lost {len(self.lost)}, passed on twice or more {self.again}, "
            f"deferred {self.deferred}, shed {self.shed}"
        )
        return f"{text}, delivered and not in the topics {self.never_came}" if self.never_came else text


def count_all(settings: Settings, sent: Collection[Identity], got: list[Got] | None = None) -> Count:
    """Read all outputs and events to their ends, and compare."""
    got = outputs(settings) if got is None else got
    deferred_topic = topics_of(settings).deferred
    passed = Counter(each.decoded.identity for each in got)
    shed = {
        Identity(event.collector, event.epoch, event.lane, seq)
        for event in events(settings)
        if event.kind is EventKind.SHED and event.lane is not None
        for seq in event.ranges
    }
    accounted = set(passed) | shed
    came = {each.decoded.identity for each in read_all(settings.kafka, [topics_of(settings).collected(lane) for lane in LANES])}
    return Count(
        sent=len(came),
        lost=frozenset(came - accounted),
        strange=frozenset(accounted - set(sent) - came),
        both=frozenset(set(passed) & shed),
        again=sum(times - 1 for times in passed.values()),
        deferred=len({each.decoded.identity for each in got if each.topic == deferred_topic}),
        shed=len(shed),
        never_came=len(set(sent) - came),
    )


class Admission:
    """Follows the outputs while everything else is broken. `stored`: identities seen; a stall is a time in which none was new.

    A stall counts only while something is owed: more was acknowledged to the feed than was seen.
    """

    def __init__(self, settings: Settings, feed: Feed) -> None:
        self.worst_stall_s = 0.0
        self._settings = settings
        self._feed = feed
        self._seen: set[Identity] = set()
        self._grew_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="admission", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(10)

    @property
    def emitted(self) -> int:
        """Collected, and acknowledged."""
        return len(self._feed.sent)

    @property
    def stored(self) -> int:
        """Admitted or deferred."""
        return len(self._seen)

    def measure_anew(self) -> float:
        """Forget the worst stall; return it."""
        worst, self.worst_stall_s = self.worst_stall_s, 0.0
        self._grew_at = time.monotonic()
        return worst

    def _run(self) -> None:
        topics = topics_of(self._settings)
        kafka = self._settings.kafka
        consumer = Consumer(
            {"bootstrap.servers": kafka.bootstrap, "group.id": "admission", "enable.auto.commit": False, "log_level": 0}
        )
        names = [*(topics.admitted(lane) for lane in LANES), topics.deferred]
        consumer.assign([TopicPartition(name, number, 0) for name in names for number in range(kafka.partitions)])
        while not self._stop.is_set():
            found = [message for message in consumer.consume(500, timeout=EVERY_S) if message.error() is None]
            before = len(self._seen)
            for message in found:
                wire: Any = message.headers()
                self._seen.add(Headers.decode(wire).identity)
            now = time.monotonic()
            if len(self._seen) > before or len(self._seen) >= len(self._feed.sent):
                self._grew_at = now
            self.worst_stall_s = max(self.worst_stall_s, now - self._grew_at)
        consumer.close()
