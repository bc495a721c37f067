"""Whether the sink goes on, and whether it has what it needs. Pure; moments are seconds of time.monotonic()."""

from dataclasses import dataclass

from pganalytics.runtime.health import STUCK_S, Look, Problems, silent, stuck, unseen

TURN_S = 900.0
"""A turn is one batch. Each of its statements ends after a minute, but a slow store may need many of them."""


@dataclass(frozen=True, slots=True)
class Signs:
    """`look`: as `LagWatch.last`. `turned_at`: when the working thread last came round. `waits_for`: store or kafka, empty when
    its last attempt succeeded. `went_on_at`: when it last stopped waiting."""

    look: Look | None
    turned_at: float
    waits_for: str
    went_on_at: float


def alive(signs: Signs, now: float) -> Problems:
    """What a new start may mend. A store that is away, slow or locked is none: the sink then waits, and says for whom."""
    found = silent("the sink's thread", signs.turned_at, TURN_S, now)
    if not signs.waits_for and now - signs.went_on_at > STUCK_S:
        found += stuck(signs.look, "stored", now)
    return found


def ready(signs: Signs, now: float) -> Problems:
    """What is missing."""
    waits = [f"the sink waits for {signs.waits_for}"] if signs.waits_for else []
    return waits + unseen(signs.look, now)
