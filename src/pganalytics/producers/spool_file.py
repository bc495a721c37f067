"""Opening the spool's file: one agent per folder, the right format, undamaged.

A damaged file is set aside under a name of its own, and a new spool with a new id begins: reading goes on at once. What the old
one held and nobody sent is bounded by the heartbeats, and `orphaned` in the audit.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
import time
from importlib import resources
from pathlib import Path
from typing import IO

from pganalytics.runtime.errors import SettingsError, Unreachable

logger = logging.getLogger(__name__)
FORMAT = 2
APPLICATION_ID = 0x70676131
FILE = "spool.sqlite3"
LOCK = "spool.lock"
SIDE_FILES = ("-wal", "-shm", "-journal")
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Damaged(Exception):
    """The file cannot be trusted; the text says what SQLite found."""


def lock_folder(folder: Path) -> IO[str]:
    """Make the folder ours until the file returned is closed or the process ends. SettingsError names the other agent."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+", encoding="ascii")
    except OSError as error:
        raise SettingsError(f"collect.state_dir {folder}: cannot be used: {error.strerror or error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        pid = lock.read(20).strip() or "unknown"
        lock.close()
        raise SettingsError(
            f"collect.state_dir {folder}: another agent (pid {pid}) uses it: stop that one, or give each agent its own folder"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def open_file(folder: Path) -> sqlite3.Connection:
    """A connection for one thread at a time, with everything fsynced at each commit. Raises Unreachable naming the file.

    A damaged file is moved to `spool.sqlite3.damaged-<time>` beside it; what it held may still be read from there by hand.
    """
    path = folder / FILE
    try:
        return _open(path)
    except Damaged as damage:
        aside = _set_aside(path)
        facts = {"spool": str(path), "moved_to": str(aside), "damage": str(damage)}
        logger.error("spool damaged, set aside; a new one begins: what was unsent is not sent any more", extra=facts)
    try:
        return _open(path)
    except Damaged as damage:
        raise Unreachable(f"spool {path}: a new one is damaged at once ({damage}): look at the disk") from damage


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
    except sqlite3.Error as error:
        raise Unreachable(f"spool {path}: cannot be opened: {error}") from error
    with contextlib.ExitStack() as half_open:
        half_open.callback(connection.close)
        try:
            for pragma in ("locking_mode = exclusive", "journal_mode = wal", "synchronous = full", "foreign_keys = on"):
                connection.execute(f"pragma {pragma}")
            _check_or_make(connection, path)
        except sqlite3.DatabaseError as error:
            raise _named(error, path) from error
        half_open.pop_all()
    with contextlib.suppress(OSError):
        path.chmod(0o600)
    return connection


def _named(error: sqlite3.DatabaseError, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in DAMAGED:
        return Damaged(str(error))
    if code == sqlite3.SQLITE_BUSY:
        return Unreachable(f"spool {path}: another program has it open: close that")
    return Unreachable(f"spool {path}: cannot be used ({error}): mend the disk, or set collect.state_dir to another folder")


def _set_aside(path: Path) -> Path:
    """Move the file and what belongs to it. Raises Unreachable when even that fails."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}")
    try:
        for suffix in (*SIDE_FILES, ""):
            if (part := path.with_name(path.name + suffix)).exists():
                part.rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise Unreachable(f"spool {path}: damaged, and cannot be moved away: {error.strerror or error}") from error
    return aside


def _check_or_make(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("pragma application_id").fetchone()[0]
    version = connection.execute("pragma user_version").fetchone()[0]
    if connection.execute("select count(*) from sqlite_schema").fetchone()[0] == 0:
        schema = resources.files("pganalytics.producers").joinpath("spool_schema.sql").read_text(encoding="utf-8")
        made = f"pragma application_id = {APPLICATION_ID}; pragma user_version = {FORMAT}"
        connection.executescript(f"begin immediate; {schema}; {made};")
        connection.execute("insert into meta values (?)", (secrets.token_hex(8),))
        connection.execute("commit")
    elif application != APPLICATION_ID:
        raise Unreachable(f"spool {path}: not a spool of pganalytics: set collect.state_dir to another folder")
    elif version == 1:
        connection.executescript(
            f"begin immediate; alter table records add column error text; pragma user_version = {FORMAT}; commit"
        )
    elif version != FORMAT:
        raise Unreachable(f"spool {path}: its format is {version}, this version reads {FORMAT}: use the version that wrote it")
    elif (verdict := connection.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
        raise Damaged(verdict)
