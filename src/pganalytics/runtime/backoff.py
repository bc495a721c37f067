"""Exponential back-off with jitter. Pure: the jitter factor is an argument."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next attempt: first_s * 2^attempts, at most most_s, times a jitter of 0.5 to 1."""

    first_s: float = 0.5
    most_s: float = 30.0
    attempts: int = 0

    def failed(self) -> "Backoff":
        """The state after one more failure."""
        return replace(self, attempts=min(self.attempts + 1, 62))

    def succeeded(self) -> "Backoff":
        """The state after a success."""
        return replace(self, attempts=0)

    def delay_s(self, jitter: float) -> float:
        """Seconds to wait now; `jitter` from 0 to 1. 0 when nothing has failed."""
        if not self.attempts:
            return 0.0
        return min(self.first_s * 2.0 ** (self.attempts - 1), self.most_s) * (0.5 + 0.5 * jitter)
