"""The thread that reads the topic `control`. Nothing that it finds there, or does not find, stops an agent."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from confluent_kafka import KafkaException

from pganalytics.producers.control import Controls, Received
from pganalytics.runtime.compacted import Entry
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import OnChange
from pganalytics.schemas.control import decode_control
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.identity import Lane

logger = logging.getLogger(__name__)

LISTEN_S = 2.0
READ_TIMEOUT_S = 5.0


class Reader(Protocol):
    """A compacted topic."""

    def read_entries(self, timeout_s: float) -> Mapping[bytes, Entry]:
        """All of it; raises Unreachable or KafkaException."""

    def close(self) -> None:
        """Let go of the connections."""


class Listening:
    """Reads the orders for the collectors of `controls`. For one thread."""

    def __init__(self, reader: Reader, controls: Controls) -> None:
        self._reader = reader
        self._controls = controls
        self._news = OnChange()

    def run(self, lifecycle: Lifecycle) -> None:
        """Listen until the lifecycle stops."""
        try:
            while not lifecycle.stopping:
                self.listen(time.monotonic)
                lifecycle.stop.wait(LISTEN_S)
        finally:
            self._reader.close()

    def listen(self, clock: Callable[[], float]) -> None:
        """Once; the clock gives seconds and does not go back. While the topic cannot be read, orders go on to hold and to end."""
        try:
            entries = self._reader.read_entries(READ_TIMEOUT_S)
        except (Unreachable, KafkaException) as error:
            if self._news.is_news("", type(error).__name__):
                logger.warning("orders of the streams cannot be read", extra={"error": str(error)})
            self._tell(self._controls.expire(clock()))
            return
        self._news.is_news("", "")
        newest_us = max((entry.appended_us for entry in entries.values()), default=0)
        self._tell(self._controls.take(self._own(entries), newest_us, clock()))

    def _own(self, entries: Mapping[bytes, Entry]) -> dict[str, Received]:
        """The orders for our collectors; what is none is told once and left out."""
        own = {}
        for collector in self._controls.collectors():
            entry = entries.get(collector.encode())
            if entry is None:
                continue
            try:
                own[collector] = Received(decode_control(entry.value), entry.appended_us)
                self._news.is_news(collector, "")
            except BodyError as error:
                if self._news.is_news(collector, "bad"):
                    logger.warning("an order of the streams is ignored", extra={"collector": collector, "reason": str(error)})
        return own

    def _tell(self, changed: list[str]) -> None:
        for collector in changed:
            stretch = self._controls.stretch(collector, Lane.NORMAL)
            facts = {"collector": collector, "stretch": round(stretch, 2), "version": self._controls.version(collector)}
            logger.info("the streams have changed how often a collector reads", extra=facts)
