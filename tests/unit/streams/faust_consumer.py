"""A consumer of Faust as our app makes it, without a broker, and a record for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from faust.types import TP, ConsumerMessage, Message

from pganalytics.runtime.settings import Settings
from pganalytics.streams.app import build_app
from pganalytics.streams.overrides import Consumer
from pganalytics.streams.positions import Positions
from unit.streams.arrivals import TOPICS, arrival

HERE = TP(TOPICS.collected(arrival().lane), 0)

Answer = TypeVar("Answer")


async def nothing(*_: Any) -> None:
    return


def fail(error: BaseException) -> None:
    raise error


def with_consumer(use: Callable[[Any, Positions], Awaitable[Answer]], cls: type[Any] = Consumer) -> Answer:
    """Run something on a consumer as our app makes it, without a broker."""

    async def body() -> Answer:
        positions = Positions()
        app = build_app(Settings(), TOPICS, positions, credentials=None, process=nothing, fail=fail)
        conductor: Any = app.topics
        conductor.acks_enabled_for = lambda topic: True
        consumer = cls(app.transport, callback=nothing, on_partitions_revoked=nothing, on_partitions_assigned=nothing)
        return await use(consumer, positions)

    return asyncio.run(body())


def message(consumer: Any, offset: int) -> Message:
    return ConsumerMessage(HERE.topic, HERE.partition, offset, 0.0, 1, [], b"k", b"v", None, tp=HERE)
