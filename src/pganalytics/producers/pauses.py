"""Who is left alone for a while after a failure. Pure: `now` (seconds) and the jitter are arguments.

A failure of the target pauses all its jobs, one of a database the jobs of that database, one of a metric that metric alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pganalytics.producers.results import Failed, Outcome, was_asked
from pganalytics.producers.schedule import JobKey
from pganalytics.runtime.backoff import Backoff

Who = str | tuple[str, str] | JobKey


@dataclass(slots=True)
class Pauses:
    """Back-off states by collector and by job; only those that failed last are here. Belongs to one thread."""

    longest_s: float
    _until: dict[Who, tuple[Backoff, float]] = field(default_factory=dict)

    @property
    def nobody(self) -> bool:
        """Whether nothing pauses at all."""
        return not self._until

    def may_try(self, key: JobKey, now: float) -> bool:
        """Whether neither the job nor its target pauses."""
        return all(now >= self._until[who][1] for who in (key, _database(key), key.collector) if who in self._until)

    def note(self, key: JobKey, outcome: Outcome, now: float, jitter: float) -> None:
        """A job came to its end."""
        if not isinstance(outcome, Failed) and not (self._until and was_asked(outcome)):
            return
        if isinstance(outcome, Failed):
            who: Who = key.collector if outcome.of_target else _database(key) if outcome.of_database else key
            before = self._until[who][0] if who in self._until else Backoff(first_s=1.0, most_s=self.longest_s)
            after = before.failed()
            self._until[who] = (after, now + after.delay_s(jitter))
            if outcome.of_target:
                return
        else:
            self._until.pop(key, None)
            self._until.pop(_database(key), None)
        if was_asked(outcome) and not (isinstance(outcome, Failed) and outcome.of_database):
            self._until.pop(key.collector, None)

    def forget(self, keys: Iterable[JobKey]) -> None:
        """These jobs run no more: their databases are gone."""
        for key in keys:
            self._until.pop(key, None)
            self._until.pop(_database(key), None)

    def forget_target(self, collector: str) -> None:
        """It is to be tried again at once, with all its jobs."""
        for who in [who for who in self._until if _collector(who) == collector]:
            del self._until[who]


def _collector(who: Who) -> str:
    return who if isinstance(who, str) else who[0] if isinstance(who, tuple) else who.collector


def _database(key: JobKey) -> tuple[str, str]:
    return key.collector, key.database
