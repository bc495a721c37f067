"""The guard begins where the broker says, judges jumps by the log, waits out outages, and lets go of what is not ours."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from confluent_kafka import KafkaError, KafkaException

from pganalytics.schemas.identity import Lane
from pganalytics.streams.errors import Skipped
from pganalytics.streams.guard import Guard
from pganalytics.streams.positions import Jump, Positions
from pganalytics.streams.records import Partition
from unit.streams.arrivals import TOPICS, arrival

HERE = (TOPICS.collected(Lane.NORMAL), 0)


@dataclass
class Broker:
    """Answers from a table, after `refusals` failures. `asked` names the questions."""

    at: int | None = 5
    low: int = 0
    high: int = 20
    records: frozenset[int] = frozenset(range(20))
    refusals: int = 0
    asked: list[str] = field(default_factory=list)
    meanwhile: Positions | None = None

    def _ask(self, question: str) -> None:
        self.asked.append(question)
        if self.meanwhile is not None:
            self.meanwhile.forget()
        if self.refusals:
            self.refusals -= 1
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        self._ask("committed")
        return dict.fromkeys(partitions, self.at)

    def limits(self, topic: str, number: int) -> tuple[int, int]:
        self._ask("limits")
        return self.low, self.high

    def first_from(self, topic: str, number: int, offset: int) -> int | None:
        self._ask("first_from")
        return min((record for record in self.records if record >= offset), default=None) if offset >= self.low else None


def guard_of(broker: Broker, positions: Positions, *, stopping: bool = False) -> Guard:
    return Guard(broker, positions, stopping=lambda: stopping)


def test_limits_are_asked_only_where_reading_does_not_begin_at_the_commit() -> None:
    broker, positions = Broker(at=5), Positions()
    starts = asyncio.run(guard_of(broker, positions).begin([arrival(offset=5)]))
    assert starts is not None
    assert starts[HERE].offset == 5
    assert broker.asked == ["committed"]
    assert asyncio.run(guard_of(broker, positions).begin([arrival(offset=6)])) == {}
    assert broker.asked == ["committed"]


def test_records_from_before_the_seek_are_a_jump_from_the_commit() -> None:
    broker, positions = Broker(at=5), Positions()
    batch = [arrival(offset=11)]
    asyncio.run(guard_of(broker, positions).begin(batch))
    assert positions.take(batch)[1] == [Jump(HERE, 5, 11)]


def test_a_commit_beyond_the_log_is_told_and_reading_begins_at_its_start() -> None:
    broker, positions = Broker(at=30), Positions()
    starts = asyncio.run(guard_of(broker, positions).begin([arrival(offset=0)]))
    assert starts is not None
    assert (starts[HERE].offset, starts[HERE].outside) == (0, "committed is offset 30, the log ends at 20")


def test_an_outage_is_waited_for() -> None:
    broker, positions = Broker(refusals=2), Positions()
    starts = asyncio.run(guard_of(broker, positions).begin([arrival(offset=5)]))
    assert starts is not None
    assert broker.asked == ["committed"] * 3


def test_answers_for_an_assignment_that_is_over_are_thrown_away() -> None:
    positions = Positions()
    broker = Broker(meanwhile=positions)
    assert asyncio.run(guard_of(broker, positions).begin([arrival(offset=5)])) is None
    assert positions.unknown([arrival(offset=5)]) == {HERE: 5}
    assert asyncio.run(guard_of(broker, positions).explain([Jump(HERE, 5, 6)])) is False


def test_a_stop_ends_the_waiting() -> None:
    assert asyncio.run(guard_of(Broker(refusals=99), Positions(), stopping=True).begin([arrival(offset=5)])) is None


def test_a_jump_over_records_ends_the_process() -> None:
    with pytest.raises(Skipped, match="offset 5 must come next, 7 came"):
        asyncio.run(guard_of(Broker(), Positions()).explain([Jump(HERE, 5, 7)]))


def test_a_jump_over_markers_of_transactions_is_none() -> None:
    broker = Broker(records=frozenset({3, 4, 7, 8}))
    assert asyncio.run(guard_of(broker, Positions()).explain([Jump(HERE, 5, 7)])) is True


def test_a_jump_to_the_start_of_a_log_that_was_cut_ends_the_process() -> None:
    """The next start tells it as a position outside the log, with the number of records that nobody read."""
    with pytest.raises(Skipped, match="offset 5 must come next"):
        asyncio.run(guard_of(Broker(low=7), Positions()).explain([Jump(HERE, 5, 7)]))


def test_without_a_jump_nothing_is_asked() -> None:
    broker = Broker()
    assert asyncio.run(guard_of(broker, Positions()).explain([])) is True
    assert broker.asked == []
