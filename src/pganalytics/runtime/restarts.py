"""When a worker process that ended is started again. Pure: time and jitter are arguments."""

from dataclasses import dataclass, field, replace

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.errors import SettingsError, Unreachable

WELL_S = 30.0
"""A worker that ran so long ran well: when it ends, it is started again as if it had never failed."""
NOT_BY_ITSELF = frozenset({SettingsError.exit_code, Unreachable.exit_code})
"""Exit codes of what somebody has to mend."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One worker's place. `since_s`: when it was started, None while it waits; `due_s`: not started before. Monotonic times."""

    backoff: Backoff = field(default_factory=Backoff)
    starts: int = 0
    since_s: float | None = None
    due_s: float = 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether it is to be started."""
        return self.since_s is None and now_s >= self.due_s

    def started(self, now_s: float) -> "Slot":
        """It runs."""
        return replace(self, starts=self.starts + 1, since_s=now_s)

    def runs_well(self, now_s: float) -> bool:
        """Whether it has run for so long that what was before is forgotten."""
        return self.since_s is not None and now_s - self.since_s >= WELL_S

    def ended(self, now_s: float, jitter: float) -> "Slot":
        """It ended, whatever the reason, without having been asked; `jitter` from 0 to 1."""
        backoff = (self.backoff.succeeded() if self.runs_well(now_s) else self.backoff).failed()
        return replace(self, backoff=backoff, since_s=None, due_s=now_s + backoff.delay_s(jitter))

    def is_hopeless(self, code: int, now_s: float) -> bool:
        """Whether the worker that ended with this code shows that nothing can be started: its first start found what
        somebody has to mend. Later the same is waited out: a broker comes back, a settings file is mended."""
        return self.starts == 1 and code in NOT_BY_ITSELF and not self.runs_well(now_s)
