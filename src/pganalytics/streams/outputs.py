"""What the streams send. `deliver` returns when the broker has acknowledged every record of a batch.

Nothing is given up for time: while the broker is away librdkafka keeps the records and sends them when it is back, and a
refusal for a reason that can be mended (rights, a topic that is missing) is tried again and logged when it begins and ends.
A record that the broker refuses for good goes as a stub; because the broker refuses whole batches, and with the one that
is at fault all that were on the way with it, each is first tried alone.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.kafka import REFUSED_FOR_GOOD, producer_config
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.settings import Kafka
from pganalytics.schemas.topics import MAX_MESSAGE_BYTES
from pganalytics.streams.errors import CannotSend
from pganalytics.streams.records import Outgoing, stub

logger = logging.getLogger(__name__)

LINGER_MS = 2
QUEUE_FULL_WAIT_S = 0.01
POLL_S = 0.1
BY_KEY = -1
OUR_HEADERS_BYTES = 64 * 1024
"""A record that just fitted into the collected topic must not fail here because of the headers that we add."""

Failure = tuple[Outgoing, KafkaError]


class Outputs:
    """A producer for one event loop. `poll_until` runs in a thread of its own and carries the delivery reports."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._news = OnChange()

    def poll_until(self, stop: threading.Event) -> None:
        """Serve delivery reports until `stop`; what is not acknowledged then is dropped, and read again later."""
        while not stop.is_set():
            self._producer.poll(POLL_S)
        self._producer.purge()
        self._producer.poll(0)

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """Send until all is acknowledged; raises CannotSend when the client is broken."""
        backoff = Backoff(first_s=0.2, most_s=10.0)
        left = list(records)
        while failures := await self._send(left):
            alone = len(left) == 1
            left = []
            for record, error in failures:
                if not self._is_for_good(record, error):
                    left.append(record)
                else:
                    await self.deliver([shortened(record, error) if alone else record])
            if left:
                backoff = backoff.failed()
                await asyncio.sleep(backoff.delay_s(1.0))
        if self._news.is_news("refused", ""):
            logger.info("records are accepted again")

    async def _send(self, records: Sequence[Outgoing]) -> list[Failure]:
        """One attempt; the records that were refused, each with its error."""
        batch = _Batch(len(records), asyncio.get_running_loop())
        for record in records:
            await self._produce(record, batch)
        return await batch.reported if records else []

    async def _produce(self, record: Outgoing, batch: "_Batch") -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    on_delivery=partial(batch.report, record),
                    partition=BY_KEY if record.partition is None else record.partition,
                )
            except BufferError:
                await asyncio.sleep(QUEUE_FULL_WAIT_S)
            except KafkaException as error:
                batch.report(record, error.args[0], None)
                return
            else:
                return

    def _is_for_good(self, record: Outgoing, error: KafkaError) -> bool:
        if error.fatal():
            raise CannotSend(f"kafka client: {error.str()}")
        if error.code() in REFUSED_FOR_GOOD:
            return True
        if self._news.is_news("refused", f"{record.topic} {error.name()}"):
            facts = {"topic": record.topic, "error": error.name(), "reason": error.str()}
            logger.warning("records are not accepted; trying again", extra=facts)
        return False


def shortened(record: Outgoing, error: KafkaError) -> Outgoing:
    """The stub of a record that was refused when it was alone; raises CannotSend when there is none."""
    shorter = stub(record, error.name())
    if shorter is None:
        raise CannotSend(f"topic {record.topic} refuses even a stub: {error.str()}")
    facts = {"topic": record.topic, "error": error.name(), "reason": error.str()}
    logger.warning("record refused for good; sent as a stub", extra=facts)
    return shorter


class _Batch:
    """Waits for the last of `left` reports. They come from the poller's thread, or from the loop when not even queued."""

    def __init__(self, left: int, loop: asyncio.AbstractEventLoop) -> None:
        self.reported: asyncio.Future[list[Failure]] = loop.create_future()
        self._loop = loop
        self._left = left
        self._failures: list[Failure] = []
        self._lock = threading.Lock()

    def report(self, record: Outgoing, error: KafkaError | None, message: Message | None) -> None:
        """One record is acknowledged, or refused."""
        del message
        with self._lock:
            if error is not None:
                self._failures.append((record, error))
            self._left -= 1
            last = not self._left
        if last and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.reported.done():
            self.reported.set_result(self._failures)


def build_outputs(kafka: Kafka) -> Outputs:
    """The producer as the streams need it."""
    config = producer_config(
        kafka,
        name="streams",
        linger_ms=LINGER_MS,
        message_timeout_ms=0,
        message_max_bytes=MAX_MESSAGE_BYTES + OUR_HEADERS_BYTES,
    )
    return Outputs(Producer(config))
