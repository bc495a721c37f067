"""How far the sink is behind, by what the broker says of offsets and times."""

from collections.abc import Iterable

import pytest
from confluent_kafka import KafkaError, KafkaException

from pganalytics.schemas.topics import HOUR_MS
from pganalytics.streams.controller import Controller
from pganalytics.streams.records import Partition
from pganalytics.streams.sink_lag import SHARES, SinkLag, lag_of
from unit.streams.arrivals import START_US, TOPICS

HERE, THERE = ("pga.admitted.bulk", 0), ("pga.admitted.normal", 1)
HOUR_US = 3_600_000_000


class Log:
    """Partitions that got a record per hour up to now, of which `kept` are retained."""

    def __init__(self, read: dict[Partition, int | None], *, end: int = 100, kept: int = 72) -> None:
        self._read = read
        self._low, self._end = max(0, end - kept), end
        self.questions = 0

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        return {each: self._read.get(each, self._end) for each in partitions}

    def limits(self, topic: str, number: int) -> tuple[int, int]:
        return self._low, self._end

    def since(self, partitions: Iterable[Partition], at_us: int) -> dict[Partition, int | None]:
        self.questions += 1
        offset = self._end - (START_US - at_us) // HOUR_US
        return {each: max(offset, self._low) if offset < self._end else None for each in partitions}


@pytest.mark.parametrize(
    ("unread", "share"), [(0, None), (28, None), (29, 0.4), (36, 0.4), (37, 0.5), (50, 0.6), (64, 0.8), (66, 0.9), (72, 0.9)]
)
def test_the_lag_in_steps(unread: int, share: float | None) -> None:
    """A record per hour, 72 hours are retained: the n-th from the end is n hours old, or one less."""
    found = lag_of(Log({HERE: 100 - unread}), [HERE, THERE], START_US, 72 * HOUR_US)
    assert found == ({0: share} if share else {})


@pytest.mark.parametrize("read", [None, 3])
def test_a_sink_that_never_read_or_fell_out_of_the_log_is_behind_by_all_of_it(read: int | None) -> None:
    assert lag_of(Log({HERE: read}), [HERE], START_US, 72 * HOUR_US) == {0: SHARES[-1]}


def test_an_empty_log_is_read() -> None:
    assert lag_of(Log({HERE: None}, end=0), [HERE], START_US, 72 * HOUR_US) == {}


def test_a_sink_that_keeps_up_costs_one_question() -> None:
    log = Log({})
    lag_of(log, [HERE, THERE], START_US, 72 * HOUR_US)
    assert log.questions == 1


def test_before_the_first_record_the_time_is_not_known() -> None:
    assert lag_of(Log({HERE: None}), [HERE], 0, 72 * HOUR_US) == {}


def test_the_controller_gets_it_and_a_silent_broker_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the retention that the topics have."""
    assert {topic.config["retention.ms"] for topic in TOPICS.table() if ".admitted." in topic.name} == {str(72 * HOUR_MS)}
    controller = Controller(TOPICS, None)
    controller.now_us = START_US
    log = Log({("pga.admitted.critical", 3): 50, HERE: 70, ("pga.admitted.deferred", 2): 0})
    lag = SinkLag(log, TOPICS, controller)
    lag.look()
    assert controller.lag == {3: 0.6, 0: 0.4}

    def fail(*_: object) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(log, "committed", fail)
    lag.look()
    assert controller.lag == {3: 0.6, 0: 0.4}
