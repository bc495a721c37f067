"""A line that comes again and again is shown once a minute, with the number of those left out."""

import logging

import pytest

from pganalytics.streams.repeats import Repeats


def line(name: str = "aiokafka.conn", text: str = "cannot connect to %s", *facts: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, text, facts, None)


def test_a_flood_is_one_line_a_minute() -> None:
    now = 100.0
    repeats = Repeats(clock=lambda: now)
    shown = [repeats.filter(line("aiokafka.conn", "cannot connect to %s", n)) for n in range(1700)]
    assert shown == [True] + [False] * 1699
    now += 59
    assert not repeats.filter(line())
    now += 2
    again = line()
    assert repeats.filter(again)
    assert again.__dict__["left_out"] == 1700


@pytest.mark.parametrize("other", [line("aiokafka.group"), line(text="another text")])
def test_other_lines_are_not_touched(other: logging.LogRecord) -> None:
    repeats = Repeats(clock=lambda: 0.0)
    assert repeats.filter(line())
    assert repeats.filter(other)
    assert not hasattr(other, "left_out")
