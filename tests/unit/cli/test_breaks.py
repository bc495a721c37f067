"""What the demo kills: one part at a time, in time, and recovered only when something new has passed all the way."""

import threading
from functools import partial

import pytest

from pganalytics.cli.demo.breaks import BACK_AFTER_S, PARTS, RECOVERY_S, Break, Breakable, Breaker, plan_breaks
from pganalytics.runtime.errors import SettingsError


def test_one_part_dies_in_the_middle_and_all_of_them_in_turn() -> None:
    assert plan_breaks(None, 30) == []
    assert plan_breaks(Breakable.SINK, 30) == [(15, Breakable.SINK)]
    every = plan_breaks(Breakable.ALL, 120)
    assert [part for _, part in every] == list(PARTS)
    assert [at for at, _ in every] == [20, 40, 60, 80, 100]
    assert len(plan_breaks(Breakable.ALL, None)) == len(PARTS)


def test_a_run_that_is_too_short_for_all_is_refused_with_the_least() -> None:
    with pytest.raises(SettingsError, match="--seconds 72 or more"):
        plan_breaks(Breakable.ALL, 71)


class Stage:
    """Records what is killed and started; starting ends when it may."""

    def __init__(self, plan: list[tuple[float, Breakable]]) -> None:
        self.deeds: list[str] = []
        self.may_start = threading.Event()
        self.told: list[str] = []
        self.breaker = Breaker(
            plan,
            kill={part: partial(self.deeds.append, f"kill {part}") for part in PARTS},
            start={part: partial(self._start, part) for part in PARTS},
            tell=self.told.append,
        )

    def _start(self, part: Breakable) -> None:
        self.may_start.wait(10)
        self.deeds.append(f"start {part}")

    def step(self, passed_s: float, collected: int, stored: int) -> None:
        self.breaker.step(passed_s, collected=collected, stored=stored)


def started(stage: Stage, part: Breakable) -> None:
    """Let the start that is under way end."""
    stage.may_start.set()
    done = threading.Event()
    stage.breaker._pool.submit(done.set)
    assert done.wait(10)
    assert stage.deeds[-1] == f"start {part}"


def test_a_part_recovers_when_something_new_is_stored() -> None:
    stage = Stage([(10, Breakable.KAFKA), (11, Breakable.SINK)])
    stage.step(9, 5, 5)
    assert (stage.deeds, stage.breaker.may_end(9)) == ([], False)
    stage.step(10, 5, 5)
    stage.step(12, 5, 5)
    assert (stage.deeds, stage.breaker.down) == (["kill kafka"], Breakable.KAFKA)
    stage.step(10 + BACK_AFTER_S, 5, 5)
    assert stage.breaker.down is Breakable.KAFKA
    started(stage, Breakable.KAFKA)
    assert stage.breaker.down is None
    stage.step(18, 9, 6)
    stage.step(19, 12, 9)
    assert not stage.breaker.done, "what was collected before it was back proves nothing"
    stage.step(20, 12, 10)
    assert stage.breaker.done == [Break(Breakable.KAFKA, 10, 10)]
    stage.step(21, 12, 12)
    assert stage.deeds[-1] == "kill sink", "the next one waits until the one before has recovered"
    assert (stage.breaker.may_end(30), stage.breaker.may_end(21 + RECOVERY_S)) == (False, True)
    stage.breaker.finish(30)
    assert stage.deeds[-1] == "start sink"
    assert stage.breaker.done[-1] == Break(Breakable.SINK, 21, None)
    assert stage.told[-1] == "sink had not recovered after 9 s"


def test_a_run_may_end_when_all_is_done() -> None:
    stage = Stage([(10, Breakable.SINK)])
    stage.may_start.set()
    for passed_s, records in ((10, 5), (10 + BACK_AFTER_S, 5)):
        stage.step(passed_s, records, records)
    started(stage, Breakable.SINK)
    stage.step(18, 6, 5)
    assert not stage.breaker.may_end(18)
    stage.step(19, 7, 7)
    assert stage.breaker.may_end(19)
    assert Breaker([], kill={}, start={}, tell=stage.told.append).may_end(0)
