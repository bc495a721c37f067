"""The watched servers while the demo runs: one that somebody stopped is seen as down by its agent, then it is started again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pganalytics.cli.demo.servers import DemoTarget
from pganalytics.embedded.errors import EmbeddedError

SHOWN_S = 8.0
"""How long a server is left down once its heartbeats say so: longer than two lines of the demo in a pipe are apart."""
PATIENCE_S = 30.0
"""After so long it is started again although nothing says so: the pipeline may be broken as well."""


@dataclass(slots=True)
class _Ended:
    """`due_s`: when it is started again."""

    due_s: float
    shown: bool = False
    failure: str = ""


class TargetTender:
    """Starts targets again. One thread; `start_again` of a server returns when it answers."""

    def __init__(self, targets: Sequence[DemoTarget]) -> None:
        self._targets = targets
        self._ended: dict[str, _Ended] = {}

    def tend(self, now_s: float, shown_down: Collection[str]) -> list[str]:
        """Lines for people. `shown_down`: collectors whose newest heartbeat says that the target does not answer."""
        told: list[str] = []
        for target in self._targets:
            if not target.server.is_running:
                told += self._tend(target, now_s, shown_as_down=target.name in shown_down)
        return told

    def _tend(self, target: DemoTarget, now_s: float, *, shown_as_down: bool) -> list[str]:
        ended = self._ended.get(target.name)
        if ended is None:
            self._ended[target.name] = _Ended(now_s + PATIENCE_S)
            return [f"{target.name} has ended, not by the demo; the others are watched as before"]
        if shown_as_down and not ended.shown:
            ended.shown = True
            ended.due_s = min(ended.due_s, now_s + SHOWN_S)
            return [f"{target.name} is down, its heartbeats say; it is started again in {ended.due_s - now_s:.0f} s"]
        return self._start(target, ended, now_s) if now_s >= ended.due_s else []

    def _start(self, target: DemoTarget, ended: _Ended, now_s: float) -> list[str]:
        try:
            target.server.start_again()
        except EmbeddedError as error:
            ended.due_s = now_s + PATIENCE_S
            before, ended.failure = ended.failure, str(error)
            return [] if before == ended.failure else [f"{target.name} cannot be started again: {ended.failure}"]
        del self._ended[target.name]
        return [f"{target.name} runs again"]
