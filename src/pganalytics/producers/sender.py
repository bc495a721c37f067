"""The one thread that touches librdkafka: from the spool to the collected topics.

A record stays in the spool until its delivery report; one that failed is sent again under the same identity. What Kafka refuses
waits with a back-off of its own and holds up no other; what it refuses for good goes as a stub. Brokers refuse whole batches:
whoever was in one is a suspect first, and is sent again with nothing else of its lane on the way. Critical records go first, and
a part of what may be in flight is theirs. No record goes out before its schema's text is acknowledged on `schemas`; others do
not wait for it.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from pganalytics.producers.group_commit import Refused
from pganalytics.producers.meters import Meters
from pganalytics.producers.records import Unsent
from pganalytics.producers.spool import Spool
from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.errors import Crash
from pganalytics.runtime.kafka import REFUSED_FOR_GOOD
from pganalytics.runtime.logs import OnChange
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.schemas.topics import Topics

logger = logging.getLogger(__name__)
IN_FLIGHT_RECORDS = 1000
IN_FLIGHT_BYTES = 16 << 20
CRITICAL_SHARE = 4
"""One in so many places of the flight is kept for critical records."""
BATCH = 100
SETTLE_S = 0.5
"""So long acknowledgements are gathered: each commit of the spool costs an fsync."""
POLL_S = 0.05
IDLE_S = 0.5
Ticket = int | str
"""A record by its id in the spool, or a schema by its id."""


class Producer(Protocol):
    """What is used of confluent_kafka.Producer."""

    def produce(self, *args: Any, **kwargs: Any) -> None:
        """Queue a message; BufferError when the queue is full."""

    def poll(self, timeout: float) -> int:
        """Run delivery reports."""

    def flush(self, timeout: float) -> int:
        """Wait for all that is queued."""

    def purge(self) -> None:
        """Give up what is queued."""


@dataclass(slots=True)
class _Flight:
    """What is on its way or waits for another try. `retries`: (back-off, when due, topic and error).

    `suspects`: records that were refused for good together with others, or are tried alone now. `hopeless`: those that were
    refused alone, with the error; the spool has not noted it yet.
    """

    sizes: dict[Ticket, int] = field(default_factory=dict)
    lanes: Counter[Lane] = field(default_factory=Counter)
    suspects: dict[int, Unsent] = field(default_factory=dict)
    hopeless: dict[int, tuple[Unsent, str]] = field(default_factory=dict)
    retries: dict[Ticket, tuple[Backoff, float, str]] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)

    def excluded(self, now: float) -> set[Ticket]:
        """What is not to be sent now."""
        waiting = (ticket for ticket, (_, due, _) in self.retries.items() if due > now)
        return {*self.sizes, *self.sent, *self.suspects, *self.hopeless, *waiting}

    def suspect(self, lane: Lane) -> Unsent | None:
        """The next one of a lane to be tried alone."""
        return next((one for one in self.suspects.values() if one.headers.identity.lane is lane), None)

    def room_for(self, lane: Lane) -> int:
        """How many more records of a lane may be on their way."""
        records, size = IN_FLIGHT_RECORDS, IN_FLIGHT_BYTES
        if lane is not Lane.CRITICAL:
            records, size = records - records // CRITICAL_SHARE, size - size // CRITICAL_SHARE
        return max(0, records - len(self.sizes)) if sum(self.sizes.values()) < size else 0


class Sender:
    """`run` is its thread; `finish` may be called from any."""

    def __init__(
        self, spool: Spool, topics: Topics, producer: Producer, meters: Meters, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spool = spool
        self._topics = topics
        self._producer = producer
        self._meters = meters
        self._clock = clock
        self._flight = _Flight()
        self._released: set[str] = set()
        self._emptied: dict[Lane, int] = {}
        """How many arrivals of a lane the spool had had when its last record went out: before the next one nobody need look."""
        self._settled_at = float("-inf")
        self._finish = threading.Event()
        self._news = OnChange()
        self.turned_at = clock()
        self.flying_since: float | None = None
        self.untaken_since: float | None = None
        """For who judges health, in any thread: when the thread last came round; since when something is on its way without
        any report, and without being taken. None while nothing is."""
        self.count: Callable[[str, str], None] = _ignore
        """Told of each stub: its collector, and what to count."""

    def finish(self) -> None:
        """End soon; what is not acknowledged stays in the spool."""
        self._finish.set()

    def run(self) -> None:
        """Send until `finish`; a fatal error of librdkafka is a Crash."""
        while not self._finish.is_set():
            if not self.turn():
                self._spool.wait_for_records(IDLE_S)
        self._producer.flush(POLL_S)
        self._settle()
        self._producer.purge()

    def turn(self) -> bool:
        """Send what may go now, take the reports that are in; whether anything is on its way."""
        self._note_turn()
        sent = self._send_schemas() + sum(self._send_lane(lane) for lane in LANES)
        self._producer.poll(POLL_S if self._flight.sizes and not sent else 0)
        late = self._clock() - self._settled_at >= SETTLE_S
        if late or self._flight.hopeless or len(self._flight.sent) >= BATCH:
            self._settle()
        return bool(sent or self._flight.sizes)

    def _note_turn(self) -> None:
        now = self.turned_at = self._clock()
        self.flying_since = (self.flying_since or now) if self._flight.sizes else None
        self.untaken_since = (self.untaken_since or now) if self._flight.sizes or self._flight.retries else None

    def _send_schemas(self) -> int:
        excluded = self._flight.excluded(self._clock())
        count = 0
        for schema, text in self._spool.schemas().items():
            if schema not in self._released and schema not in excluded:
                count += self._produce(schema, self._topics.schemas, schema.encode(), text.encode(), [])
        return count

    def _send_lane(self, lane: Lane) -> int:
        if (suspect := self._flight.suspect(lane)) is not None:
            return 0 if self._flight.lanes[lane] else self._send(suspect)
        limit = min(BATCH, self._flight.room_for(lane))
        if not limit or not self._released:
            return 0
        arrivals = self._spool.arrivals(lane)
        if self._emptied.get(lane) == arrivals:
            return 0
        excluded = self._flight.excluded(self._clock())
        records = self._spool.unsent(lane, limit=limit, exclude=excluded, schemas=self._released)
        sent = sum(self._send(record) for record in records)
        waits_for_schema = not self._released.issuperset(self._spool.schemas())
        if sent == len(records) < limit and not self._flight.retries and not waits_for_schema:
            self._emptied[lane] = arrivals
        return sent

    def _send(self, record: Unsent) -> int:
        who = record.headers.identity
        topic = self._topics.collected(who.lane)
        return self._produce(record, topic, who.collector.encode(), record.body, record.headers.encode())

    def _produce(self, what: Unsent | str, topic: str, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]) -> int:
        """`what` is a record, or the id of a schema."""
        report = partial(self._reported, what, topic)
        try:
            self._producer.produce(topic, key=key, value=value, headers=headers, on_delivery=report)
        except BufferError:
            return 0
        except KafkaException as error:
            self._failed(what, topic, error.args[0], alone=True)
            return 0
        self._flight.sizes[_ticket(what)] = len(value or b"")
        if isinstance(what, Unsent):
            self._flight.lanes[what.headers.identity.lane] += 1
        return 1

    def _reported(self, what: Unsent | str, topic: str, error: KafkaError | None, message: object) -> None:
        """A delivery report; runs inside poll, in the sender's own thread."""
        del message
        ticket = _ticket(what)
        self._flight.sizes.pop(ticket, None)
        self.flying_since = self._clock()
        alone = False
        if isinstance(what, Unsent):
            self._flight.lanes[what.headers.identity.lane] -= 1
            alone = self._flight.suspects.pop(what.id, None) is not None
        if error is not None:
            self._failed(what, topic, error, alone=alone)
            return
        self.untaken_since = self.flying_since
        if isinstance(what, Unsent):
            self._meters.acknowledged(what.headers.identity.lane)
            self._flight.sent.append(what.id)
        else:
            self._released.add(what)
        if (before := self._flight.retries.pop(ticket, None)) is not None:
            self._all_clear(before[2])

    def _failed(self, what: Unsent | str, topic: str, error: KafkaError, *, alone: bool) -> None:
        if error.fatal():
            raise Crash(f"kafka client: {error.str()}")
        self._emptied.clear()
        self._meters.send_failed(error.name())
        if isinstance(what, Unsent) and what.body is not None and error.code() in REFUSED_FOR_GOOD:
            self._suspect_or_give_up(what, topic, error, alone=alone)
            return
        ticket = _ticket(what)
        before = self._flight.retries.get(ticket)
        backoff = (before[0] if before else Backoff(first_s=1.0, most_s=60.0)).failed()
        trouble = f"{topic} {error.name()}"
        self._flight.retries[ticket] = backoff, self._clock() + backoff.delay_s(random.random()), trouble  # noqa: S311
        if self._news.is_news(trouble, "refused"):
            facts = {"topic": topic, "error": error.name(), "reason": error.str()}
            logger.warning("records are not accepted; they stay in the spool", extra=facts)

    def _suspect_or_give_up(self, record: Unsent, topic: str, error: KafkaError, *, alone: bool) -> None:
        if not alone:
            self._flight.suspects[record.id] = record
            return
        self._flight.suspects.pop(record.id, None)
        self._flight.hopeless[record.id] = record, error.name()
        who, metric = record.headers.identity, record.headers.metric
        if self._news.is_news(f"stub {who.collector} {metric}", error.name()):
            facts = {"collector": who.collector, "metric": metric, "lane": who.lane.value, "seq": who.seq}
            facts |= {"bytes": record.headers.size, "topic": topic, "error": error.name(), "reason": error.str()}
            logger.warning("record refused for good; a stub goes in its place", extra=facts)

    def _all_clear(self, trouble: str) -> None:
        if all(other != trouble for _, _, other in self._flight.retries.values()) and self._news.is_news(trouble, ""):
            logger.info("records are accepted again", extra={"topic": trouble.split()[0]})

    def _settle(self) -> None:
        """Delete what is acknowledged, shorten what is hopeless; with a full disk it is tried again, and at worst sent twice."""
        self._settled_at = self._clock()
        try:
            if self._flight.sent:
                self._spool.acknowledge(self._flight.sent)
        except Refused:
            pass
        else:
            self._flight.sent = []
        for record, error in list(self._flight.hopeless.values()):
            try:
                self._spool.shorten(record.id, error)
            except Refused:
                return
            del self._flight.hopeless[record.id]
            self._emptied.clear()
            if (before := self._flight.retries.pop(record.id, None)) is not None:
                self._all_clear(before[2])
            self.count(record.headers.identity.collector, f"stubs.{error}")


def _ticket(what: Unsent | str) -> Ticket:
    return what if isinstance(what, str) else what.id


def _ignore(collector: str, what: str) -> None:
    del collector, what
