"""Threads end together; a crash in one is the end of all, with its reason."""

import io
import json
import logging
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import JsonFormatter, OnChange, TextFormatter


def wait_for(event: threading.Event) -> None:
    event.wait(20)


def test_a_crash_stops_the_others() -> None:
    """The failure is kept, and everybody wakes."""
    lifecycle = Lifecycle()

    def crash() -> None:
        raise RuntimeError("broken")

    waiting = lifecycle.spawn("waits", lambda: wait_for(lifecycle.stop))
    lifecycle.spawn("crashes", crash)
    lifecycle.wait()
    assert lifecycle.join_all(time.monotonic() + 5) == []
    assert not waiting.is_alive()
    assert isinstance(lifecycle.failure, RuntimeError)
    assert lifecycle.reason == "thread crashes crashed: RuntimeError('broken')"


def test_a_thread_that_does_not_end_is_named() -> None:
    """The deadline is one for all."""
    lifecycle = Lifecycle()
    release = threading.Event()
    lifecycle.spawn("stubborn", lambda: wait_for(release))
    lifecycle.request_stop("test")
    assert lifecycle.join_all(time.monotonic() + 0.05) == ["stubborn"]
    release.set()
    assert lifecycle.join_all(time.monotonic() + 5) == []


@given(st.integers(0, 200), st.floats(0, 1))
def test_backoff_grows_to_its_bound(failures: int, jitter: float) -> None:
    """Never above the bound, never below half of the plain delay, 0 after a success."""
    state = Backoff(first_s=0.5, most_s=30)
    for _ in range(failures):
        state = state.failed()
    plain = min(0.5 * 2 ** max(failures - 1, 0), 30) if failures else 0
    assert plain / 2 <= state.delay_s(jitter) <= plain
    assert state.succeeded().delay_s(jitter) == 0


def test_news_are_changes() -> None:
    """Start, change and end of a failure are news; its repetition is not."""
    news = OnChange()
    states = ["", "down", "down", "refused", "", ""]
    assert [news.is_news("db1", state) for state in states] == [False, True, False, True, True, False]


def line(formatter: logging.Formatter) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("pganalytics.test")
    logger.addHandler(handler)
    logger.warning("target unavailable", extra={"target": "db\x1b[31m1", "reason": 'a "b"'})
    return stream.getvalue()


def test_text_lines_hold_no_control_characters() -> None:
    """Names of targets are hostile."""
    text = line(TextFormatter())
    assert 'WARNING test: target unavailable target=db\\x1b[31m1 reason="a "b""' in text
    assert "\x1b" not in text


def test_json_lines_hold_the_fields() -> None:
    """One object per line."""
    got = json.loads(line(JsonFormatter()))
    assert (got["text"], got["reason"]) == ("target unavailable", 'a "b"')


def test_spawn_names_threads() -> None:
    """A thread is found by its name."""
    lifecycle = Lifecycle()
    names: list[str] = []
    lifecycle.spawn("reader-1", lambda: names.append(threading.current_thread().name))
    assert lifecycle.join_all(time.monotonic() + 5) == []
    assert names == ["reader-1"]
