"""Nothing of a partition is skipped unseen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.sink.continuity import Continuity, Step, resume_at


def read(log: list[int], start: int, *, seeks: int = 0) -> tuple[list[int], int]:
    """Read a log whose first `seeks` deliveries skip a record; what was taken, and how often it was sent back."""
    state, taken, sent_back = Continuity(start), [], 0
    while True:
        offsets = [offset for offset in log if offset >= state.expected]
        if sent_back < seeks and len(offsets) > 1:
            del offsets[0]
        for offset in offsets:
            state, step = state.step(offset)
            if step is Step.TAKE:
                taken.append(offset)
            elif step is Step.SEEK:
                sent_back += 1
                state = state.moved(state.expected)
                break
        else:
            return taken, sent_back


@given(st.lists(st.integers(0, 30), unique=True).map(sorted), st.integers(0, 10))
def test_every_record_of_a_log_with_holes_is_taken_once(log: list[int], start: int) -> None:
    taken, _ = read(log, start)
    assert taken == [offset for offset in log if offset >= start]


def test_a_record_that_comes_too_early_sends_the_consumer_back() -> None:
    assert read([0, 1, 2, 3], 0, seeks=1) == ([0, 1, 2, 3], 1)


def test_a_jump_stays_known_when_reading_begins_before_it() -> None:
    """Else a batch that is not written yet when the jump is met would be read again for ever."""
    state, step = Continuity(5).step(7)
    assert step is Step.SEEK
    state = state.moved(3)
    steps = []
    for offset in (3, 4, 7):
        state, step = state.step(offset)
        steps.append(step)
    assert steps == [Step.TAKE] * 3


def test_an_old_record_is_ignored() -> None:
    assert Continuity(5).step(4) == (Continuity(5), Step.IGNORE)


@pytest.mark.parametrize(
    ("position", "start", "end", "expected"),
    [(5, 0, 9, 5), (0, 0, 0, 0), (9, 0, 9, 9), (10, 0, 9, 0), (2, 4, 9, 4), (4, 4, 4, 4)],
)
def test_reading_begins_at_the_position_or_at_the_logs_start(position: int, start: int, end: int, expected: int) -> None:
    assert resume_at(position, start=start, end=end) == expected
