"""Child processes that never outlive us, not even when we are killed by SIGKILL.

Every child gets a supervisor (see `supervisor`), a small process at the other end of a socket that we hold. When our
end closes, because we closed it, ended, crashed or were killed, the supervisor ends the child and all it started.
The child runs in its own session, so Ctrl-C at our terminal reaches only us, and we decide.

A `Child` may be used from any thread. A `Child` that is garbage-collected closes its socket, and so ends its child.
"""

import contextlib
import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from pganalytics.embedded.errors import StartFailed

SUPERVISOR = Path(__file__).with_name("supervisor.py")


@dataclass(frozen=True)
class Order:
    """What the supervisor is told. The environment travels as its own environment, so that no list of processes
    shows it."""

    parent: int
    args: list[str]
    uid: int | None
    gid: int | None
    orphan_signal: int
    grace_s: float
    remove: str | None


class Child:
    """One process on the leash, with everything that it starts.

    When it ends, what it left behind is killed, before `poll` or `wait` says that it ended.
    """

    def __init__(
        self, name: str, pid: int, *, link: socket.socket, supervisor: "subprocess.Popen[bytes]", stop_signal: int
    ) -> None:
        self.name = name
        self.pid = pid
        self.returncode: int | None = None
        self._link = link
        self._supervisor = supervisor
        self._stop_signal = stop_signal
        self._received = b""
        self._lock = threading.RLock()

    @classmethod
    def start(
        cls,
        args: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: Path | IO[bytes] | int | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        orphan_signal: signal.Signals | None = None,
        grace_s: float = 5.0,
        name: str | None = None,
        remove: Path | None = None,
    ) -> "Child":
        """Run `args` as a child; returns when the program runs, StartFailed when it cannot be executed.

        `env` replaces the environment (None: ours). `stdout` gets both standard output and error: a path is appended
        to, None is our own. Standard input is empty. `user` is an OS user to run as; only root may give one.
        If we go away the child gets `orphan_signal` (default: `stop_signal`), after `grace_s` SIGKILL, and then the
        folder `remove`, if given, is deleted.
        """
        words = [str(word) for word in args]
        account = pwd.getpwnam(user) if user else None
        order = Order(
            parent=os.getpid(),
            args=words,
            uid=account.pw_uid if account else None,
            gid=account.pw_gid if account else None,
            orphan_signal=int(orphan_signal or stop_signal),
            grace_s=grace_s,
            remove=str(remove) if remove else None,
        )
        name = name or Path(words[0]).name
        link, far_end = socket.socketpair()
        with far_end, _output(stdout) as output:
            supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SUPERVISOR), str(far_end.fileno()), name],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                pass_fds=(far_end.fileno(),),
                start_new_session=True,
            )
        child = cls(name, 0, link=link, supervisor=supervisor, stop_signal=int(stop_signal))
        child._begin(order)
        return child

    def poll(self) -> int | None:
        """The return code (negative: the signal that ended it), or None while it runs. Never waits."""
        with self._lock:
            while self.returncode is None and select.select([self._link], [], [], 0)[0]:
                self._receive()
            return self.returncode

    def wait(self, timeout_s: float | None = None) -> int:
        """The return code, once it has ended; TimeoutError when it still runs after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (code := self.poll()) is None:
            left_s = 1.0 if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"{self.name} (pid {self.pid}) still runs after {timeout_s} s")
            with contextlib.suppress(OSError, ValueError):  # another thread saw the end and closed the socket
                select.select([self._link], [], [], min(left_s, 1.0))
        return code

    def terminate(self, timeout_s: float = 10.0, *, stop_signal: signal.Signals | None = None) -> int:
        """Ask it to end, also when suspended; after `timeout_s` kill it. Returns the return code."""
        self.send_signal(signal.SIGCONT, tree=True)
        self.send_signal(stop_signal or self._stop_signal)
        try:
            return self.wait(timeout_s)
        except TimeoutError:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL, then the same for all that it left behind; returns when they are gone."""
        self.send_signal(signal.SIGKILL)
        return self.wait(15.0)

    def suspend(self) -> None:
        """SIGSTOP to the child and all its descendants: they look alive and do nothing."""
        self.send_signal(signal.SIGSTOP, tree=True)

    def resume(self) -> None:
        """Undo `suspend`."""
        self.send_signal(signal.SIGCONT, tree=True)

    def send_signal(self, number: int, *, tree: bool = False) -> None:
        """Send a signal to the child, or with `tree` to its descendants, too. Nothing happens when it has ended."""
        with self._lock:
            if self.poll() is None and self._say(f"{'tree' if tree else 'signal'} {int(number)}"):
                while self.returncode is None and self._receive() != "done":
                    pass

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.terminate()

    def _begin(self, order: Order) -> None:
        self._say(json.dumps(asdict(order)))
        verb, _, value = self._receive().partition(" ")
        if verb == "started":
            self.pid = int(value)
            return
        self._link.close()
        self._supervisor.wait()
        reason = os.strerror(int(value)) if verb == "failed" else "its supervisor ended"
        raise StartFailed(self.name, f"{order.args[0]}: {reason}")

    def _say(self, line: str) -> bool:
        try:
            self._link.sendall(line.encode() + b"\n")
        except OSError:
            return False
        return True

    def _receive(self) -> str:
        """The next line; waits for it. Notes the end when the line, or silence for good, says so."""
        while b"\n" not in self._received:
            try:
                chunk = self._link.recv(4096)
            except OSError:
                chunk = b""
            if not chunk:
                self._end(-signal.SIGKILL)
                return ""
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        verb, _, value = line.decode().partition(" ")
        if verb == "ended":
            self._end(int(value))
        return line.decode()

    def _end(self, code: int) -> None:
        self.returncode = code
        self._link.close()
        self._supervisor.wait()


@contextlib.contextmanager
def _output(target: Path | IO[bytes] | int | None) -> Iterator[IO[bytes] | int | None]:
    if not isinstance(target, Path):
        yield target
        return
    with target.open("ab") as file:
        yield file
