"""Takes up the settings file while the agent runs: the targets, and what is read of them. A file that cannot be used changes
nothing, and what needs a restart is named."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from pganalytics.producers.collectors import Job
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.membership import Changes
from pganalytics.producers.meters import Meters
from pganalytics.producers.plan import Plan
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_live import keys_for_restart
from pganalytics.runtime.settings_watch import LOOK_S, SettingsWatch

logger = logging.getLogger(__name__)
SECTIONS = ("kafka", "collect", "log")
"""What an agent reads of the settings, beside the targets and their metrics."""
MOST_NAMES = 10


class Changeable(Protocol):
    """An agent."""

    settings_refused: bool

    def take(self, jobs: Sequence[Job]) -> Changes:
        """Other jobs from now on; Refused, and nothing has changed, while the spool has no room."""


class Reload:
    """For the main thread. `settings` and `plan` are those with which the agent began; `watch` was made when they were read, None
    where there is no file."""

    def __init__(self, watch: SettingsWatch | None, settings: Settings, plan: Plan, agent: Changeable, meters: Meters) -> None:
        self._watch = watch
        self._settings = settings
        self._plan = plan
        self._agent = agent
        self._meters = meters
        self._news = OnChange()
        self._waiting: Settings | None = None
        self._next_look = 0.0
        meters.settings_read(usable=True)

    def turn(self, now: float, *, at_once: bool) -> None:
        """Look whether the file has changed, every LOOK_S (`now` in seconds); `at_once`: somebody says that it has."""
        if self._watch is None:
            if at_once:
                logger.info("there is no settings file to read again")
            return
        if now < self._next_look and not at_once:
            return
        self._next_look = now + LOOK_S
        try:
            settings = self._watch.read() if at_once else self._watch.look()
            settings = settings or self._waiting
            if settings is not None:
                self._take(settings, self._plan.jobs_for(settings))
        except SettingsError as error:
            self._refuse(error, self._watch.path, aloud=at_once)

    def _take(self, settings: Settings, jobs: Sequence[Job]) -> None:
        try:
            changes = self._agent.take(jobs)
        except Refused as error:
            self._waiting = settings
            if self._news.is_news("room", str(error)):
                logger.warning("other settings wait until the spool has room", extra={"reason": str(error)})
            return
        self._waiting = None
        self._news.is_news("room", "")
        self._news.is_news("file", "")
        self._agent.settings_refused = False
        pending = keys_for_restart(self._settings, settings, SECTIONS)
        self._meters.settings_read(usable=True, pending=len(pending))
        facts = {"begun": _names(changes.begun), "changed": _names(changes.changed), "ended": _names(changes.ended)}
        logger.info("settings are taken up", extra={"targets": len({job.key.collector for job in jobs}), **facts})
        keys = ", ".join(pending)
        if self._news.is_news("restart", keys) and pending:
            logger.warning("settings have changed that need a restart", extra={"keys": keys})

    def _refuse(self, error: SettingsError, file: Path, *, aloud: bool) -> None:
        self._waiting = None
        self._agent.settings_refused = True
        self._meters.settings_read(usable=False)
        if self._news.is_news("file", str(error)) or aloud:
            facts = {"file": str(file), "problems": "; ".join(error.problems)}
            logger.error("settings cannot be used; those before stay in force", extra=facts)


def _names(collectors: Collection[str]) -> str:
    named = sorted(collectors)
    more = f" and {len(named) - MOST_NAMES} more" if len(named) > MOST_NAMES else ""
    return ", ".join(named[:MOST_NAMES]) + more
