"""How much room the spool's disk has left for new records.

Deleting needs room as well: SQLite writes it to its log first, and can begin the log anew only after the database has grown by
what the log holds. A spool that had filled its disk could never shrink again, whatever Kafka acknowledges. So new records are
refused while less than a reserve is left, and the reserve is for acknowledgements, heartbeats and, in its second half, critical
records. Pages that are free inside the database count as room, because it grows only when it has none.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from pganalytics.schemas.identity import Lane

RESERVE_BYTES = 64 << 20
"""Half of it is enough to acknowledge all that may be in flight at once (16 MB: some builds of SQLite overwrite what they delete,
so that takes as much of the log), with a log that was about to be copied into the database (4 MB), and the database's growth by
that."""
CRITICAL_RESERVE_BYTES = RESERVE_BYTES // 2
COPIES = 2
"""A record is written to the log, and to the database later."""


def free_bytes(folder: Path) -> int:
    """What the file system has left for an ordinary user."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class DiskRoom:
    """`measure` and `take` are for the spool's thread, `is_short` for any."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        self._folder = folder
        self._room = RESERVE_BYTES
        self.measure(db)

    def measure(self, db: sqlite3.Connection) -> None:
        """Look again, after a commit. A file system that gives no answer has as much as before."""
        with contextlib.suppress(OSError):
            room = free_bytes(self._folder)
            if room < COPIES * RESERVE_BYTES:
                room += db.execute("pragma freelist_count").fetchone()[0] * db.execute("pragma page_size").fetchone()[0]
            self._room = room

    def take(self, size: int) -> None:
        """So many bytes are in the transaction now."""
        self._room -= COPIES * size

    def is_short(self, lane: Lane) -> bool:
        """Whether the rest is not for snapshots of this lane."""
        return self._room < (CRITICAL_RESERVE_BYTES if lane is Lane.CRITICAL else RESERVE_BYTES)
