"""Heartbeats of one collector: what is a restart, what a conflict, and what a clock can be told of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import Lane
from pganalytics.streams.pulses import MOST_EPOCHS, MOST_LISTED, Beat, Bounds, Clock, Noticed, Pulse, Word, fall_silent, feel

SECOND = 1_000_000
BOUNDS = Bounds(skew_us=30 * SECOND, window_us=90 * SECOND, interval_us=30 * SECOND)


def beat(
    epoch: int, seq: int, at_s: float, *, made_s: float | None = None, epochs: tuple[int, ...] = (), final: tuple[int, ...] = ()
) -> Beat:
    emitted = {Lane.CRITICAL: seq, Lane.NORMAL: 0, Lane.BULK: 0}
    facts = HeartbeatFacts(emitted, epochs, final, up=True, control=0)
    made_us = round((at_s if made_s is None else made_s) * SECOND)
    return Beat(epoch, seq, round(at_s * SECOND), made_us, seq, facts)


def feel_all(*beats: Beat) -> tuple[Pulse, list[Word]]:
    pulse, words = None, []
    for each in beats:
        pulse, said = feel(pulse, each, era=0, bounds=BOUNDS)
        words += said
    assert pulse is not None
    return pulse, words


def said(*beats: Beat) -> list[tuple[Noticed, int]]:
    return [(word.what, word.other) for word in feel_all(*beats)[1]]


def taking_turns(*epochs: int, apart_s: float = 15) -> list[Beat]:
    return [beat(epoch, turn + 1, turn * apart_s) for turn, epoch in enumerate(epochs)]


def test_one_epoch_tells_nothing() -> None:
    assert said(*taking_turns(7, 7, 7)) == []


@pytest.mark.parametrize("listed", [(), (7,)])
def test_another_epoch_is_a_restart_whether_or_not_it_lists_the_first(listed: tuple[int, ...]) -> None:
    """After an end in order nothing is left to list."""
    assert said(beat(7, 1, 0), beat(8, 1, 30, epochs=listed), beat(8, 2, 60)) == [(Noticed.RESTARTED, 7)]


def test_two_agents_take_turns() -> None:
    assert said(*taking_turns(7, 8, 7, 8, 7, 8, 7)) == [(Noticed.RESTARTED, 7), (Noticed.CONFLICT, 8)]


def test_three_agents_take_turns() -> None:
    assert said(*taking_turns(7, 8, 9, 7, 8, 9, 7)) == [
        (Noticed.RESTARTED, 7),
        (Noticed.RESTARTED, 8),
        (Noticed.CONFLICT, 8),
    ]


def test_one_heartbeat_left_by_a_dead_agent_is_no_conflict() -> None:
    assert said(*taking_turns(7, 8, 7, 8, 8, 8)) == [(Noticed.RESTARTED, 7)]


def test_what_the_running_agent_lists_is_left_over_in_its_spool() -> None:
    beats = [beat(7, 1, 0)]
    for turn in range(1, 6):
        beats += [beat(8, turn, turn * 20, epochs=(7,)), beat(7, 1 + turn, turn * 20 + 1)]
    pulse, words = feel_all(*beats)
    assert [word.what for word in words] == [Noticed.RESTARTED]
    assert pulse.known[0].epoch == 8


def test_turns_far_apart_are_no_conflict() -> None:
    assert said(*taking_turns(7, 8, 7, 8, 7, 8, apart_s=100)) == [(Noticed.RESTARTED, 7)]


def test_a_conflict_that_begins_again_is_told_again() -> None:
    first = taking_turns(7, 8, 7, 8, 7)
    again = [beat(8 - turn % 2, 50 + turn, 1000 + 15 * turn) for turn in range(5)]
    assert [what for what, _ in said(*first, *again)].count(Noticed.CONFLICT) == 2


def test_redeliveries_mean_nothing() -> None:
    first, second = taking_turns(7, 8)
    pulse, words = feel_all(first, second, *[first, second] * 10)
    assert [word.what for word in words] == [Noticed.RESTARTED]
    assert feel(fall_silent(pulse), second, era=0, bounds=BOUNDS) == (fall_silent(pulse), [])


def test_a_restart_after_silence_is_both() -> None:
    pulse, _ = feel_all(beat(7, 1, 0))
    after, words = feel(fall_silent(pulse), beat(8, 1, 500), era=0, bounds=BOUNDS)
    assert [(word.what, word.other) for word in words] == [(Noticed.BACK, 7), (Noticed.RESTARTED, 7)]
    assert not after.silent


def test_another_era_is_first_sight() -> None:
    pulse, _ = feel_all(beat(7, 1, 0))
    assert feel(pulse, beat(8, 1, 500), era=1, bounds=BOUNDS)[1] == []


def clocks(*beats: Beat) -> list[tuple[Clock, int]]:
    return [(word.clock, word.skew_us // SECOND) for word in feel_all(*beats)[1] if word.what is Noticed.CLOCK]


def test_a_clock_ahead_is_told_at_once_and_once() -> None:
    assert clocks(beat(7, 1, 0, made_s=40), beat(7, 2, 30, made_s=70), beat(7, 3, 60, made_s=101)) == [(Clock.AHEAD, 40)]


def test_it_is_over_below_half_of_the_bound() -> None:
    assert clocks(beat(7, 1, 0, made_s=31), beat(7, 2, 30, made_s=46), beat(7, 3, 60, made_s=74)) == [
        (Clock.AHEAD, 31),
        (Clock.AGREES, 0),
    ]
    assert clocks(beat(7, 1, 0, made_s=31), beat(7, 2, 30, made_s=46), beat(7, 3, 60, made_s=90)) == [(Clock.AHEAD, 31)]


def test_a_clock_behind_is_told_by_a_heartbeat_that_says_it_was_made_before_the_one_before_it_came() -> None:
    assert clocks(beat(7, 1, 0, made_s=-100), beat(7, 2, 30, made_s=-70), beat(7, 3, 60, made_s=-40)) == [(Clock.BEHIND, 70)]


def test_a_heartbeat_that_waited_for_hours_says_nothing_of_a_clock() -> None:
    """Made 30 s after the one before it came, and delivered when the broker was back."""
    assert clocks(beat(7, 1, 0), beat(7, 2, 7200, made_s=30), beat(7, 3, 7230)) == []
    assert clocks(beat(7, 1, 7200, made_s=0)) == []


def test_a_restart_of_an_agent_whose_clock_is_off_tells_nothing_new() -> None:
    assert clocks(beat(7, 1, 0, made_s=40), beat(8, 1, 30, made_s=70)) == [(Clock.AHEAD, 40)]
    behind = [beat(7, 1, 0, made_s=-100), beat(7, 2, 30, made_s=-70)]
    assert clocks(*behind, beat(8, 1, 60, made_s=-40), beat(8, 2, 90, made_s=-10)) == [(Clock.BEHIND, 70)]


@given(
    st.lists(st.tuples(st.floats(0.1, 4000), st.floats(0, 3000)), min_size=1, max_size=30),
    st.floats(-500, 500),
)
def test_no_clock_is_said_to_be_off_by_more_than_it_is(history: list[tuple[float, float]], skew_s: float) -> None:
    """Whatever the pauses between heartbeats and their waits in the spool: each is made after the one before it came."""
    came_s, beats = 10_000.0, []
    for seq, (pause_s, wait_s) in enumerate(history, 1):
        made_s = came_s + pause_s
        came_s = made_s + wait_s
        beats.append(beat(7, seq, came_s, made_s=made_s + skew_s))
    for word in feel_all(*beats)[1]:
        if word.clock is not Clock.AGREES:
            assert word.skew_us <= abs(skew_s) * SECOND + 2
            assert (word.clock is Clock.AHEAD) == (skew_s > 0)


def test_memory_is_bounded_whatever_epochs_are_made_up() -> None:
    many = tuple(range(1000, 3000))
    pulse, _ = feel_all(*[beat(epoch, 1, epoch, epochs=many) for epoch in range(1, 500)])
    assert len(pulse.known) == MOST_EPOCHS
    assert len(pulse.listed) == MOST_LISTED
