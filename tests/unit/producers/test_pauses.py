"""Who is left alone after a failure, and for how long."""

from dataclasses import replace

from pganalytics.producers.pauses import Pauses
from pganalytics.producers.results import Collected, Failed, HeldBack, Kind, Unavailable
from pganalytics.producers.schedule import JobKey

BEAT, STATEMENTS, OTHER = JobKey("a", "heartbeat"), JobKey("a", "statements"), JobKey("b", "heartbeat")
DOWN = Failed("refused", "", "", of_target=True)
SLOW_QUERY = Failed("sqlstate:57014", "", "", of_target=False)


def test_a_target_that_fails_pauses_whole_and_alone() -> None:
    pauses = Pauses(60.0)
    pauses.note(BEAT, DOWN, now=0.0, jitter=1.0)
    assert [pauses.may_try(key, 0.9) for key in (BEAT, STATEMENTS, OTHER)] == [False, False, True]
    assert pauses.may_try(STATEMENTS, 1.0)


def test_a_metric_that_fails_pauses_alone() -> None:
    pauses = Pauses(60.0)
    pauses.note(STATEMENTS, SLOW_QUERY, now=0.0, jitter=1.0)
    assert [pauses.may_try(key, 0.9) for key in (BEAT, STATEMENTS)] == [True, False]


def test_pauses_double_to_the_longest_and_end_with_an_answer() -> None:
    pauses, now = Pauses(60.0), 0.0
    waits = []
    for _ in range(9):
        pauses.note(BEAT, DOWN, now, jitter=1.0)
        wait = next(step for step in range(1, 100) if pauses.may_try(BEAT, now + step))
        waits.append(wait)
        now += wait
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    pauses.note(BEAT, Unavailable("", "", Kind.VERSION), now, jitter=1.0)
    pauses.note(BEAT, DOWN, now, jitter=0.0)
    assert pauses.may_try(BEAT, now + 0.5)


def test_what_is_gone_is_forgotten() -> None:
    pauses, key = Pauses(60.0), JobKey("a", "sizes", "shop")
    for failure in (SLOW_QUERY, replace(SLOW_QUERY, of_database=True)):
        pauses.note(key, failure, now=0.0, jitter=1.0)
    assert not pauses.may_try(key, 0.5)
    pauses.forget([key])
    assert pauses.may_try(key, 0.5)


def test_a_failing_metric_shows_that_the_target_answers() -> None:
    pauses = Pauses(60.0)
    pauses.note(BEAT, DOWN, now=0.0, jitter=1.0)
    pauses.note(STATEMENTS, SLOW_QUERY, now=0.0, jitter=1.0)
    assert pauses.may_try(BEAT, 0.1)


def test_held_back_readings_say_nothing_about_the_target() -> None:
    pauses = Pauses(60.0)
    pauses.note(BEAT, DOWN, now=0.0, jitter=1.0)
    pauses.note(STATEMENTS, HeldBack("spool_full"), now=0.0, jitter=1.0)
    assert not pauses.may_try(BEAT, 0.1)
    pauses.note(STATEMENTS, Collected(1), now=0.0, jitter=1.0)
    assert pauses.may_try(BEAT, 0.1)


def test_what_was_not_asked_does_not_end_a_pause() -> None:
    """A hung server on a machine whose load is read all the same, or whose texts are all known, would be tried at once again."""
    pauses = Pauses(60.0)
    for outcome in (Collected(1, asked=False), Failed("connection_budget", "", "", of_target=False)):
        pauses.note(BEAT, DOWN, now=0.0, jitter=1.0)
        pauses.note(STATEMENTS, outcome, now=0.0, jitter=1.0)
        assert not pauses.may_try(BEAT, 0.1)


def test_a_target_with_other_settings_is_tried_at_once_whatever_had_failed() -> None:
    pauses = Pauses(60.0)
    table = JobKey("a", "tables", "app")
    pauses.note(BEAT, DOWN, now=0.0, jitter=1.0)
    pauses.note(STATEMENTS, SLOW_QUERY, now=0.0, jitter=1.0)
    pauses.note(table, replace(SLOW_QUERY, of_database=True), now=0.0, jitter=1.0)
    pauses.note(OTHER, DOWN, now=0.0, jitter=1.0)
    pauses.forget_target("a")
    assert [pauses.may_try(key, 0.1) for key in (BEAT, STATEMENTS, table, OTHER)] == [True, True, True, False]
