"""The far end of the leash: a small process that owns one child and ends it when our process is gone.

Run by its file path, with the standard library only (`python -I -S supervisor.py FD NAME`), so that it starts in
milliseconds. FD is a socket to the parent. The first line from there is the order (JSON, see `Order` in `leash`),
the next ones are `signal N` (to the child) and `tree N` (to the child and all its descendants); each is answered by
`done`. It says `started PID` or `failed ERRNO`, and at the very end `ended RETURNCODE`.

Guarantees, as root also for a child that runs as another OS user:
- When the parent is gone, however it ended, the child gets `orphan_signal` and after `grace_s` SIGKILL.
- When the child is gone, everything that it left behind gets SIGKILL, and only then `ended` is said. On Linux this
  includes processes in groups and sessions of their own, as PostgreSQL's backends are (we are their subreaper).
- On Linux, when this process itself is killed, the kernel sends `orphan_signal` to the child.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform.startswith("linux")


def main() -> None:
    """Own one child until it and its descendants are gone."""
    link = socket.socket(fileno=int(sys.argv[1]))
    link.set_inheritable(False)
    reader = link.makefile("rb")
    if line := reader.readline():  # empty when the parent broke off while it started us
        Supervisor(link, json.loads(line)).run()


class Supervisor:
    """The loop. One thread; every wait ends after half a second at the latest."""

    def __init__(self, link: socket.socket, order: dict[str, Any]) -> None:
        self.link: socket.socket | None = link
        self.order = order
        self.received = b""
        self.child = 0
        self.returncode: int | None = None
        self.kill_at: float | None = None
        self.wake_fd, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)

    def run(self) -> None:
        """Start the child, obey, and outlive it by as long as it takes to clean up behind it."""
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.child = spawn(self.order, self.say)
        while self.child and self.returncode is None:
            self.reap()
            if self.returncode is not None:
                break
            self.look_around()
        orphaned = self.kill_at is not None
        self.sweep()
        if self.child:
            self.say(f"ended {self.returncode}")
        if orphaned and self.order["remove"]:
            remove(self.order["remove"])

    def look_around(self) -> None:
        """Wait for an order, a signal or the parent's end, and react."""
        watched: list[Any] = [self.wake_fd, *([self.link] if self.link else [])]
        ready, _, _ = select.select(watched, [], [], 0.5)
        if self.wake_fd in ready and any(number != signal.SIGCHLD for number in os.read(self.wake_fd, 512)):
            self.let_go()
        if self.link in ready:
            self.obey()
        if os.getppid() != self.order["parent"]:  # a fork of the parent may still hold the socket open
            self.let_go()
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.signal_tree(signal.SIGKILL)

    def obey(self) -> None:
        assert self.link is not None
        try:
            chunk = self.link.recv(4096)
        except OSError:
            chunk = b""
        if not chunk:
            self.link = None
            self.let_go()
        *lines, self.received = (self.received + chunk).split(b"\n")
        for line in lines:
            verb, number = line.split()
            if verb == b"tree":
                self.signal_tree(int(number))
            else:
                send(self.child, int(number))
            self.say("done")

    def let_go(self) -> None:
        """The parent is gone, or somebody ends us: end the child. The first call counts."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + float(self.order["grace_s"])
            send(self.child, int(self.order["orphan_signal"]))
            self.signal_tree(signal.SIGCONT)

    def signal_tree(self, number: int) -> None:
        """Parents first, until a look finds nobody new: a stopped or dead parent starts no more children."""
        done: set[int] = set()
        while found := [pid for pid in descendants(os.getpid()) if pid not in done]:
            for pid in found:
                send(pid, number)
            done.update(found)

    def reap(self) -> None:
        """Collect everything that ended; descendants that lost their parent are ours to collect, too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.child:
                self.returncode = os.waitstatus_to_exitcode(status)

    def sweep(self) -> None:
        """End what the child left behind. Gives up after ten seconds: a process that hangs in the kernel stays."""
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            self.signal_tree(signal.SIGKILL)
            self.reap()
            if not any(descendants(os.getpid())):
                self.reap()
                return
            time.sleep(0.01)

    def say(self, line: str) -> None:
        if self.link is not None:
            try:
                self.link.sendall(line.encode() + b"\n")
            except OSError:
                self.link = None


def spawn(order: dict[str, Any], say: Any) -> int:
    """Start the child and return its pid, or 0 when it cannot be started; says which."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(order)
            os.execvp(order["args"][0], order["args"])  # noqa: S606
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(writer)
    failure = os.read(reader, 32).decode()
    os.close(reader)
    say(f"failed {failure}" if failure else f"started {pid}")
    return 0 if failure else pid


def become(order: dict[str, Any]) -> None:
    """In the child: its own session, its own user, default signals, tied to the supervisor."""
    supervisor = os.getppid()
    os.setsid()
    if order["uid"] is not None:
        os.setgroups([])
        os.setgid(order["gid"])
        os.setuid(order["uid"])
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    prctl(PR_SET_PDEATHSIG, int(order["orphan_signal"]))  # after the change of user, which clears it
    if os.getppid() != supervisor:
        os._exit(127)


def prctl(option: int, value: int) -> None:
    if LINUX:
        import ctypes  # noqa: PLC0415  (every child waits for the imports above)

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def descendants(root: int) -> Iterator[int]:
    """All living descendants, parents before their children. Zombies are dead."""
    children: dict[int, list[int]] = {}
    for pid, parent in processes():
        children.setdefault(parent, []).append(pid)
    queue = [root]
    while queue:
        for pid in children.get(queue.pop(0), []):
            queue.append(pid)
            yield pid


def processes() -> Iterator[tuple[int, int]]:
    """(pid, parent) of every process that is not a zombie."""
    if not LINUX:
        yield from processes_by_ps()
        return
    for entry in os.listdir("/proc"):  # noqa: PTH208  (pathlib is slow to import)
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state not in (b"Z", b"X"):
                yield int(entry), int(parent)


def processes_by_ps() -> Iterator[tuple[int, int]]:
    """The same where there is no /proc, without the `ps` that looks."""
    with os.popen("ps -A -o pid= -o ppid= -o stat= -o comm=") as listing:  # noqa: S605  (constant)
        for pid, parent, state, name in (line.split(None, 3) for line in listing):
            if not state.startswith("Z") and not name.strip().endswith("ps"):
                yield int(pid), int(parent)


def remove(folder: str) -> None:
    import shutil  # noqa: PLC0415  (see ctypes)

    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
