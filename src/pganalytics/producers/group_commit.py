"""One thread writes; what was handed in while it wrote becomes its next transaction, so many callers share one fsync.

A caller waits until its work is durable or refused. It never gives up before: work that was given up could still be committed,
and a baseline that did not move with its record would count the same interval twice.
"""

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
MOST_PER_COMMIT = 256
FULL_DISK = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


class Refused(Exception):
    """The spool cannot take this now: hold it back and go on. The text is the short reason that is counted."""


class SpoolClosed(RuntimeError):
    """The spool was closed, or its thread has crashed: the process is ending."""


@dataclass(frozen=True, slots=True)
class _Work:
    call: Callable[[sqlite3.Connection], Any]
    done: "Future[Any]"
    reads: bool


class GroupCommit:
    """`submit` and `close` may be called from any thread; `run` is the thread that alone uses the connection."""

    def __init__(self, connection: sqlite3.Connection, after_commit: Callable[[sqlite3.Connection], None]) -> None:
        self._connection = connection
        self._after_commit = after_commit
        self._inbox: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()  # bounded by the threads, which wait
        self._closing = threading.Event()
        self._ended = threading.Event()
        self.busy_since: float | None = None
        """Since when (time.monotonic) the transaction at hand goes on; None while there is none. Any thread may read it."""

    def submit(self, call: Callable[[sqlite3.Connection], T], *, reads: bool = False) -> "Future[T]":
        """Have `call` run in the next transaction; an exception of its own undoes only its own part.

        `reads`: it changes nothing, and needs no transaction when it is alone with others like it.
        """
        if self._closing.is_set() or self._ended.is_set():
            raise SpoolClosed("the spool is closed")
        done: Future[T] = Future()
        self._inbox.put(_Work(call, done, reads))
        if self._ended.is_set():
            self._fail_rest(SpoolClosed("the spool is closed"))
        return done

    def run(self) -> None:
        """Serve until `close`; what was handed in before that is still done."""
        try:
            is_last = False
            while not is_last:
                works, is_last = self._take()
                if works:
                    self.busy_since = time.monotonic()
                    self._commit(works)
                    self.busy_since = None
        finally:
            self._connection.close()
            self._ended.set()
            self._fail_rest(SpoolClosed("the spool is closed"))

    def close(self, timeout_s: float) -> None:
        """Finish what was handed in and let go of the file."""
        self._closing.set()
        self._inbox.put(None)
        self._ended.wait(timeout_s)

    def _take(self) -> tuple[list[_Work], bool]:
        """What is there, at least one; and whether the end is."""
        works = [self._inbox.get()]
        with contextlib.suppress(queue.Empty):
            while len(works) < MOST_PER_COMMIT:
                works.append(self._inbox.get_nowait())
        return [work for work in works if work is not None], None in works

    def _commit(self, works: list[_Work]) -> None:
        outcomes: list[tuple[_Work, Any, Exception | None]] = []
        changes = not all(work.reads for work in works)
        try:
            if changes:
                self._connection.execute("begin immediate")
            outcomes += [self._one(work) for work in works]
            if changes:
                self._connection.execute("commit")
                self._after_commit(self._connection)
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("rollback")
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in FULL_DISK:
                for work in works:
                    work.done.set_exception(SpoolClosed(f"the spool failed: {error}"))
                raise
            self._refuse(works)
            return
        for work, value, problem in outcomes:
            if problem is None:
                work.done.set_result(value)
            else:
                work.done.set_exception(problem)

    def _refuse(self, works: list[_Work]) -> None:
        """The disk is full: reading and deleting may still work, so each is tried alone."""
        if len(works) == 1:
            works[0].done.set_exception(Refused("disk"))
            return
        for work in works:
            self._commit([work])

    def _one(self, work: _Work) -> tuple[_Work, Any, Exception | None]:
        if work.reads:
            return self._read(work)
        self._connection.execute("savepoint work")
        try:
            value = work.call(self._connection)
        except sqlite3.Error:
            raise
        except Exception as problem:  # noqa: BLE001  (it belongs to the caller, who gets it)
            self._connection.execute("rollback to work")
            self._connection.execute("release work")
            return work, None, problem
        self._connection.execute("release work")
        return work, value, None

    def _read(self, work: _Work) -> tuple[_Work, Any, Exception | None]:
        try:
            return work, work.call(self._connection), None
        except sqlite3.Error:
            raise
        except Exception as problem:  # noqa: BLE001  (it belongs to the caller, who gets it)
            return work, None, problem

    def _fail_rest(self, problem: Exception) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                if (work := self._inbox.get_nowait()) is not None:
                    work.done.set_exception(problem)
