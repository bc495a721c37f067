"""Threads and signals of one process.

Every thread has a name and an owner; a crash in one ends the process with its reason; all share one stop and one deadline.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from pganalytics.runtime.errors import PgAnalyticsError

logger = logging.getLogger(__name__)


class Lifecycle:
    """Owns the stop and the threads of a process. `spawn`, `request_stop` and `stopping` may be called from any thread."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.hangup = threading.Event()
        """Set by SIGHUP, where signals are installed with it."""
        self.failure: BaseException | None = None
        self.reason = ""
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    @property
    def stopping(self) -> bool:
        """Whether the process is to end."""
        return self.stop.is_set()

    def spawn(self, name: str, target: Callable[[], None]) -> threading.Thread:
        """Start a named thread; when it raises, the process stops and `failure` says why."""
        thread = threading.Thread(target=self._run, args=(name, target), name=name, daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()
        return thread

    def request_stop(self, reason: str) -> None:
        """Ask all threads to end. The first reason counts."""
        with self._lock:
            self.reason = self.reason or reason
        self.stop.set()

    def take_hangup(self) -> bool:
        """Whether SIGHUP came since this was asked last."""
        if not self.hangup.is_set():
            return False
        self.hangup.clear()
        return True

    def install_signals(self, *, hangup: bool = False) -> None:
        """SIGTERM and SIGINT request a stop; with `hangup` SIGHUP does not end the process any more. Main thread only."""

        def handle(number: int, frame: FrameType | None) -> None:
            del frame
            if number == signal.SIGHUP:
                self.hangup.set()
            else:
                self.request_stop(signal.Signals(number).name)

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)
        if hangup:
            signal.signal(signal.SIGHUP, handle)

    def wait(self, turn: Callable[[], None] | None = None) -> None:
        """Return when a stop is requested. Wakes twice a second so that signal handlers run everywhere, and calls `turn` then."""
        while not self.stop.wait(0.5):
            if turn is not None:
                turn()

    def join_all(self, deadline: float) -> list[str]:
        """Wait for all threads until `deadline` (time.monotonic seconds); the names of those still running."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [thread.name for thread in threads if thread.is_alive()]

    def _run(self, name: str, target: Callable[[], None]) -> None:
        try:
            target()
        except PgAnalyticsError as error:  # its message is for the user, and says what to do
            logger.error("thread ended", extra={"thread_name": name, "error": str(error)})
            with self._lock:
                self.failure = self.failure or error
            self.request_stop(f"thread {name}: {error}")
        except BaseException as error:
            logger.critical("thread crashed", extra={"thread_name": name, "error": repr(error)}, exc_info=True)
            with self._lock:
                self.failure = self.failure or error
            self.request_stop(f"thread {name} crashed: {error!r}")
