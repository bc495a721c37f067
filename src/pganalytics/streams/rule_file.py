"""Watches the settings file for other rules of priority. A file that cannot be used leaves the old rules in force."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.settings import LaneRule
from pganalytics.runtime.settings_watch import LOOK_S, SettingsWatch
from pganalytics.streams.rules import Rules, build_rules

logger = logging.getLogger(__name__)


class RuleFile:
    """Hands new rules to `take`, in its own thread; None where the file cannot be used. Of the rest nothing is taken up."""

    def __init__(self, path: Path, rules: list[LaneRule], take: Callable[[Rules | None], None]) -> None:
        self._watch = SettingsWatch(path)
        self._rules = rules
        self._take = take
        self._news = OnChange()

    def run(self, stop: threading.Event) -> None:
        """Look every few seconds until `stop`."""
        while not stop.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Read the file when it has changed."""
        try:
            settings = self._watch.look()
            if settings is None:
                return
            wanted = settings.streams.rules
            rules = build_rules(wanted)
        except SettingsError as error:
            self._take(None)
            if self._news.is_news("file", str(error)):
                logger.error("settings cannot be used; the old rules stay", extra={"problems": "; ".join(error.problems)})
            return
        mended = self._news.is_news("file", "")
        if wanted != self._rules or mended:
            self._rules = wanted
            self._take(rules)
            logger.info("rules of priority are read again", extra={"rules": rules.count})
