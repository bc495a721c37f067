"""What the sink sends: dead letters, events and repairs. Each call returns when Kafka has acknowledged all of it."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from pganalytics.runtime.kafka import producer_config
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.settings import Kafka
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import MAX_MESSAGE_BYTES, Topics
from pganalytics.sink.errors import TryAgain
from pganalytics.sink.records import Place, Poison

logger = logging.getLogger(__name__)

DELIVERY_TIMEOUT_S = 15.0
MOST_DETAIL = 500
NO_OFFSET = -1
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})


@dataclass(slots=True)
class Letter:
    """A record to send."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]] = field(default_factory=list)


class Letters:
    """A producer whose every record is waited for. For one thread."""

    def __init__(self, kafka: Kafka, topics: Topics) -> None:
        self._topics = topics
        self._producer = Producer(
            producer_config(
                kafka,
                name="sink",
                linger_ms=5,
                message_max_bytes=MAX_MESSAGE_BYTES,
                delivery_timeout_ms=int(DELIVERY_TIMEOUT_S * 1000),
            )
        )

    def bury(self, poisons: Sequence[Poison]) -> None:
        """Send dead letters and tell of them; raises TryAgain. To send one twice is harmless."""
        self._send([dead_letter(self._topics, poison) for poison in poisons])
        self.tell([dead_lettered(self._topics, poison) for poison in poisons])

    def send(self, letters: Sequence[Letter]) -> None:
        """Send records; raises TryAgain."""
        self._send(letters)

    def tell(self, events: Sequence[Event]) -> None:
        """Send events; raises TryAgain."""
        self._send([Letter(self._topics.events, event.collector.encode(), event.encode()) for event in events])

    def _send(self, letters: Sequence[Letter]) -> None:
        """One that is too large with our headers goes without its body: the source topic still has that for a while.

        Kafka refuses whole batches, and with the one that is at fault all that were on the way with it: each is first tried
        alone.
        """
        failed: list[tuple[Letter, KafkaError]] = []
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S + 5
        for letter in letters:
            self._produce(letter, failed, deadline)
        if self._producer.flush(max(0.0, deadline - time.monotonic())):
            raise TryAgain("kafka", "dead letters, events or repairs are not acknowledged")
        if fatal := [error for _, error in failed if error.fatal()]:
            raise KafkaException(fatal[0])
        too_large = [letter for letter, error in failed if error.code() in TOO_LARGE and letter.value is not None]
        if len(too_large) < len(failed):
            raise TryAgain("kafka", f"dead letters, events or repairs are refused: {failed[0][1].str()}")
        for letter in too_large:
            self._send([letter] if len(letters) > 1 else [stub(letter)])

    def _produce(self, letter: Letter, failed: list[tuple[Letter, KafkaError]], deadline: float) -> None:
        def report(error: KafkaError | None, message: KafkaMessage) -> None:
            del message
            if error is not None:
                failed.append((letter, error))

        while True:
            try:
                self._producer.produce(
                    letter.topic, key=letter.key, value=letter.value, headers=letter.headers, on_delivery=report
                )
            except BufferError:
                if time.monotonic() > deadline:
                    raise TryAgain("kafka", "the queue of dead letters, events and repairs stays full") from None
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].fatal():
                    raise
                failed.append((letter, error.args[0]))
                return
            else:
                return


class DeadLetters:
    """Remembers what was sent of a batch that is tried again, so that a long outage of the store does not repeat it."""

    def __init__(self, letters: Letters) -> None:
        self._letters = letters
        self._sent: set[Place] = set()
        self._news = OnChange()

    def bury(self, poisons: Sequence[Poison]) -> None:
        """Send those that were not sent yet; returns when all are acknowledged. Raises TryAgain."""
        fresh = [poison for poison in poisons if poison.message.place not in self._sent]
        if not fresh:
            return
        self._letters.bury(fresh)
        self._sent |= {poison.message.place for poison in fresh}
        for poison in fresh:
            if self._news.is_news(poison.reason, "seen"):  # one line per reason: the store lists every single one
                facts = {"reason": poison.reason.value, "detail": tidy(poison.detail)}
                logger.warning("records dead-lettered", extra=facts)

    def forget(self) -> None:
        """The batch is in the store."""
        self._sent.clear()


def dead_letter(topics: Topics, poison: Poison) -> Letter:
    """The record as it was, with Connect's headers that say where it lay and what is wrong with it."""
    message, place = poison.message, poison.message.place
    ours = {
        "topic": place.topic,
        "partition": str(place.partition),
        "offset": str(place.offset),
        "exception.class.name": poison.reason.value,
        "exception.message": tidy(poison.detail),
    }
    headers: list[tuple[str, str | bytes | None]] = [*message.headers]
    headers += ((f"__connect.errors.{name}", text.encode()) for name, text in ours.items())
    return Letter(topics.dead_letter, message.key, message.value, headers)


def stub(letter: Letter) -> Letter:
    """The letter without its body."""
    left_out = str(len(letter.value or b"")).encode()
    return replace(letter, value=None, headers=[*letter.headers, ("body_left_out", left_out)])


def dead_lettered(topics: Topics, poison: Poison) -> Event:
    """The event of a dead letter; of the sink itself when it cannot be said whose record that was."""
    identity, place = poison.identity, poison.message.place
    return Event(
        kind=EventKind.DEAD_LETTERED,
        source=Source.SINK,
        at_us=place.at_us,
        collector=identity.collector if identity else nobody(topics),
        epoch=identity.epoch if identity else 0,
        lane=identity.lane if identity else None,
        ranges=Ranges.numbers([identity.seq]) if identity else Ranges(),
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        detail=f"{poison.reason}: {tidy(poison.detail)}",
    )


def position_outside_log(topics: Topics, place: Place, detail: str) -> Event:
    """The event of a position that Kafka's log does not have."""
    return Event(
        kind=EventKind.POSITION_OUTSIDE_LOG,
        source=Source.SINK,
        at_us=place.at_us,
        collector=nobody(topics),
        epoch=0,
        lane=None,
        ranges=Ranges(),
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        detail=detail,
    )


def repaired(topics: Topics, stream: Stream, seqs: Ranges, partition: int) -> Event:
    """The event of records that the sink had never got and that were admitted again."""
    detail = f"{len(seqs)} records were collected and never arrived; they are admitted again"
    return _of_holes(EventKind.REPAIRED, topics, stream, seqs, partition, detail)


def missing(topics: Topics, stream: Stream, seqs: Ranges, partition: int) -> Event:
    """The event of records that Kafka acknowledged and that are nowhere."""
    detail = f"{len(seqs)} records were sent, never arrived, and are not in the collected topic"
    return _of_holes(EventKind.MISSING, topics, stream, seqs, partition, detail)


def spool_rolled_back(topics: Topics, stream: Stream, seqs: Ranges, partition: int) -> Event:
    """The event of records that are known although a final heartbeat says that there were fewer."""
    detail = f"the spool ended this epoch {len(seqs)} records before its end: it was put back to an earlier state"
    return _of_holes(EventKind.SPOOL_ROLLED_BACK, topics, stream, seqs, partition, detail)


def of_epoch(kind: EventKind, topics: Topics, collector: str, epoch: int, partition: int, detail: str) -> Event:
    """The event of an epoch that ends otherwise than by its own word."""
    where = _of_holes(kind, topics, Stream(collector, epoch, Lane.CRITICAL), Ranges(), partition, detail)
    return replace(where, lane=None)


def _of_holes(kind: EventKind, topics: Topics, stream: Stream, seqs: Ranges, partition: int, detail: str) -> Event:
    """No record causes it: the time is now, and the offset none."""
    return Event(
        kind=kind,
        source=Source.SINK,
        at_us=time.time_ns() // 1000,
        collector=stream.collector,
        epoch=stream.epoch,
        lane=stream.lane,
        ranges=seqs,
        topic=topics.collected(stream.lane),
        partition=partition,
        offset=NO_OFFSET,
        detail=detail,
    )


def nobody(topics: Topics) -> str:
    """The collector of events that concern none."""
    return f"{topics.prefix}.sink"


def tidy(detail: str) -> str:
    """A detail for headers and columns: short, printable, without U+0000."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in detail[:MOST_DETAIL])
    return shown.encode("utf-8", "backslashreplace").decode()
