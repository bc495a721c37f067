"""Whether the streams go on, and whether they have what they need. Pure; moments are seconds of time.monotonic()."""

from dataclasses import dataclass

from pganalytics.runtime.health import Look, Problems, silent, stuck, unseen

LOOP_S = 60.0
"""The event loop comes round ten times a second; between two turns it works on one batch, of at most seconds."""


@dataclass(frozen=True, slots=True)
class Signs:
    """`look`: as `LagWatch.last`. `turned_at`: of the event loop."""

    look: Look | None
    turned_at: float


def alive(signs: Signs, now: float) -> Problems:
    """What a new start may mend."""
    return silent("the event loop", signs.turned_at, LOOP_S, now) + stuck(signs.look, "processed", now)


def ready(signs: Signs, now: float) -> Problems:
    """What is missing."""
    return unseen(signs.look, now)
