"""What the log says of readings: one line when something starts to fail, when it changes and when it ends."""

import logging

from pganalytics.producers.results import Collected, Discovered, Failed, Gone, HeldBack, Kind, Outcome, Unavailable, was_asked
from pganalytics.producers.schedule import JobKey
from pganalytics.runtime.logs import OnChange

logger = logging.getLogger(__name__)


class Reports:
    """Remembers what was said. Belongs to one thread."""

    def __init__(self) -> None:
        self._news = OnChange()
        self._unavailable: dict[JobKey, str] = {}
        self._failure_told_s: dict[str, float] = {}

    def forget(self, key: JobKey) -> None:
        """A job that runs no more."""
        self._unavailable.pop(key, None)
        self._news.forget(_one(key))
        self._news.forget(_database(key))

    def forget_target(self, collector: str) -> None:
        """A target that is read no more."""
        self._news.forget(collector)
        self._failure_told_s.pop(collector, None)

    def tell(self, key: JobKey, outcome: Outcome, began_s: float, ended_s: float) -> None:
        """One line when something starts to fail, changes or ends. Times by a monotonic clock: how a reading failed that began
        before the target's failure was told is no news, it only took longer."""
        who = {"collector": key.collector}
        which = {**who, "metric": key.metric}
        which |= {"database": key.database} if key.database else {}
        one = _one(key)
        if isinstance(outcome, Gone) or (isinstance(outcome, Failed) and outcome.kind == "stopping"):
            return
        if isinstance(outcome, Failed) and outcome.of_database:
            if self._news.is_news(_database(key), outcome.kind):
                facts = {**who, "database": key.database, "error": outcome.kind, "reason": outcome.reason, "cure": outcome.cure}
                logger.warning("database cannot be read", extra=facts)
            return
        if isinstance(outcome, Failed) and outcome.of_target:
            is_old = began_s < self._failure_told_s.get(key.collector, float("-inf"))
            if not is_old and self._news.is_news(key.collector, outcome.kind):
                self._failure_told_s[key.collector] = ended_s
                facts = {**who, "error": outcome.kind, "reason": outcome.reason, "cure": outcome.cure}
                logger.warning("target cannot be read", extra=facts)
            return
        asked = was_asked(outcome)
        if asked and self._news.is_news(key.collector, ""):
            self._failure_told_s.pop(key.collector, None)
            logger.info("target is read again", extra=who)
        is_read = asked and isinstance(outcome, Collected)
        if key.database and is_read and self._news.is_news(_database(key), ""):
            logger.info("database is read again", extra={**who, "database": key.database})
        if isinstance(outcome, Failed):
            if self._news.is_news(one, outcome.kind):
                facts = {**which, "error": outcome.kind, "reason": outcome.reason, "cure": outcome.cure}
                logger.warning("metric cannot be read", extra=facts)
        elif isinstance(outcome, Unavailable):
            if self._is_first(key, outcome.reason):
                level = logging.INFO if outcome.kind is Kind.VERSION else logging.WARNING
                facts = {**which, "reason": outcome.reason, "cure": outcome.cure}
                logger.log(level, "metric is not available", extra=facts)
        elif isinstance(outcome, Collected | Discovered):
            was_unavailable = self._unavailable.pop(key, None) is not None
            if self._news.is_news(one, "") or was_unavailable:
                logger.info("metric is read again", extra=which)
        elif isinstance(outcome, HeldBack) and self._news.is_news(one, outcome.why):
            logger.warning("readings are held back", extra={**which, "reason": outcome.why})

    def _is_first(self, key: JobKey, reason: str) -> bool:
        """Whether no metric of this target was unavailable for this reason: one cure is told once."""
        told = {why for other, why in self._unavailable.items() if other.collector == key.collector}
        self._unavailable[key] = reason
        return reason not in told


def _one(key: JobKey) -> str:
    return f"{key.collector} {key.metric} {key.database}"


def _database(key: JobKey) -> str:
    return f"{key.collector}\n{key.database}"
