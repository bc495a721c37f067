"""Heartbeats of collectors that come and go."""

import time
from collections.abc import Iterator

import pytest

from pganalytics.producers import beats as beats_module
from pganalytics.producers.beats import Beats, Pulsing
from pganalytics.producers.control import Controls
from pganalytics.producers.heartbeat import PoolNumbers
from pganalytics.producers.meters import Meters
from pganalytics.producers.spool import Spool
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import Identity, Lane
from unit.producers.spool_feed import HEARTBEAT, snapshot, unsent
from waiting import until

STAYS = Pulsing(100, 0.1, named=True)


class Kafka:
    """Takes what is in the spool; what it got."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.got: list[tuple[Identity, HeartbeatFacts]] = []

    def take(self) -> None:
        for lane in (Lane.CRITICAL, Lane.NORMAL):
            for one in unsent(self._spool, lane):
                if one.headers.heartbeat is not None:
                    self.got.append((one.headers.identity, one.headers.heartbeat))
                self._spool.acknowledge([one.id])

    def seqs(self, collector: str, epoch: int) -> list[int]:
        self.take()
        return [who.seq for who, _ in self.got if (who.collector, who.epoch) == (collector, epoch)]

    def finals(self, collector: str) -> set[int]:
        self.take()
        return {epoch for who, facts in self.got if who.collector == collector for epoch in facts.final}


@pytest.fixture
def beats(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beats]:
    monkeypatch.setattr(beats_module, "FIRST_AFTER_S", 0.0)
    lifecycle, states = Lifecycle(), {"a": TargetState(), "b": TargetState()}
    meters = Meters(build_measurements(Service.COLLECT))
    made = Beats(spool, HEARTBEAT, "agent", states, lambda _: PoolNumbers(0, 0, 0), meters, Controls())
    lifecycle.spawn("heartbeats", lambda: made.run(lifecycle))
    yield made
    lifecycle.request_stop("test is over")
    assert lifecycle.join_all(time.monotonic() + 10) == []
    assert lifecycle.failure is None


def test_who_comes_beats_and_who_goes_says_so_when_all_is_sent(spool: Spool, beats: Beats) -> None:
    kafka = Kafka(spool)
    beats.follow({"a": STAYS})
    until(lambda: len(kafka.seqs("a", 100)) > 2)
    spool.start_epoch("b", 200)
    beats.follow({"a": STAYS, "b": Pulsing(200, 0.1, named=True)})
    until(lambda: len(kafka.seqs("b", 200)) > 2)
    assert kafka.finals("b") == set()
    spool.append(snapshot(collector="b", epoch=200))
    beats.follow({"a": STAYS, "b": Pulsing(200, 0.1, named=False)})
    until(lambda: kafka.finals("b") == {200})
    until(lambda: beats.open_epochs() == {("a", 100)})
    last = kafka.seqs("b", 200)
    assert last == list(range(1, len(last) + 1))


def test_who_comes_again_begins_another_epoch_and_the_one_before_ends(spool: Spool, beats: Beats) -> None:
    """Also when the first had no time to tell its end."""
    kafka = Kafka(spool)
    beats.follow({"a": STAYS})
    until(lambda: len(kafka.seqs("a", 100)) > 1)
    beats.follow({"a": Pulsing(100, 0.1, named=False)})
    spool.start_epoch("a", 101)
    beats.follow({"a": Pulsing(101, 0.1, named=True)})
    until(lambda: len(kafka.seqs("a", 101)) > 3)
    assert kafka.finals("a") == {100}
    assert beats.open_epochs() == {("a", 101)}
