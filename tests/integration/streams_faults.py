"""`pganalytics streams` with a fault planted in it: `python -m integration.streams_faults FAULT streams --config FILE`."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from pganalytics.cli.main import main
from pganalytics.schemas.identity import Lane
from pganalytics.streams import guard
from pganalytics.streams.overrides import Consumer
from pganalytics.streams.positions import Jump

SKIPPED_EVERY = 97


def faust_skips(*, heartbeats: bool = True) -> None:
    """Faust hands over only some of what it read, as it did after reassignments."""
    whole = Consumer.getmany

    async def getmany(self: Any, timeout: float) -> Any:
        async for tp, message in whole(self, timeout):
            spared = not heartbeats and tp.topic.endswith(Lane.CRITICAL)
            if spared or message.offset % SKIPPED_EVERY != SKIPPED_EVERY - 1:
                yield tp, message

    setattr(Consumer, "getmany", getmany)  # noqa: B010 - a method is not to be assigned, says mypy, and here it is


def without_guard() -> None:
    """Every jump is believed to be over nothing."""

    def believe(offsets: guard.Offsets, jumps: Iterable[Jump]) -> list[Jump]:
        return []

    guard.find_skipped = believe


def faust_skips_unseen() -> None:
    """The same, without our guard."""
    without_guard()
    faust_skips()


def data_is_skipped_unseen() -> None:
    """The same, but every heartbeat arrives."""
    without_guard()
    faust_skips(heartbeats=False)


FAULTS: dict[str, Callable[[], None]] = {
    "skips": faust_skips,
    "skips-unseen": faust_skips_unseen,
    "skips-data-unseen": data_is_skipped_unseen,
}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    main()
