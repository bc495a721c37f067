"""Waiting in tests: for a condition, never for a time."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], timeout_s: float = 30, *, every_s: float = 0.05, what: str = "condition") -> None:
    """Poll; fails the test when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s:g} s"
        time.sleep(every_s)
