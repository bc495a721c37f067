"""Lags from ends and positions."""

from pganalytics.runtime.lag import Lag, Progress, lag_of

A0, A1, B0 = ("a", 0), ("a", 1), ("b", 0)


def test_the_lag_of_a_topic_is_the_sum_of_its_partitions_and_the_oldest_of_their_records() -> None:
    ends, done = {A0: 10, A1: 5, B0: 7}, {A0: 4, A1: 3, B0: 7}
    assert lag_of("a", ends, done, {A0: 50.0, A1: 40.0}) == Lag(8, 40.0)
    assert lag_of("a", ends, done, {A0: 50.0}) == Lag(8, 50.0)
    assert lag_of("a", ends, done, {}) == Lag(8, None)
    assert lag_of("b", ends, done, {B0: 1.0}) == Lag(0, None)


def test_what_was_done_since_the_ends_were_asked_is_no_lag() -> None:
    assert lag_of("a", {A0: 10, A1: 5}, {A0: 12, A1: 4}, {A1: 3.0}) == Lag(1, 3.0)


def test_an_assignment_replaces_what_was_known_before() -> None:
    progress = Progress()
    progress.begin({A0: 1, A1: 1})
    progress.moved({A0: 3})
    assert progress.known() == {A0: 3, A1: 1}
    progress.begin({B0: 2})
    assert progress.known() == {B0: 2}
