"""The spool's file: one agent at a time, damaged, on a full disk, after a kill."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pganalytics.producers.group_commit import Refused
from pganalytics.producers.spool import Spool
from pganalytics.producers.spool_file import FILE
from pganalytics.runtime.errors import SettingsError, Unreachable
from pganalytics.schemas.identity import Identity, Lane
from unit.producers.spool_feed import beat, send_all, snapshot, unsent


def test_a_second_agent_on_the_folder_is_refused_by_name(spool: Spool, folder: Path) -> None:
    with pytest.raises(SettingsError, match=rf"{folder}.*pid {os.getpid()}"):
        Spool.open(folder)
    spool.close()
    Spool.open(folder).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="state_dir"):
        Spool.open(tmp_path / "file" / "state")


def test_files_that_are_no_spool_or_a_later_one_are_refused_by_name(folder: Path) -> None:
    Spool.open(folder).close()
    with closing(sqlite3.connect(folder / FILE)) as db:
        db.execute("pragma user_version = 99")
        with pytest.raises(Unreachable, match="another program has it open"):
            Spool.open(folder)
    with pytest.raises(Unreachable, match=rf"{FILE}: its format is 99"):
        Spool.open(folder)
    (folder / FILE).unlink()
    with closing(sqlite3.connect(folder / FILE)) as db:
        db.execute("create table foreigner (i int)")
    with pytest.raises(Unreachable, match="not a spool of pganalytics"):
        Spool.open(folder)


def spool_of_500(folder: Path) -> None:
    spool = Spool.open(folder)
    spool.start_epoch("a", 100)
    spool.append_many([snapshot(at) for at in range(500)])
    spool.close()


def damage_a_page(file: Path) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[8192:16384] = bytes(range(256)) * 32
    file.write_bytes(damaged)


@pytest.mark.parametrize(
    "damage",
    [damage_a_page, lambda file: file.write_bytes(b"this is no database at all" * 100), lambda file: os.truncate(file, 20_000)],
    ids=["page", "all", "cut"],
)
def test_a_damaged_file_is_set_aside_by_name_and_a_new_spool_begins(
    damage: Callable[[Path], object], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool_of_500(folder)
    damage(folder / FILE)
    before = (folder / FILE).read_bytes()
    spool = Spool.open(folder)
    (aside,) = folder.glob(f"{FILE}.damaged-*")
    assert aside.read_bytes() == before
    (told,) = caplog.records
    assert (told.levelname, told.moved_to) == ("ERROR", str(aside))  # type: ignore[attr-defined]
    assert unsent(spool) == []
    spool.start_epoch("a", 100)
    assert spool.append(snapshot()) == Identity("a", 100, Lane.NORMAL, 1)
    spool.close()
    Spool.open(folder).close()
    assert len(list(folder.glob(f"{FILE}.damaged-*"))) == 1


def test_a_damaged_file_that_cannot_be_moved_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool_of_500(folder)
    damage_a_page(folder / FILE)

    def refuse(path: Path, target: Path) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as frozen:
        frozen.setattr(Path, "rename", refuse)
        with pytest.raises(Unreachable, match=rf"{FILE}: damaged, and cannot be moved away: Read-only"):
            Spool.open(folder)
    assert list(folder.glob(f"{FILE}.damaged-*")) == []


def test_the_spool_is_only_for_its_owner(spool: Spool, folder: Path) -> None:
    assert folder.stat().st_mode & 0o77 == 0
    assert (folder / FILE).stat().st_mode & 0o77 == 0


def test_its_id_stays_with_the_file(folder: Path) -> None:
    ids = set()
    for epoch in (100, 200):
        spool = Spool.open(folder)
        spool.start_epoch("a", epoch)
        _, state = beat(spool, epoch)
        assert state is not None
        ids.add(state.spool_id)
        send_all(spool)
        spool.close()
    assert len(ids) == 1
    assert len(ids.pop()) == 16


class FullDisk:
    """A connection whose disk is full for everything that adds records."""

    def __init__(self, inner: sqlite3.Connection) -> None:
        self.inner = inner
        self.is_full = True

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if self.is_full and sql.startswith("insert into records"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self.inner.execute(sql, *parameters)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def test_a_full_disk_holds_back_and_reading_goes_on(spool: Spool) -> None:
    spool.append(snapshot(body=b"one", full=True))
    disk = FullDisk(spool._writer._connection)
    spool._writer._connection = disk  # type: ignore[assignment]
    with ThreadPoolExecutor(4) as pool:
        refused = [pool.submit(spool.append, snapshot(body=b"two")) for _ in range(4)]
        assert len(unsent(spool)) == 1
    assert all(isinstance(one.exception(), Refused) for one in refused)
    disk.is_full = False
    assert spool.append(snapshot(body=b"two")) == Identity("a", 100, Lane.NORMAL, 2)
    assert spool.baseline("a", "database") == [b"one", b"two"]


LIMITED = """
import contextlib, json, resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from pganalytics.producers.group_commit import Refused
from unit.producers.spool_feed import DATABASE, Spool, fill, snapshot, unsent
spool = Spool.open(Path({folder!r}))
spool.start_epoch("a", 100)
before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
seen = [fill(spool, DATABASE), fill(spool, DATABASE)]
kept = [one.headers.identity.seq for one in unsent(spool)]
seen += [kept == [*range(1, len(kept) + 1)], len(spool.baseline("a", "database")) == len(kept)]
with contextlib.suppress(Refused):
    spool.acknowledge([one.id for one in unsent(spool)[:5]])
resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
spool.append(snapshot(body=b"late"))
spool.acknowledge([one.id for one in unsent(spool)[:-1]])
spool.close()
print(json.dumps([len(kept), seen]))
"""


def test_when_the_kernel_refuses_to_write_nothing_is_lost_and_it_goes_on_when_it_may(folder: Path) -> None:
    """Files may not grow beyond a size for a while: SQLITE_IOERR, in a process of its own."""
    code = LIMITED.format(tests=str(Path(__file__).parents[2]), folder=str(folder))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    count, seen = json.loads(ended.stdout)
    assert count > 10
    assert seen == ["disk", "disk", True, True]
    spool = Spool.open(folder)
    assert [one.headers.identity.seq for one in unsent(spool)] == [count + 1]
    assert spool.baseline("a", "database") == [b"moved"] * count + [b"late"]
    spool.close()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from unit.producers.spool_feed import Spool, snapshot
spool = Spool.open(Path({folder!r}))
spool.start_epoch("a", 100)
for at in range(100000):
    made = spool.append(snapshot(at, body=str(at).encode(), full=at % 60 == 0))
    print(made.seq, flush=True)
"""


def test_what_was_committed_survives_sigkill(folder: Path) -> None:
    """A seq that was given is there, the baseline is that of the last record, and no seq is given again."""
    code = KILLED.format(tests=str(Path(__file__).parents[2]), folder=str(folder))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 150:
            break
    child.send_signal(signal.SIGKILL)
    told = [int(line) for line in child.stdout if line.endswith("\n")]
    child.wait()
    spool = Spool.open(folder)
    try:
        seqs = [one.headers.identity.seq for one in unsent(spool, limit=100_000)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) >= max(told, default=150)
        log = spool.baseline("a", "database")
        assert log[-1] == str(len(seqs) - 1).encode()
        assert int(log[0]) % 60 == 0
        spool.start_epoch("a", 200)
        _, state = beat(spool, 200)
        assert state is not None
        assert state.old[0].emitted[Lane.NORMAL] == len(seqs)
    finally:
        spool.close()
