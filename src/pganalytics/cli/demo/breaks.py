"""What the demo kills in mid-run, when it is back, and how long it took until records flowed again."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pganalytics.runtime.errors import SettingsError

BACK_AFTER_S = 6.0
FIRST_AFTER_S = 30.0
APART_S = 20.0
LEAST_APART_S = 12.0
RECOVERY_S = 60.0
"""After so long without new records a part is given up; until then the run goes on beyond its time."""


class Breakable(StrEnum):
    """What can be killed in mid-run."""

    KAFKA = "kafka"
    STORE = "store"
    STREAMS = "streams"
    SINK = "sink"
    COLLECT = "collect"
    ALL = "all"


PARTS = tuple(part for part in Breakable if part is not Breakable.ALL)


@dataclass(frozen=True, slots=True)
class Break:
    """One death. Seconds since the run began; `recovered_s` counts from the death, None when it never did."""

    part: Breakable
    killed_at_s: float
    recovered_s: float | None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        recovered = None if self.recovered_s is None else round(self.recovered_s, 1)
        return {"part": self.part.value, "killed_at_s": round(self.killed_at_s, 1), "recovered_s": recovered}


def plan_breaks(which: Breakable | None, seconds: float | None) -> list[tuple[float, Breakable]]:
    """What to kill and when, in order; raises SettingsError when the run is too short. Pure."""
    if which is None:
        return []
    parts = PARTS if which is Breakable.ALL else (which,)
    if seconds is None:
        return [(FIRST_AFTER_S + place * APART_S, part) for place, part in enumerate(parts)]
    apart_s = seconds / (len(parts) + 1)
    if len(parts) > 1 and apart_s < LEAST_APART_S:
        raise SettingsError(
            f"--break {which} needs --seconds {LEAST_APART_S * (len(parts) + 1):.0f} or more: {len(parts)} deaths"
        )
    return [((place + 1) * apart_s, part) for place, part in enumerate(parts)]


@dataclass(slots=True)
class _Down:
    part: Breakable
    killed_at_s: float
    back: Future[None] | None = None
    collected: int | None = None


class Breaker:
    """Kills by plan, one part at a time. One thread calls it.

    `kill` and `start` are by part; starting may take seconds, and happens in a thread of its own. Recovered means: the
    store has more records than had been collected when the part was back, so something new has passed all the way.
    """

    def __init__(
        self,
        plan: list[tuple[float, Breakable]],
        *,
        kill: Mapping[Breakable, Callable[[], None]],
        start: Mapping[Breakable, Callable[[], None]],
        tell: Callable[[str], None],
    ) -> None:
        self._plan = list(plan)
        self._kill = kill
        self._start = start
        self._tell = tell
        self._down: _Down | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="demo-breaker")
        self.done: list[Break] = []

    @property
    def down(self) -> Breakable | None:
        """What is dead now, or is starting."""
        return self._down.part if self._down is not None and (self._down.back is None or not self._down.back.done()) else None

    def may_end(self, passed_s: float) -> bool:
        """Whether all that was planned has been killed and has recovered, or one of them has had its time for it."""
        if self._down is None:
            return not self._plan
        return passed_s >= self._down.killed_at_s + RECOVERY_S

    def step(self, passed_s: float, *, collected: int, stored: int) -> None:
        """Do what is due `passed_s` seconds after the run began. Raises what starting a part raises."""
        now = self._down
        if now is None:
            if self._plan and passed_s >= self._plan[0][0]:
                self._break(self._plan.pop(0)[1], passed_s)
        elif now.back is None:
            if passed_s >= now.killed_at_s + BACK_AFTER_S:
                now.back = self._pool.submit(self._start[now.part])
        elif now.back.done():
            now.back.result()
            if now.collected is None:
                now.collected = max(collected, stored)
            if stored > now.collected:
                self._recovered(now, passed_s)

    def finish(self, passed_s: float) -> None:
        """Everything runs again when this returns; what has not recovered is noted so."""
        self._plan.clear()
        if self._down is not None:
            back = self._down.back or self._pool.submit(self._start[self._down.part])
            back.result()
            self.done.append(Break(self._down.part, self._down.killed_at_s, None))
            self._tell(f"{self._down.part} had not recovered after {passed_s - self._down.killed_at_s:.0f} s")
            self._down = None
        self._pool.shutdown()

    def _break(self, part: Breakable, passed_s: float) -> None:
        self._kill[part]()
        self._down = _Down(part, passed_s)
        self._tell(f"{part} killed (SIGKILL), back in {BACK_AFTER_S:.0f} s")

    def _recovered(self, now: _Down, passed_s: float) -> None:
        took_s = passed_s - now.killed_at_s
        self.done.append(Break(now.part, now.killed_at_s, took_s))
        self._tell(f"{now.part} is back, records flow again {took_s:.0f} s after its death")
        self._down = None


def describe(breaks: Sequence[Break]) -> str:
    """One line for people."""
    said = [
        f"{one.part} after {one.killed_at_s:.0f} s, records flowed again "
        + ("NEVER" if one.recovered_s is None else f"{one.recovered_s:.0f} s later")
        for one in breaks
    ]
    return "killed: " + "; ".join(said)
