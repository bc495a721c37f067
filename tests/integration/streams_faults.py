"""`pganalytics streams` with a fault planted in it: `python -m integration.streams_faults FAULT streams --config FILE`."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.streams import Stream

from pganalytics.cli.main import main
from pganalytics.runtime import health, lag
from pganalytics.schemas import topics
from pganalytics.schemas.identity import Lane
from pganalytics.streams import app, guard, worker
from pganalytics.streams.overrides import Consumer
from pganalytics.streams.pipeline import Pipeline
from pganalytics.streams.positions import Jump
from pganalytics.streams.records import Arrival

SKIPPED_EVERY = 97
OFTEN = 7
RAISES_EVERY, RAISES_FIRST = 5, 2
SHORT_HOUR_MS = 100


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


def much_data_is_skipped_unseen() -> None:
    """The same, of much less."""
    globals()["SKIPPED_EVERY"] = OFTEN
    data_is_skipped_unseen()


def faust_commits() -> None:
    """Faust's own commits, with no guard and no fail-stop: a batch whose agent raised is acked and committed with the rest."""
    _commit_as_faust(lambda error: None)


def leaves_agent() -> None:
    """The same, but that the exception leaves the agent, which Faust's supervisor starts again."""

    def leave(error: BaseException) -> None:
        raise error

    _commit_as_faust(leave)


def takes() -> None:
    """The same, with `take` for events: Faust acks a batch itself when it asks for the next one, or when the agent raised."""
    leaves_agent()
    setattr(Stream, "noack_take", Stream.take_events)  # noqa: B010 - as below


def _commit_as_faust(fail: Callable[[BaseException], None]) -> None:
    without_guard()
    for name in ("ack", "_filter_tps_with_pending_acks", "_new_offset", "_should_commit", "_add_gap"):
        delattr(Consumer, name)
    setattr(worker, "fail_stop", fail)  # noqa: B010 - as below
    whole, batches = Pipeline.process, count(1)

    async def process(self: Pipeline, arrivals: Sequence[Arrival]) -> None:
        if all(arrival.lane is not Lane.CRITICAL for arrival in arrivals) and next(batches) % RAISES_EVERY == RAISES_FIRST:
            raise RuntimeError("planted")
        await whole(self, arrivals)

    setattr(Pipeline, "process", process)  # noqa: B010


def nothing_finishes() -> None:
    """The first batch is in hand for ever."""

    async def process(self: Pipeline, arrivals: Sequence[Arrival]) -> None:
        await asyncio.Event().wait()

    setattr(Pipeline, "process", process)  # noqa: B010


def nothing_finishes_and_that_is_told_soon() -> None:
    """As above; health waits for a second only."""
    nothing_finishes()
    health.STUCK_S = 1.0


def nothing_finishes_where_hours_are_short() -> None:
    """As above; topics keep their records for seconds, as those of the test do, and the lag is looked at as often."""
    nothing_finishes_and_that_is_told_soon()
    topics.HOUR_MS = SHORT_HOUR_MS
    lag.EVERY_S = 0.2


def repeats() -> None:
    """What Faust and aiokafka repeat is shown each time."""
    setattr(worker, "quieten", lambda: None)  # noqa: B010 - it is imported there, and not exported


def topic_is_unknown_at_first() -> None:
    """The broker does not know the normal topic until partitions have been assigned, as one that has only just started."""
    update, assign = ClusterMetadata.update_metadata, RangePartitionAssignor.assign
    is_known = threading.Event()

    def update_metadata(self: ClusterMetadata, metadata: Any) -> None:
        if not is_known.is_set():
            metadata.topics = [each for each in metadata.topics if not str(each[1]).endswith(f"collected.{Lane.NORMAL}")]
        update(self, metadata)

    def assigned(cls: type, *given: Any) -> Any:
        del cls
        found = assign(*given)
        is_known.set()
        return found

    setattr(ClusterMetadata, "update_metadata", update_metadata)  # noqa: B010
    setattr(RangePartitionAssignor, "assign", classmethod(assigned))  # noqa: B010


def topic_is_unknown_and_not_asked_for() -> None:
    """The same, as aiokafka would leave it."""
    app.METADATA_MAX_AGE_MS = 300_000
    topic_is_unknown_at_first()


FAULTS: dict[str, Callable[[], None]] = {
    "skips": faust_skips,
    "skips-unseen": faust_skips_unseen,
    "skips-data-unseen": data_is_skipped_unseen,
    "skips-much-data-unseen": much_data_is_skipped_unseen,
    "faust-commits": faust_commits,
    "leaves-agent": leaves_agent,
    "takes": takes,
    "nothing-finishes": nothing_finishes,
    "nothing-finishes-and-is-told": nothing_finishes_and_that_is_told_soon,
    "nothing-finishes-where-hours-are-short": nothing_finishes_where_hours_are_short,
    "repeats": repeats,
    "topic-unknown": topic_is_unknown_at_first,
    "topic-unknown-for-long": topic_is_unknown_and_not_asked_for,
}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    main()
