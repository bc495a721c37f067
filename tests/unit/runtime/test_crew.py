"""A parent and its workers, which here are small programs: who is started again, who is stopped, and what the end says."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pganalytics.runtime.crew import Crew, Order, ports_of
from pganalytics.runtime.errors import Crash, PgAnalyticsError, SettingsError, Unreachable
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Collect, Kafka, Sink, Streams
from waiting import until

TELLS = """
import os, pathlib, sys
starts = pathlib.Path(sys.argv[1])
with starts.open("a") as file:
    file.write(os.environ["WHO"] + "\\n")
"""
SLEEPS = TELLS + "import time; time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPS


def orders(folder: Path, *programs: str) -> list[Order]:
    told = str(folder / "starts")
    return [Order(i, [sys.executable, "-c", text, told], {"WHO": f"worker{i}"}) for i, text in enumerate(programs)]


def starts(folder: Path) -> list[str]:
    file = folder / "starts"
    return file.read_text().split() if file.exists() else []


@contextmanager
def stopping(lifecycle: Lifecycle, condition: Callable[[], object]) -> Iterator[None]:
    """Request a stop when something has come true: a crew runs in the main thread."""

    def wait() -> None:
        deadline = time.monotonic() + 120
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        lifecycle.request_stop("test")

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_all_run_and_are_stopped(tmp_path: Path) -> None:
    lifecycle = Lifecycle()
    with stopping(lifecycle, lambda: len(starts(tmp_path)) == 2):
        Crew(orders(tmp_path, SLEEPS, SLEEPS), stop_timeout_s=20).run(lifecycle)
    assert sorted(starts(tmp_path)) == ["worker0", "worker1"]


def test_whoever_ends_is_started_again_and_its_neighbour_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lifecycle = Lifecycle()
    with (
        stopping(lifecycle, lambda: starts(tmp_path).count("worker1") >= 3 and "worker0" in starts(tmp_path)),
        caplog.at_level("INFO"),
    ):
        Crew(orders(tmp_path, SLEEPS, TELLS + "sys.exit(3)"), stop_timeout_s=20).run(lifecycle)
    assert starts(tmp_path).count("worker0") == 1
    assert caplog.messages.count("worker ended; it is started again") == 1, "the same again is no news"


@pytest.mark.parametrize(("code", "error"), [(2, SettingsError), (69, Unreachable)])
def test_a_first_start_that_finds_something_to_mend_ends_all(tmp_path: Path, code: int, error: type[PgAnalyticsError]) -> None:
    with pytest.raises(error, match="worker 1 cannot start"):
        Crew(orders(tmp_path, SLEEPS, TELLS + f"sys.exit({code})"), stop_timeout_s=20).run(Lifecycle())
    assert starts(tmp_path).count("worker1") == 1


def test_who_does_not_stop_is_killed_and_the_end_says_so(tmp_path: Path) -> None:
    lifecycle = Lifecycle()
    with stopping(lifecycle, lambda: len(starts(tmp_path)) == 2), pytest.raises(Crash, match="workers 1 did not stop well"):
        Crew(orders(tmp_path, SLEEPS, DEAF), stop_timeout_s=0.1).run(lifecycle)


PARENT = """
import sys
from pganalytics.runtime.crew import Crew, Order
from pganalytics.runtime.lifecycle import Lifecycle
Crew([Order(0, [sys.executable, "-c", sys.argv[1], sys.argv[2]], {})], stop_timeout_s=20).run(Lifecycle())
"""
TELLS_PID = """
import os, pathlib, sys, time
with pathlib.Path(sys.argv[1]).open("w") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""


def test_the_kernel_ends_the_workers_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    """The parent is started without our leash, which would end them as well."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, TELLS_PID, str(tmp_path / "starts")])
    try:
        until(lambda: starts(tmp_path), 60)
    finally:
        parent.kill()
        parent.wait()
    worker = int(starts(tmp_path)[0])
    until(lambda: not is_alive(worker), 60)


def is_alive(pid: int) -> bool:
    """Whether a process is there, and not only its entry."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_every_worker_has_a_port_of_its_own() -> None:
    assert ports_of(9621, 3) == [9621, 9622, 9623]
    assert ports_of(0, 3) == [0, 0, 0]
    with pytest.raises(SettingsError, match="the highest is 65535"):
        ports_of(65534, 3)


def test_services_of_the_default_settings_run_side_by_side_with_any_number_of_workers() -> None:
    streams, partitions = Streams(), Kafka().partitions
    others = {Collect().http_port, Sink().http_port}
    assert len(others) == 2
    assert not others & {*ports_of(streams.http_port, partitions)}, "more workers than partitions are refused"
