"""The topic `control` as the streams read it: once after each assignment, to its end, before anything is decided."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from confluent_kafka import KafkaException

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.compacted import Entry
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.logs import OnChange
from pganalytics.schemas.control import Control, decode_control
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.identity import is_collector_id
from pganalytics.streams.controller import Controller

logger = logging.getLogger(__name__)


class Reader(Protocol):
    """A compacted topic."""

    def read_entries(self, timeout_s: float) -> Mapping[bytes, Entry]:
        """All of it; raises Unreachable or KafkaException."""


class Orders:
    """For the event loop's thread; the topic is read in another one, and an outage of the broker is waited for."""

    def __init__(self, reader: Reader, controller: Controller, *, timeout_s: float, stopping: Callable[[], bool]) -> None:
        self._reader = reader
        self._controller = controller
        self._timeout_s = timeout_s
        self._stopping = stopping
        self._generation = -1
        self._news = OnChange()

    async def catch_up(self, generation: int) -> None:
        """Hand the orders to the controller, once for each generation of the assignment."""
        backoff = Backoff(first_s=0.2, most_s=5.0)
        while generation != self._generation and not self._stopping():
            try:
                entries = await asyncio.get_running_loop().run_in_executor(None, self._reader.read_entries, self._timeout_s)
            except (Unreachable, KafkaException) as error:
                backoff = backoff.failed()
                if self._news.is_news("topic", type(error).__name__):
                    logger.warning("orders cannot be read", extra={"error": str(error)})
                await asyncio.sleep(backoff.delay_s(1.0))
                continue
            self._news.is_news("topic", "")
            self._controller.adopt(decoded(entries))
            self._generation = generation


def decoded(entries: Mapping[bytes, Entry]) -> dict[str, tuple[Control, int]]:
    """The orders and when they were appended; what is none is left out: its collector is looked at as if there were none."""
    orders = {}
    for key, entry in entries.items():
        try:
            collector, control = key.decode("ascii"), decode_control(entry.value)
        except (UnicodeDecodeError, BodyError):
            continue
        if is_collector_id(collector):
            orders[collector] = control, entry.appended_us
    return orders
