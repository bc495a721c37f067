"""How a pool comes to its connections: when a job asks, with one attempt, and with that attempt's error for whoever asks.

psycopg_pool would try again by itself for minutes, and would lock accounts with a wrong password.
"""

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import psycopg

from pganalytics.producers.admission import admit
from pganalytics.producers.session import Session, connection_string
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import Target


class Door:
    """Lets a pool connect only while a job asks, once, and keeps the error for all jobs that ask.

    `connecting`: attempts under way; `ended` is called after each, `admitted` with each connection that may be used.
    """

    def __init__(
        self,
        target: Target,
        dbname: str,
        connect_timeout_s: float,
        *,
        ended: Callable[[], None],
        admitted: Callable[[Session], None],
    ) -> None:
        self.error: Exception | None = None
        self.connecting = 0
        self._ended = ended
        self._admitted = admitted
        self._is_shut = False
        self._made: WeakSet[Session] = WeakSet()
        self._target = target
        self._dbname = dbname
        self._connect_timeout_s = connect_timeout_s
        self._asking = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        """A job asks."""
        with self._lock:
            self._asking += 1

    def leave(self) -> None:
        """It has its answer."""
        with self._lock:
            self._asking -= 1
            if not self._asking:
                self.error = None

    def shut(self) -> None:
        """No connection comes through any more: what is under way closes itself, before it ceases to count as connecting."""
        with self._lock:
            self._is_shut = True

    def close_made(self) -> None:
        """Close what came through before: the pool may just be taking it in."""
        with self._lock:
            made = list(self._made)
        for session in made:
            session.close()

    def conninfo(self) -> str:
        """Called by the pool for each attempt."""
        if self._is_shut or not self._asking or self.error is not None:
            raise PermissionError("nobody asks, or the attempt has failed")
        try:
            return connection_string(self._target, self._dbname, self._connect_timeout_s)
        except SettingsError as error:
            self.error = error
            raise

    def connect(self, conninfo: str, **kwargs: Any) -> Session:
        """In the place of a connection class."""
        with self._lock:
            if self._is_shut:
                raise PermissionError("the pool is closed")
            self.connecting += 1
        try:
            session = self._connect(conninfo, **kwargs)
            with self._lock:
                self._made.add(session)
                is_late = self._is_shut
            if is_late:
                session.close()
                raise PermissionError("the pool was closed while it connected")
            return session
        finally:
            with self._lock:
                self.connecting -= 1
            self._ended()

    def _connect(self, conninfo: str, **kwargs: Any) -> Session:
        try:
            session = Session.connect(conninfo, **kwargs)
        except psycopg.Error as error:
            self.error = error
            raise
        try:
            admit(session, allow_superuser=self._target.allow_superuser)
        except psycopg.Error as error:
            self.error = error
            session.close()
            raise
        self._admitted(session)
        return session
