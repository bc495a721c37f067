"""The sink's one working thread: read, judge, write, commit; and wait, with all it has, when the store or the broker is away.

Nothing is lost by dropping what was read: whatever is not in the store is read again from the store's positions. While
the store is away the consumer is still polled, so that the assignment is kept; full queues stop the reading.
"""

import logging
import random
import threading
import time

import psycopg
from confluent_kafka.admin import AdminClient

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.topics import Topics
from pganalytics.sink.batch import Batch
from pganalytics.sink.catalogue import Catalogue
from pganalytics.sink.consumer import RecordConsumer
from pganalytics.sink.errors import Displaced, MostFail, TryAgain
from pganalytics.sink.intake import read, schema_of
from pganalytics.sink.letters import DeadLetters, Letters
from pganalytics.sink.meters import KAFKA, STORE, Meters
from pganalytics.sink.outages import as_sink_error
from pganalytics.sink.positions import find_positions
from pganalytics.sink.session import Session
from pganalytics.sink.stop_rule import Recent, has_failures

logger = logging.getLogger(__name__)

IDLE_S = 0.2


class SinkLoop:
    """Owns the consumer and the session with the store; `run` is the body of its thread."""

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        *,
        consumer: RecordConsumer,
        catalogue: Catalogue,
        letters: Letters,
        admin: AdminClient,
        meters: Meters,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._consumer = consumer
        self._catalogue = catalogue
        self._letters = letters
        self._dead_letters = DeadLetters(letters)
        self._admin = admin
        self._meters = meters
        self._session: Session | None = None
        self._pending: tuple[int, Batch] | None = None
        self._backoff = Backoff(first_s=0.1, most_s=settings.sink.retry_max_s)
        self._again_at = 0.0
        self._news = OnChange()
        self._recent = self._weighed = Recent()
        self.turned_at = self.went_on_at = time.monotonic()
        """When the thread last came round, and when it last stopped waiting. Any thread may read these."""
        self.waits_for = ""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; the batch at hand is finished."""
        try:
            while not stop.is_set():
                self.turned_at = time.monotonic()
                self.step(stop)
        finally:
            self._disconnect()
            self._consumer.close()

    def step(self, stop: threading.Event) -> None:
        """One turn: at most one batch."""
        self._read(stop)
        if self._is_away() or stop.is_set():
            return
        try:
            self._work()
        except Displaced as error:
            logger.warning("batch dropped, the store is elsewhere", extra={"detail": str(error)})
            self._consumer.stray()
        except TryAgain as error:
            self._back_off(error)
        except Unreachable as error:
            self._back_off(TryAgain(KAFKA, str(error)))
        except psycopg.Error as error:
            again = as_sink_error(error)
            if not isinstance(again, TryAgain):
                raise
            self._back_off(again)

    def _work(self) -> None:
        session = self._session = self._session or self._open_session()
        if self._consumer.astray:
            self._consumer.start_at(self._find_positions(session))
            self._succeeded()
        batch = self._batch()
        if batch is None:
            return
        began = time.monotonic()
        plan = session.write(batch)
        self._meters.written(batch, plan, time.monotonic() - began)
        self._consumer.commit(batch.spans)
        self._pending = None
        self._recent = self._weighed
        self._dead_letters.forget()
        self._succeeded()

    def _open_session(self) -> Session:
        return Session.open(self._settings.store, self._catalogue, self._dead_letters, self._judge)

    def _judge(self, batch: Batch) -> None:
        """Raise MostFail when it is not the senders who are at fault: with another version, or mended, the same batch is read."""
        self._weighed = self._recent.after(batch)
        trouble = self._weighed.trouble if has_failures(batch) else None
        if trouble is None or not self._settings.sink.stop_on_failures:
            return
        reason, place = trouble.reason.value, str(trouble.place)
        facts = {"failures": trouble.failures, "records": trouble.records, "collectors": trouble.collectors}
        logger.error("most records cannot be stored, the sink stops", extra={**facts, "reason": reason, "place": place})
        raise MostFail(
            f"{trouble.failures} of the last {trouble.records} records cannot be stored, most of those of {trouble.collectors} "
            f"of {trouble.seen} collectors; {trouble.of_reason} times {reason}, such as {place}. The batch at hand is neither "
            f"stored nor dead-lettered. Run the version of pganalytics that the agents run, `pganalytics setup`, then start it "
            f"again; or set sink.stop_on_failures = false to dead-letter them (`pganalytics replay` sends them again later)"
        )

    def _batch(self) -> Batch | None:
        """The batch that is not written yet, or the next one; None when nothing waits."""
        generation = self._consumer.generation
        if self._pending is not None and self._pending[0] == generation:
            return self._pending[1]
        self._pending = None
        if not self._consumer.waiting:
            return None
        try:
            batch = self._next_batch()
        except Unreachable:
            self._consumer.stray()  # the schemas cannot be asked now: these records are read again
            raise
        self._pending = generation, batch
        return batch

    def _next_batch(self) -> Batch:
        events = self._topics.events
        spans, messages = self._consumer.take(self._settings.sink.batch_records)
        named = {schema_of(message) for message in messages if message.place.topic != events}
        self._catalogue.look_up(identifier for identifier in named if identifier is not None)
        known, now_us = self._catalogue.known, time.time_ns() // 1000
        return Batch(spans, tuple(read(message, known, events_topic=events, now_us=now_us) for message in messages))

    def _find_positions(self, session: Session) -> dict[tuple[str, int], int]:
        return find_positions(
            session.connection,
            self._admin,
            self._consumer.assignment,
            letters=self._letters,
            topics=self._topics,
            timeout_s=self._settings.kafka.timeout_s,
            now_us=time.time_ns() // 1000,
        )

    def _read(self, stop: threading.Event) -> None:
        """Poll once, and on for `batch_wait_s` while there is less than a batch."""
        until = time.monotonic() + self._settings.sink.batch_wait_s
        self._consumer.poll(IDLE_S if self._is_away() or self._consumer.astray else 0.0)
        while not (self._is_ready() or stop.is_set()) and (left_s := until - time.monotonic()) > 0:
            self._consumer.poll(min(left_s, IDLE_S))

    def _is_ready(self) -> bool:
        """Whether there is something better to do than to read on."""
        waiting = self._consumer.waiting
        return self._pending is not None or self._consumer.astray or waiting >= self._settings.sink.batch_records

    def _is_away(self) -> bool:
        return time.monotonic() < self._again_at

    def _disconnect(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None

    def _back_off(self, error: TryAgain) -> None:
        self._disconnect()
        self.waits_for = KAFKA if error.kind == KAFKA else STORE
        self._meters.waits(self.waits_for)
        self._backoff = self._backoff.failed()
        self._again_at = time.monotonic() + self._backoff.delay_s(random.random())  # noqa: S311
        if self._backoff.attempts > 1 and self._news.is_news("away", error.kind):  # once is nothing: a deadlock, a new leader
            logger.warning("the sink waits", extra={"kind": error.kind, "detail": error.detail})

    def _succeeded(self) -> None:
        self._meters.goes_on()
        if self.waits_for:
            self.waits_for, self.went_on_at = "", time.monotonic()
        self._backoff = self._backoff.succeeded()
        if self._news.is_news("away", ""):
            logger.warning("the sink goes on")
