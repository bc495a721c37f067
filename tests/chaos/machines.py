"""Agents' machines in one process: what is opened in a machine's folder is on its disk."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chaos.disk import Disk
from chaos.sqlite_disk import mounted


class Machines:
    """Gives spools that are opened in a folder the disk of its machine; for controls, with less care than they ask for.

    Any thread may open spools, each folder's in one.
    """

    def __init__(self, synchronous: str = "full") -> None:
        self._vfs: dict[Path, tuple[str, int]] = {}
        self._connect = sqlite3.connect

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                return super().execute(f"pragma synchronous = {synchronous}" if "synchronous" in sql else sql, *parameters)

        self._factory = Connection

    @contextlib.contextmanager
    def running(self, folder: Path, disk: Disk, checkpoint_pages: int = 1000) -> Iterator[None]:
        """While this lasts, the folder is on the disk."""
        with mounted(disk) as name:
            self._vfs[folder] = name, checkpoint_pages
            try:
                yield
            finally:
                del self._vfs[folder]

    def connect(self, path: Path, **options: Any) -> sqlite3.Connection:
        """In place of `sqlite3.connect`."""
        name, pages = self._vfs.get(path.parent, ("", 0))
        if name:
            options |= {"uri": True, "factory": self._factory}
        made: sqlite3.Connection = self._connect(f"file:{quote(str(path))}?vfs={name}" if name else path, **options)
        if name:
            made.execute(f"pragma wal_autocheckpoint = {pages}")
        return made
