"""Notices that somebody has written the settings file: in place, by a rename, or behind a symbolic link."""

from pathlib import Path

from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_file import load_settings

LOOK_S = 2.0
"""Seconds between looks: a file that changes no more for so long is written whole."""

Stamp = tuple[int, ...] | None
"""What changes when somebody writes a file, puts another in its place or lets us read it; None when it is not there."""


class SettingsWatch:
    """For one thread, which looks every LOOK_S. What is written before it is made counts as read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = self._judged = stamp_of(path)

    def look(self) -> Settings | None:
        """The settings when the file has changed since it was read last, and not since the last look. Raises SettingsError, once
        for each change."""
        before, self._seen = self._seen, stamp_of(self.path)
        if self._seen != before or self._seen == self._judged:
            return None
        return self.read()

    def read(self) -> Settings:
        """The settings as the file is now; raises SettingsError."""
        self._seen = self._judged = stamp_of(self.path)
        return load_settings(self.path)


def stamp_of(path: Path) -> Stamp:
    """Of the file as it is now, at the end of all links."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
