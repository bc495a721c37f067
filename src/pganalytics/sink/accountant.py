"""The accountant: what was sent and never arrived is repaired from the collected topics, or named as missing.

A thread of the sink with a connection and clients of its own; it reads beside the loop and never in its way. Each partition
has one accountant in the installation, by an advisory lock of its session; the server ends a session that is silent, so a
process that was stopped keeps no partition. Two at once would be harmless: what is repaired twice is stored once, and
missing is only what the locked ledger rows still lack.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.errors import SettingsError, Unreachable
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import LANES, Lane, Stream
from pganalytics.schemas.partitioner import partition_of
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.epoch_ends import complete_epochs, orphan, read_suspects, strays, tell_of_rolled_back
from pganalytics.sink.errors import TryAgain
from pganalytics.sink.letters import Letters, missing, repaired
from pganalytics.sink.log_ends import log_ends, log_starts
from pganalytics.sink.meters import Meters
from pganalytics.sink.migrations import LOCK_SPACE
from pganalytics.sink.multiranges import from_multirange
from pganalytics.sink.outages import as_sink_error, first_line
from pganalytics.sink.positions import read_positions
from pganalytics.sink.records import Partition
from pganalytics.sink.repair import find_holes, seqs_of
from pganalytics.sink.settling import Round, Stage, joined, lanes_of, split, without
from pganalytics.sink.standing import read_standing
from pganalytics.sink.statements import statement
from pganalytics.sink.writer import mark_missing

logger = logging.getLogger(__name__)

ACCOUNTANT_LOCKS = 1000
"""Second key of the advisory lock of partition 0; the others follow."""
SILENT_SESSION_S = 60
ADD_UP_S = 15.0
"""The whole ledger is read for it."""
PING_S = 10.0


class Accountant:
    """`run` is the body of its thread."""

    def __init__(
        self, settings: Settings, topics: Topics, *, letters: Letters, client: AdminClient, offsets: GroupOffsets, meters: Meters
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._letters = letters
        self._client = client
        self._offsets = offsets
        self._meters = meters
        self._connection: StoreConnection | None = None
        self._held: set[int] = set()
        self._rounds: dict[int, Round] = {}
        self._deferred: dict[int, Round] = {}
        self._backoff = Backoff(first_s=0.5, most_s=settings.sink.retry_max_s)
        self._news = OnChange()
        self._added_up_at = -math.inf

    def run(self, stop: threading.Event) -> None:
        """Settle accounts until `stop` is set; what is under way then is begun anew by the next one."""
        try:
            while not stop.wait(self._settings.sink.settle_interval_s + self._backoff.delay_s(random.random())):  # noqa: S311
                self._try(stop)
        finally:
            self._disconnect()
            self._offsets.close()

    def _try(self, stop: threading.Event) -> None:
        try:
            self.settle(stop)
        except (TryAgain, Unreachable, SettingsError, KafkaException, psycopg.Error) as error:
            if isinstance(error, psycopg.Error) and not isinstance(as_sink_error(error), TryAgain):
                raise
            if isinstance(error, KafkaException) and error.args[0].fatal():
                raise
            self._disconnect()
            self._backoff = self._backoff.failed()
            if self._backoff.attempts > 1 and self._news.is_news("accountant", type(error).__name__):
                logger.warning("the accountant waits", extra={"detail": first_line(error)})
        else:
            self._meters.looked()
            self._backoff = self._backoff.succeeded()
            if self._news.is_news("accountant", ""):
                logger.warning("the accountant goes on")

    def settle(self, stop: threading.Event) -> None:
        """One step of every partition that is ours. Raises TryAgain, Unreachable, KafkaException, psycopg.Error."""
        connection = self._connection = self._connection or self._connect()
        complete_epochs(connection)
        waiting: dict[int, dict[Stream, Ranges]] = {}
        for stream, seqs in self._read_open(connection, None)[0].items():
            waiting.setdefault(self._partition(stream.collector), {})[stream] = seqs
        suspects: dict[int, set[tuple[str, int]]] = {}
        for suspect in read_suspects(connection):
            suspects.setdefault(self._partition(suspect.collector), set()).add(suspect.key)
        for number in sorted({*waiting, *suspects, *self._rounds, *self._deferred}):
            if stop.is_set():
                return
            if self._holds(connection, number):
                self._advance(connection, number, waiting.get(number, {}), frozenset(suspects.get(number, ())), stop)
        rolled_back = tell_of_rolled_back(connection, self._letters, self._topics, self._partition_if_held)
        self._meters.epochs_ended(EventKind.SPOOL_ROLLED_BACK, rolled_back)
        self._add_up(connection)

    def _add_up(self, connection: StoreConnection) -> None:
        if time.monotonic() - self._added_up_at >= ADD_UP_S:
            self._meters.stands(read_standing(connection))
            self._added_up_at = time.monotonic()

    def _partition_if_held(self, collector: str) -> int | None:
        number = self._partition(collector)
        return number if self._connection is not None and self._holds(self._connection, number) else None

    def _partition(self, collector: str) -> int:
        return partition_of(collector, self._topics.partitions)

    def _advance(
        self,
        connection: StoreConnection,
        number: int,
        waiting: Mapping[Stream, Ranges],
        suspects: frozenset[tuple[str, int]],
        stop: threading.Event,
    ) -> None:
        if (late := self._deferred.get(number)) is not None and self._is_passed(connection, late):
            self._judge(connection, number, late, stop)
            self._meters.judged()
            del self._deferred[number]
        current = self._rounds.pop(number, None)
        if current is None:
            if not waiting and not suspects:
                return
            current = Round(waiting, Stage.STREAMS, self._ends(number, map(self._topics.collected, LANES)), suspects=suspects)
        if current.stage is Stage.STREAMS and self._is_committed(current):
            admitted = [*map(self._topics.admitted, LANES), self._topics.events]
            current = current.for_sink(self._ends(number, admitted), self._ends(number, [self._topics.deferred]))
        if current.stage is Stage.SINK and self._is_passed(connection, current):
            self._judge(connection, number, current, stop)
            self._meters.judged()
        else:
            self._rounds[number] = current

    def _judge(self, connection: StoreConnection, number: int, done: Round, stop: threading.Event) -> None:
        """The round is over: what is still open is a hole, or waits among the deferred ones."""
        still_open, deferred = self._read_open(connection, sorted({stream.collector for stream in done.taken}))
        holes, waiting = split(done.holes(still_open), {} if done.of_deferred else deferred)
        if waiting and number not in self._deferred:
            self._deferred[number] = done.for_deferred(waiting)
        suspects = [one for one in read_suspects(connection, {name for name, _ in done.suspects}) if one.key in done.suspects]
        if not holes and not suspects:
            return
        wanted = joined(holes, strays(connection, suspects))
        found = self._repair(connection, number, wanted, stop) if self._settings.sink.repair else {}
        if stop.is_set():
            return
        self._meters.holes(holes)
        back = {(stream.collector, stream.epoch) for stream in found}
        if gone := [one for one in suspects if one.key not in back]:
            self._meters.epochs_ended(EventKind.ORPHANED, orphan(connection, self._letters, self._topics, number, gone))
        if lost := without(holes, found):
            self._letters.tell([missing(self._topics, stream, seqs, number) for stream, seqs in lost.items()])
            mark_missing(connection, lost)
            self._meters.missing(lost)
            for stream, seqs in lost.items():
                logger.warning("records are missing", extra=_facts(stream, seqs))

    def _repair(
        self, connection: StoreConnection, number: int, holes: Mapping[Stream, Ranges], stop: threading.Event
    ) -> dict[Stream, Ranges]:
        """One pass over what the collected topics retain; what it finds is admitted again. What was found, by stream.

        It is told before it is done: whoever is interrupted between the two tells it once more, under the same id.
        """
        wanted = [(self._topics.collected(lane), number) for lane in lanes_of(holes)]
        starts = log_starts(self._client, wanted, self._settings.kafka.timeout_s)
        ends = log_ends(self._client, wanted, self._settings.kafka.timeout_s)
        pinged = time.monotonic()
        found: dict[Stream, Ranges] = {}
        for finds in find_holes(self._settings.kafka, self._topics, holes, starts=starts, ends=ends):
            if stop.is_set():
                return {}
            if time.monotonic() - pinged > PING_S:
                connection.execute("select 1")
                pinged = time.monotonic()
            these = seqs_of(finds)
            self._letters.tell([repaired(self._topics, stream, seqs, number) for stream, seqs in these.items()])
            self._letters.send([find.letter for find in finds])
            self._meters.repaired(len(finds))
            found = joined(found, these)
        for stream, seqs in found.items():
            logger.warning("records repaired", extra=_facts(stream, seqs))
        return found

    def _is_committed(self, current: Round) -> bool:
        """Whether the streams are past what had been collected."""
        done = {where: offset or 0 for where, offset in self._offsets.committed(current.ends).items()}
        return current.passed(done, log_starts(self._client, current.ends, self._settings.kafka.timeout_s))

    def _is_passed(self, connection: StoreConnection, current: Round) -> bool:
        """Whether the store is past what had been admitted."""
        done = read_positions(connection, current.ends)
        return current.passed(done, log_starts(self._client, current.ends, self._settings.kafka.timeout_s))

    def _ends(self, number: int, topics: Iterable[str]) -> dict[Partition, int]:
        return log_ends(self._client, [(topic, number) for topic in topics], self._settings.kafka.timeout_s)

    def _read_open(
        self, connection: StoreConnection, collectors: Sequence[str] | None
    ) -> tuple[dict[Stream, Ranges], dict[Stream, Ranges]]:
        """What is open, and what of it is deferred."""
        rows = connection.execute(statement("open_read"), [collectors]).fetchall()
        streams = [Stream(name, epoch, Lane(lane)) for name, epoch, lane, _, _ in rows]
        waiting = {stream: from_multirange(row[3]) for stream, row in zip(streams, rows, strict=True)}
        return waiting, {stream: from_multirange(row[4]) for stream, row in zip(streams, rows, strict=True)}

    def _connect(self) -> StoreConnection:
        connection = StoreConnection.open(self._settings.store, name="accountant")
        connection.execute("select set_config('idle_session_timeout', $1, false)", [f"{SILENT_SESSION_S}s"])
        return connection

    def _disconnect(self) -> None:
        """Locks, and what they stood for, end with the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._held.clear()
        self._rounds.clear()
        self._deferred.clear()

    def _holds(self, connection: StoreConnection, number: int) -> bool:
        if number not in self._held:
            keys = [LOCK_SPACE, ACCOUNTANT_LOCKS + number]
            if connection.execute("select pg_try_advisory_lock($1, $2)", keys).fetchone() == (True,):
                self._held.add(number)
        return number in self._held


def _facts(stream: Stream, seqs: Ranges) -> dict[str, Any]:
    where = {"collector": stream.collector, "epoch": stream.epoch, "lane": stream.lane.value}
    return {**where, "seqs": str(seqs), "count": len(seqs)}
