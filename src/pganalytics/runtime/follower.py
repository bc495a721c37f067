"""Keeps up with a compacted topic while it changes."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.logs import OnChange

logger = logging.getLogger(__name__)

EVERY_S = 1.0
READ_S = 3.0


class Reader(Protocol):
    """A topic that is read whole."""

    topic: str

    def read_to_end(self, timeout_s: float) -> Mapping[bytes, bytes]:
        """All keys and values; raises Unreachable."""

    def close(self) -> None:
        """Let go of the connections."""


class Follower:
    """Hands over all keys and values of a topic, first by `read`, then whenever they have changed.

    `read` before anything is decided by what the topic holds, then `run` in a thread of its own. What changes is handed over
    within `EVERY_S` and the time of a question to the broker. While the broker is away, what was handed over last stays.
    """

    def __init__(self, reader: Reader, take: Callable[[Mapping[bytes, bytes]], None], *, every_s: float = EVERY_S) -> None:
        self._reader = reader
        self._take = take
        self._every_s = every_s
        self._last: Mapping[bytes, bytes] | None = None
        self._news = OnChange()

    def read(self, timeout_s: float) -> None:
        """To the topic's end; raises Unreachable."""
        values = self._reader.read_to_end(timeout_s)
        if values != self._last:
            self._take(values)
            self._last = values

    def run(self, stop: threading.Event) -> None:
        """Follow the topic until `stop`, then close the reader."""
        backoff = Backoff(first_s=self._every_s, most_s=4 * self._every_s)
        wait_s = self._every_s
        try:
            while not stop.wait(wait_s):
                try:
                    self.read(READ_S)
                except Unreachable as error:
                    backoff = backoff.failed()
                    wait_s = backoff.delay_s(1.0)
                    if self._news.is_news("topic", "unreachable"):
                        logger.warning("topic cannot be read; what is known stays", extra={"error": str(error)})
                    continue
                backoff, wait_s = backoff.succeeded(), self._every_s
                if self._news.is_news("topic", ""):
                    logger.info("topic is read again", extra={"topic": self._reader.topic})
        finally:
            self._reader.close()
