"""Collectors that get other jobs, each as soon as none of its old ones runs any more. Who hangs holds up nobody else."""

import contextlib
import queue
from collections.abc import Callable, Collection, Mapping, Sequence

from pganalytics.producers.collectors import Job
from pganalytics.producers.schedule import JobKey

Left = Callable[[str, Sequence[Job], Sequence[Job]], None]
"""Told of a collector that runs nothing any more, with the jobs that it had and those that it gets."""


def nothing_left(collector: str, before: Sequence[Job], after: Sequence[Job]) -> None:
    """Nobody else remembers anything of it."""
    del collector, before, after


class Turnover:
    """Any thread may `put`; the rest belongs to the scheduler's thread."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Mapping[str, Sequence[Job]]] = queue.SimpleQueue()  # one for each changed settings file
        self._next: dict[str, Sequence[Job]] = {}

    def __contains__(self, collector: object) -> bool:
        """Whether nothing of it may begin now."""
        return collector in self._next

    def put(self, jobs: Mapping[str, Sequence[Job]]) -> None:
        """All jobs that these collectors have from now on; none: it is to be read no more."""
        self._inbox.put(jobs)

    def take(self) -> Collection[str]:
        """Collectors that were put since this was asked last. The newest word counts."""
        taken: dict[str, Sequence[Job]] = {}
        with contextlib.suppress(queue.Empty):
            while True:
                taken |= self._inbox.get_nowait()
        self._next |= taken
        return taken.keys()

    def ready(self, busy: Collection[JobKey]) -> dict[str, Sequence[Job]]:
        """Those of which nothing runs, with their jobs; they are handed over once."""
        if not self._next:
            return {}
        held = {key.collector for key in busy}
        return {collector: self._next.pop(collector) for collector in self._next.keys() - held}
