"""Waiting in tests: for a condition, not for a time, unless the time is what is tested."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TOLD = 4000
"""Characters of a log."""


def stands_for_hours(seconds: float) -> float:
    """A wait that stands for hours; `LONG_S=3600 make test ARGS=...` waits for so long instead."""
    return float(os.environ.get("LONG_S", seconds))


def until(condition: Callable[[], object], timeout_s: float = 60, *, every_s: float = 0.05, what: str = "condition") -> None:
    """Poll; fails the test when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s:g} s"
        time.sleep(every_s)


@contextmanager
def telling(*logs: Path) -> Iterator[None]:
    """A test that fails inside shows the ends of these logs: the files are gone when somebody reads of it."""
    try:
        yield
    except BaseException as error:
        for log in logs:
            if log.exists():
                error.add_note(f"--- {log.name}\n{log.read_text(encoding='utf-8', errors='replace')[-TOLD:]}")
        raise
