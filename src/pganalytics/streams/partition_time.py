"""How far a partition of a collected topic was read, and what time it is there. Pure."""

from dataclasses import dataclass, field

from pganalytics.schemas.identity import Stream
from pganalytics.streams.deadlines import Deadlines

MOST_DEADLINES = 20_000
"""In one partition."""

Subject = str | Stream
"""A collector, whose next heartbeat is due, or a sequence, one of whose holes or tails is."""


@dataclass(slots=True)
class PartitionTime:
    """`at_us`: the greatest append time seen. `following`: the next offset.

    Deadlines are in live time, which is append time without the parts in which nothing came: one step moves it by at most
    `step_us`. Otherwise the first record after an outage of the broker would say that every collector but its own is silent.

    `era` changes when records were skipped (somebody else read them): what was known before is void, and first sight comes anew.
    """

    step_us: int
    at_us: int
    following: int
    live_us: int = 0
    era: int = 0
    deadlines: Deadlines[Subject] = field(default_factory=lambda: Deadlines(MOST_DEADLINES))

    def move(self, at_us: int) -> bool:
        """Time does not go back. Whether a deadline may be reached."""
        step_us = at_us - self.at_us
        if step_us > 0:
            self.at_us = at_us
            self.live_us += min(step_us, self.step_us)
        return self.deadlines.first_us <= self.live_us

    def begin(self, offset: int) -> None:
        """Reading goes on here. At or before what was read already nothing was skipped."""
        if offset > self.following:
            self.era += 1
            self.deadlines.clear()
