"""Several processes of one service under one parent, which starts again whichever ends.

For the main thread of a process that does nothing else: a child is killed by the kernel when the thread that started it is
gone (Linux), also by SIGKILL. Children have sessions of their own: Ctrl-C at a terminal reaches the parent, which passes it on.
"""

import contextlib
import ctypes
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from pganalytics.runtime.errors import Crash, PgAnalyticsError, SettingsError, Unreachable
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.restarts import Slot

logger = logging.getLogger(__name__)

LOOK_S = 0.1
KILL_AFTER_S = 2.0
"""Beyond the time that a worker has to stop by itself."""
PR_SET_PDEATHSIG = 1
LOST = (-signal.SIGKILL, Crash.exit_code)
HIGHEST_PORT = 65535
AS_ENDED = {SettingsError.exit_code: SettingsError, Unreachable.exit_code: Unreachable}


@dataclass(frozen=True, slots=True)
class Order:
    """What worker `number` runs. `env`: put over our own environment."""

    number: int
    command: Sequence[str]
    env: Mapping[str, str]


@dataclass(slots=True)
class _Worker:
    order: Order
    slot: Slot = field(default_factory=Slot)
    process: "subprocess.Popen[bytes] | None" = None


def ports_of(first: int, workers: int) -> list[int]:
    """The HTTP port of each worker: the first one's, and those above it; 0 stays 0. Raises SettingsError."""
    if first and first + workers - 1 > HIGHEST_PORT:
        raise SettingsError(f"http_port {first}: {workers} workers need as many ports from it on; the highest is {HIGHEST_PORT}")
    return [first and first + number for number in range(workers)]


class Crew:
    """The workers of one service."""

    def __init__(self, orders: Sequence[Order], *, stop_timeout_s: float) -> None:
        self._workers = [_Worker(order) for order in orders]
        self._stop_timeout_s = stop_timeout_s
        self._news = OnChange()

    def run(self, lifecycle: Lifecycle) -> None:
        """Keep all at work until a stop is requested, then stop them.

        Raises what the worker's exit code says when a first start finds something that somebody has to mend, and Crash when
        a worker did not stop well.
        """
        logger.info("workers start", extra={"workers": len(self._workers)})
        try:
            while not lifecycle.stopping:
                for worker in self._workers:
                    self._look_after(worker)
                lifecycle.stop.wait(LOOK_S)
        finally:
            left = self._stop()
        if left:
            raise Crash(f"workers {', '.join(map(str, left))} did not stop well")
        logger.info("workers stopped", extra={"reason": lifecycle.reason})

    def _look_after(self, worker: _Worker) -> None:
        now_s, number = time.monotonic(), worker.order.number
        if worker.process is not None and (code := worker.process.poll()) is not None:
            if worker.slot.is_hopeless(code, now_s):
                raise _error_of(code, number)
            worker.process = None
            worker.slot = worker.slot.ended(now_s, random.random())  # noqa: S311 - jitter
            if self._news.is_news(str(number), _reason(code)):
                facts = {"worker": number, "reason": _reason(code), "wait_s": f"{worker.slot.due_s - now_s:.1f}"}
                logger.warning("worker ended; it is started again", extra=facts)
        if worker.slot.is_due(now_s):
            worker.process = _start(worker.order)
            worker.slot = worker.slot.started(now_s)
            logger.debug("worker started", extra={"worker": number, "child": worker.process.pid})
        if worker.slot.runs_well(now_s) and self._news.is_news(str(number), ""):
            logger.info("worker runs well again", extra={"worker": number})

    def _stop(self) -> list[int]:
        """SIGTERM to all, one deadline for all, SIGKILL to the late; the numbers of those that did not end well."""
        deadline = time.monotonic() + self._stop_timeout_s + KILL_AFTER_S
        running = [(worker.order.number, worker.process) for worker in self._workers if worker.process is not None]
        for _, process in running:
            process.terminate()
        for number, process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            if process.returncode is None:
                logger.error("worker does not stop; it is killed", extra={"worker": number})
                process.kill()
                process.wait()
        return [number for number, process in running if process.returncode in LOST]


def _start(order: Order) -> "subprocess.Popen[bytes]":
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here: after the fork nothing may be loaded
    tied = partial(_tie, libc, os.getpid())
    return subprocess.Popen(
        list(order.command), env={**os.environ, **order.env}, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=tied
    )


def _tie(libc: ctypes.CDLL | None, parent: int) -> None:
    """In the child, before it becomes the worker: end with the parent, also when that ended a moment ago."""
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(Crash.exit_code)


def _error_of(code: int, number: int) -> PgAnalyticsError:
    return AS_ENDED[code](f"worker {number} cannot start, for the reason above; none is started again")


def _reason(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
