"""Time moves on in a quiet partition only when the broker says that nothing is unread there, and never ahead of the broker's."""

import asyncio
from collections.abc import Sequence
from typing import NoReturn

from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.streams.partition_time import PartitionTime
from pganalytics.streams.records import Partition
from pganalytics.streams.ticks import End, Quiet, Ticks, find_ends

SECOND = 1_000_000
HERE = ("pga.collected.critical", 0)


def time_here(at_s: float = 0, *, due: bool = True) -> PartitionTime:
    here = PartitionTime(30 * SECOND, round(at_s * SECOND), 5)
    if due:
        here.deadlines.put("db1", 90 * SECOND)
    return here


def looks(quiet: Quiet, here: PartitionTime, clock_s: float) -> float | None:
    found = quiet.look({HERE: here}, round(clock_s * SECOND))
    return found[HERE] / SECOND if found else None


def test_a_partition_is_asked_about_when_half_a_step_has_passed() -> None:
    quiet, here = Quiet(), time_here(1000)
    assert looks(quiet, here, 50) is None
    assert looks(quiet, here, 64.9) is None
    assert looks(quiet, here, 65) == 1015


def test_not_without_a_deadline() -> None:
    quiet, here = Quiet(), time_here(1000, due=False)
    assert looks(quiet, here, 50) is None
    assert looks(quiet, here, 500) is None


def test_reading_of_old_records_is_not_quiet() -> None:
    """Behind by an hour: each look finds a later record, and of the time since then it knows nothing."""
    quiet, here = Quiet(), time_here(0)
    for second in range(1, 100):
        here.move(second * 10 * SECOND)
        assert looks(quiet, here, second) is None


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 100), st.booleans()), max_size=40))
def test_it_is_never_later_than_at_the_broker(history: list[tuple[int, int, bool]]) -> None:
    """Whatever our lag, and however rarely we look."""
    quiet, here = Quiet(), time_here(0)
    broker_s = 0
    for passed_s, lag_s, came in history:
        broker_s += passed_s
        if came:
            here.move((broker_s - min(lag_s, broker_s)) * SECOND)
        found = looks(quiet, here, 7000 + broker_s)
        assert found is None or found <= broker_s


class Ends:
    """A broker; or none."""

    def __init__(self, *, end: int = 5, answers: bool = True) -> None:
        self.end = end
        self.answers = answers

    def limits(self, topic: str, number: int) -> tuple[int, int]:
        if not self.answers:
            self.refuse()
        return 0, self.end

    def refuse(self) -> NoReturn:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


class Watched:
    def __init__(self) -> None:
        self.times: dict[Partition, PartitionTime] = {HERE: time_here(1000)}


def told(ends: Ends, *clocks_s: float) -> list[End]:
    got: list[End] = []

    async def tick(these: Sequence[End]) -> None:
        got.extend(these)

    ticks = Ticks(ends, Watched(), tick)
    for clock_s in clocks_s:
        asyncio.run(ticks.once(round(clock_s * SECOND)))
    return got


def test_the_end_is_told_with_the_time_before_it_was_asked() -> None:
    assert told(Ends(end=5), 50, 70) == [End(HERE, 5, 1020 * SECOND)]


def test_a_broker_that_does_not_answer_moves_nothing() -> None:
    assert told(Ends(answers=False), 50, 70, 90) == []


def test_nothing_more_is_asked_when_the_process_stops() -> None:
    assert find_ends(Ends(), [HERE], lambda: True) == {}


def test_the_loop_ends_when_the_process_stops() -> None:
    async def tick(these: Sequence[End]) -> None:
        return

    asyncio.run(asyncio.wait_for(Ticks(Ends(), Watched(), tick).run(lambda: True), 10))
