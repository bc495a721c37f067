"""The spool: identities without holes, baselines that move with their record, epochs until they are told to the end."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pganalytics.producers.baselines import Movement
from pganalytics.producers.epochs import OLD_EPOCHS_LISTED, EpochEnded
from pganalytics.producers.group_commit import Refused, SpoolClosed
from pganalytics.producers.records import Record, Snapshot, SpoolState, Unsent
from pganalytics.producers.spool import Spool
from pganalytics.producers.spool_file import FILE
from pganalytics.runtime.errors import SettingsError, Unreachable
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.metric import MetricSchema, builtin_schemas
from pganalytics.schemas.ranges import Ranges

DATABASE, HEARTBEAT = builtin_schemas()["database"], builtin_schemas()["heartbeat"]
ALL = {DATABASE.id, HEARTBEAT.id}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    opened = Spool.open(folder)
    opened.start_epoch("a", 100)
    yield opened
    opened.close()


def values_of(schema: MetricSchema, at: int) -> dict[str, object]:
    nothing = {"long": 0, "double": 0.0, "string": "", "boolean": False}
    values: dict[str, object] = {field.name: [] if field.is_array else nothing[field.primitive] for field in schema.fields}
    return values | {"collected_at": at, "since": at, "part": 1, "parts": 1}


def record(at: int = 1, *, collector: str = "a", epoch: int = 100, schema: MetricSchema = DATABASE) -> Record:
    return Record(collector, epoch, schema, RecordCodec(schema).encode_rest(values_of(schema, at)), 0, at)


def snapshot(at: int = 1, *, collector: str = "a", epoch: int = 100, body: bytes | None = None, full: bool = False) -> Snapshot:
    movement = Movement(collector, "database", "", full, body) if body is not None else None
    return Snapshot(record(at, collector=collector, epoch=epoch), movement)


def beat(spool: Spool, epoch: int = 100, *, last: bool = False) -> tuple[Identity | None, SpoolState | None]:
    """A heartbeat as the agent makes it; what the spool said to it."""
    seen: list[SpoolState] = []

    def build(state: SpoolState, final: bool) -> tuple[Record, HeartbeatFacts]:
        seen.append(state)
        over = tuple(one.epoch for one in state.old if one.all_sent) + (epoch,) * final
        facts = HeartbeatFacts(state.own.emitted, tuple(one.epoch for one in state.old), over, up=True, control=0)
        return record(epoch=epoch, schema=HEARTBEAT), facts

    return spool.heartbeat("a", epoch, build, lambda _: last).result(), seen[0] if seen else None


def unsent(spool: Spool, lane: Lane = Lane.NORMAL, limit: int = 1000, exclude: set[int] | None = None) -> list[Unsent]:
    return spool.unsent(lane, limit=limit, exclude=exclude or set(), schemas=ALL)


def send_all(spool: Spool) -> list[Identity]:
    records = [one for lane in LANES for one in unsent(spool, lane)]
    spool.acknowledge([one.id for one in records])
    return [one.headers.identity for one in records]


def test_seqs_count_from_one_in_each_stream(spool: Spool) -> None:
    spool.start_epoch("b", 7)
    made = [spool.append(snapshot()), spool.append(snapshot()), spool.append(snapshot(collector="b", epoch=7))]
    assert made == [Identity("a", 100, Lane.NORMAL, 1), Identity("a", 100, Lane.NORMAL, 2), Identity("b", 7, Lane.NORMAL, 1)]
    assert spool.append_many([snapshot(), snapshot()])[-1] == Identity("a", 100, Lane.NORMAL, 4)


def test_a_body_is_whole_and_its_headers_agree(spool: Spool) -> None:
    spool.append(snapshot(at=77))
    (one,) = unsent(spool)
    assert one.body is not None
    decoded = RecordCodec(DATABASE).decode(one.body)
    assert (decoded["collector"], decoded["epoch"], decoded["lane"], decoded["seq"]) == ("a", 100, "normal", 1)
    assert decoded["collected_at"] == one.headers.collected_at_us == 77
    assert (one.headers.size, one.headers.schema, one.headers.metric) == (len(one.body), DATABASE.id, "database")


def test_many_threads_share_commits_and_leave_no_hole(spool: Spool) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda at: spool.append(snapshot(at)), range(400)))
    assert sorted(one.seq for one in made if one) == list(range(1, 401))
    assert len(unsent(spool)) == 400


def test_what_is_sent_again_has_the_same_identity_and_ids_are_never_used_twice(spool: Spool) -> None:
    spool.append(snapshot())
    (first,) = unsent(spool)
    assert unsent(spool)[0].headers == first.headers
    spool.acknowledge([first.id])
    spool.acknowledge([first.id])
    spool.append(snapshot())
    assert unsent(spool)[0].id > first.id
    assert unsent(spool)[0].headers.identity.seq == 2


def test_records_are_offered_oldest_first_without_those_under_way_or_without_a_released_schema(spool: Spool) -> None:
    for at in range(5):
        spool.append(snapshot(at))
    ids = [one.id for one in unsent(spool)]
    assert ids == sorted(ids)
    assert [one.id for one in unsent(spool, limit=2, exclude={ids[0], ids[2]})] == [ids[1], ids[3]]
    assert spool.unsent(Lane.NORMAL, limit=5, exclude=set(), schemas={HEARTBEAT.id}) == []
    assert spool.schemas() == {DATABASE.id: DATABASE.text}


def fill(spool: Spool, schema: MetricSchema) -> str:
    """Append until that is refused, with a baseline that moves; the reason."""
    while True:
        try:
            spool.append(Snapshot(record(schema=schema), Movement("a", schema.name, "", False, b"moved")))
        except Refused as refused:
            return str(refused)


def test_above_the_soft_limit_only_critical_records_pass_and_at_the_end_only_heartbeats(folder: Path) -> None:
    spool = Spool.open(folder, limit_bytes=4000, soft_limit=0.5)
    spool.start_epoch("a", 100)
    critical = replace(HEARTBEAT, name="blocking")
    assert (spool.fill, spool.refusal(Lane.NORMAL)) == (0, None)
    assert fill(spool, DATABASE) == spool.refusal(Lane.NORMAL) == "spool_soft_limit"
    assert 2000 <= spool.usage[1] < 2600
    assert spool.fill == spool.usage[1] / 2000
    assert spool.refusal(Lane.CRITICAL) is None
    moved = spool.usage[0]
    assert fill(spool, critical) == spool.refusal(Lane.CRITICAL) == "spool_full"
    assert 4000 <= spool.usage[1] < 4600
    assert (len(spool.baseline("a", "database")), len(spool.baseline("a", "blocking"))) == (moved, spool.usage[0] - moved)
    assert beat(spool)[0] is not None
    send_all(spool)
    assert spool.usage == (0, 0)
    assert spool.append(snapshot()) == Identity("a", 100, Lane.NORMAL, moved + 1)
    spool.close()


def test_a_stub_keeps_its_identity_through_a_restart_and_has_no_body(folder: Path) -> None:
    spool = Spool.open(folder)
    spool.start_epoch("a", 100)
    made = spool.append_many([snapshot(5), snapshot(6)])
    first, second = unsent(spool)
    spool.shorten(first.id, "MSG_SIZE_TOO_LARGE")
    spool.close()
    spool = Spool.open(folder)
    stub, whole = unsent(spool)
    assert (stub.id, stub.body, stub.headers) == (first.id, None, replace(first.headers, error="MSG_SIZE_TOO_LARGE"))
    assert whole == second
    assert send_all(spool) == made
    assert spool.usage == (0, 0)
    spool.close()


def test_a_spool_of_the_format_before_goes_on(folder: Path) -> None:
    spool = Spool.open(folder)
    spool.start_epoch("a", 100)
    spool.append(snapshot(5))
    before = unsent(spool)
    spool.close()
    with closing(sqlite3.connect(folder / FILE)) as file:
        file.executescript("alter table records drop column error; pragma user_version = 1")
    for _ in range(2):
        spool = Spool.open(folder)
        assert unsent(spool) == before
        spool.close()


def test_a_baseline_moves_only_with_its_record(spool: Spool) -> None:
    spool.append(snapshot(body=b"one", full=True))
    with pytest.raises(EpochEnded):
        spool.append(snapshot(epoch=999, body=b"two"))
    assert spool.baseline("a", "database") == [b"one"]
    with pytest.raises(EpochEnded):
        spool.append_many([snapshot(body=b"two"), snapshot(epoch=999)])
    assert spool.baseline("a", "database") == [b"one"]
    assert [one.headers.identity.seq for one in unsent(spool)] == [1]


def test_a_full_baseline_replaces_the_log(spool: Spool) -> None:
    for body, full in ((b"1", True), (b"2", False), (b"3", False), (b"4", True), (b"5", False)):
        spool.append(Snapshot(None, Movement("a", "database", "", full, body)))
    assert spool.baseline("a", "database") == [b"4", b"5"]
    assert spool.baseline("a", "database", "other") == []
    spool.keep_baselines_of({"b"})
    assert spool.baseline("a", "database") == []


def test_a_heartbeat_counts_itself_but_does_not_call_itself_unsent(spool: Spool) -> None:
    for at in range(3):
        spool.append(snapshot(at))
    identity, state = beat(spool)
    assert identity == Identity("a", 100, Lane.CRITICAL, 1)
    assert state is not None
    assert state.own.emitted == {Lane.CRITICAL: 1, Lane.NORMAL: 3, Lane.BULK: 0}
    assert state.own.unsent == {Lane.CRITICAL: Ranges(), Lane.NORMAL: Ranges.of([(1, 3)]), Lane.BULK: Ranges()}


def test_while_a_heartbeat_is_unsent_no_other_is_made(spool: Spool) -> None:
    beat(spool)
    assert beat(spool) == (None, None)
    send_all(spool)
    assert beat(spool)[0] == Identity("a", 100, Lane.CRITICAL, 2)


def test_unsent_ranges_are_few_and_cover_all(spool: Spool) -> None:
    for at in range(200):
        spool.append(snapshot(at))
    spool.acknowledge([one.id for one in unsent(spool) if one.headers.identity.seq % 2])
    _, state = beat(spool)
    assert state is not None
    ranges = state.own.unsent[Lane.NORMAL]
    assert len(ranges.spans) == 32
    assert all(seq in ranges for seq in range(2, 201, 2))


def test_old_epochs_are_listed_until_a_heartbeat_that_calls_them_final_is_acknowledged(spool: Spool) -> None:
    spool.append(snapshot())
    spool.start_epoch("a", 200)
    with pytest.raises(EpochEnded):
        spool.append(snapshot())
    _, state = beat(spool, 200)
    assert state is not None
    assert [(one.epoch, one.all_sent) for one in state.old] == [(100, False)]
    send_all(spool)
    for _ in range(2):  # repeated: what is not acknowledged may not have arrived
        _, state = beat(spool, 200)
        assert state is not None
        assert [(one.epoch, one.all_sent) for one in state.old] == [(100, True)]
        send_all(spool)
        if not spool_lists(spool, 200):
            break
    assert spool_lists(spool, 200) == []


def spool_lists(spool: Spool, epoch: int) -> list[int]:
    _, state = beat(spool, epoch)
    send_all(spool)
    return [one.epoch for one in state.old] if state else []


def test_many_old_epochs_take_turns(spool: Spool) -> None:
    for epoch in range(101, 101 + OLD_EPOCHS_LISTED + 10):
        spool.append(snapshot(epoch=epoch - 1))
        spool.start_epoch("a", epoch)
    own = 101 + OLD_EPOCHS_LISTED + 9
    told = set()
    for _ in range(2):
        _, state = beat(spool, own)
        assert state is not None
        assert (len(state.old), state.old_total) == (OLD_EPOCHS_LISTED, OLD_EPOCHS_LISTED + 10)
        told |= {one.epoch for one in state.old}
        spool.acknowledge([one.id for one in unsent(spool, Lane.CRITICAL)])
    assert len(told) == OLD_EPOCHS_LISTED + 10


def test_an_epoch_ends_only_when_nothing_else_of_it_is_unsent(spool: Spool) -> None:
    spool.append(snapshot())
    beat(spool, last=True)
    send_all(spool)
    spool.append(snapshot())
    send_all(spool)
    beat(spool, last=True)
    with pytest.raises(EpochEnded):
        spool.append(snapshot())
    assert spool.collectors() == ["a"]
    send_all(spool)
    assert spool.collectors() == []


def test_an_epoch_that_emitted_nothing_is_never_heard_of(spool: Spool) -> None:
    spool.start_epoch("a", 200)
    spool.start_epoch("a", 300)
    _, state = beat(spool, 300)
    assert state is not None
    assert state.old == ()


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


def test_a_closed_spool_says_so(spool: Spool) -> None:
    spool.close()
    with pytest.raises(SpoolClosed):
        spool.append(snapshot())


def test_waiting_ends_when_a_record_comes(spool: Spool) -> None:
    spool.wait_for_records(0)
    timer = threading.Timer(0.1, lambda: spool.append(snapshot()))
    timer.start()
    began = time.monotonic()
    spool.wait_for_records(30)
    assert time.monotonic() - began < 10
    timer.join()


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
from unit.producers.test_spool import *
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
from unit.producers.test_spool import Spool, snapshot
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
