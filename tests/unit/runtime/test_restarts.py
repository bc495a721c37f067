"""When a worker is started again."""

import pytest

from pganalytics.runtime.restarts import WELL_S, Slot


def test_a_new_place_is_filled_at_once_and_only_once() -> None:
    slot = Slot()
    assert slot.is_due(0.0)
    assert not slot.started(0.0).is_due(1000.0)


def test_waits_double_up_to_a_limit_and_jitter_halves_them_at_most() -> None:
    slot, waits = Slot(), []
    for turn in range(10):
        slot = slot.started(1000.0 * turn).ended(1000.0 * turn + 1, jitter=1.0)
        waits.append(slot.due_s - 1000.0 * turn - 1)
        assert not slot.is_due(slot.due_s - 0.001)
        assert slot.is_due(slot.due_s)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    assert slot.started(0.0).ended(1.0, jitter=0.0).due_s == 1.0 + 15.0


def test_who_ran_well_begins_anew() -> None:
    slot = Slot()
    for _ in range(6):
        slot = slot.started(0.0).ended(1.0, jitter=1.0)
    slot = slot.started(100.0)
    assert not slot.runs_well(100.0 + WELL_S - 0.1)
    assert slot.runs_well(100.0 + WELL_S)
    assert slot.ended(100.0 + WELL_S, jitter=1.0).due_s == 100.0 + WELL_S + 0.5


@pytest.mark.parametrize(
    ("starts", "ran_s", "code", "hopeless"),
    [
        (1, 1.0, 2, True),
        (1, 1.0, 69, True),
        (1, 1.0, 70, False),
        (1, 1.0, 0, False),
        (1, 1.0, -9, False),
        (2, 1.0, 2, False),
        (2, 1.0, 69, False),
        (1, WELL_S, 69, False),
    ],
)
def test_only_a_first_start_ends_all(starts: int, ran_s: float, code: int, hopeless: bool) -> None:
    slot = Slot()
    for _ in range(starts - 1):
        slot = slot.started(0.0).ended(0.0, jitter=0.0)
    assert slot.started(5.0).is_hopeless(code, 5.0 + ran_s) is hopeless
