"""A disk that the spool itself fills: readings are held back while there is still room to delete, so it goes on by itself.

The disk is `chaos.disk` with a capacity: SQLite meets it as SQLITE_FULL, in the log as in a checkpoint.
"""

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.disk import Disk
from chaos.machines import Machines
from chaos.oracle import SCHEMAS
from pganalytics.producers import disk_room
from pganalytics.producers.baselines import Movement
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.records import Record, Snapshot, SpoolState, Unsent
from pganalytics.producers.spool import Spool
from pganalytics.runtime.errors import Unreachable
from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.metric import MetricSchema, builtin_schemas

MB = 1 << 20
CAPACITY = 100 * MB
HEARTBEAT = builtin_schemas()["heartbeat"]
CHANCE = random.Random(1)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Of the machine of `tmp_path`."""
    made, machines = Disk(lambda: True), Machines()
    made.capacity = CAPACITY
    monkeypatch.setattr(sqlite3, "connect", machines.connect)
    monkeypatch.setattr(disk_room, "free_bytes", lambda _: made.free())
    with machines.running(tmp_path, made):
        yield made


@pytest.fixture
def spool(disk: Disk, tmp_path: Path) -> Iterator[Spool]:
    with contextlib.closing(Spool.open(tmp_path)) as opened:
        opened.start_epoch("a", 1)
        yield opened


def snapshot(schema: MetricSchema) -> Snapshot:
    body = CHANCE.randbytes(CHANCE.randint(1, 200_000))
    return Snapshot(Record("a", 1, schema, body, 0, 1), Movement("a", schema.name, "", False, body[:8]))


def fill(spool: Spool, schema: MetricSchema) -> tuple[list[Identity], list[bytes]]:
    """Append until that is refused; who was told, and the baseline's entries that were committed with them."""
    told: list[Identity] = []
    log: list[bytes] = []
    while True:
        one = snapshot(schema)
        assert one.movement is not None
        try:
            who = spool.append(one)
        except Refused:
            return told, log
        assert who is not None
        told.append(who)
        log.append(one.movement.body)


def unsent(spool: Spool, lane: Lane, limit: int) -> list[Unsent]:
    return spool.unsent(lane, limit=limit, exclude=(), schemas=[HEARTBEAT.id, *(one.id for one in SCHEMAS.values())])


def send(spool: Spool, most: int = 60) -> list[Identity]:
    """As a sender does: a batch of each lane, and all of it acknowledged."""
    sent = [one for lane in LANES for one in unsent(spool, lane, most)]
    spool.acknowledge([one.id for one in sent])
    return [one.headers.identity for one in sent]


def beat(spool: Spool) -> Identity | None:
    def build(state: SpoolState, final: bool) -> tuple[Record, HeartbeatFacts]:
        return Record("a", 1, HEARTBEAT, b"", 0, 1), HeartbeatFacts(state.own.emitted, (), (), up=True, control=0)

    return spool.heartbeat("a", 1, build).result()


def test_a_spool_that_fills_its_disk_holds_back_and_goes_on_when_kafka_acknowledges(spool: Spool, disk: Disk) -> None:
    """Several times over; critical records and heartbeats have room when others have none. Nothing is lost."""
    schema = SCHEMAS[Lane.NORMAL]
    told, log = fill(spool, schema)
    assert spool.refusal(Lane.NORMAL) == "disk"
    assert spool.refusal(Lane.CRITICAL) is None
    critical, _ = fill(spool, HEARTBEAT)
    assert len(critical) > 10
    assert beat(spool) is not None
    sent = []
    for _ in range(5):
        while spool.refusal(Lane.NORMAL) is not None:
            sent += (batch := send(spool))
            assert batch
        more = fill(spool, schema)
        assert len(more[0]) > 10
        told, log = told + more[0], log + more[1]
        assert disk.free() > 4 * MB
    while batch := send(spool):
        sent += batch
    assert sorted(who.seq for who in sent if who.lane is Lane.NORMAL) == [who.seq for who in told] == [*range(1, len(told) + 1)]
    assert spool.baseline("a", schema.name) == log
    assert spool.usage == (0, 0)


def test_without_the_reserve_a_spool_fills_its_disk_for_good(spool: Spool, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: then the log has no room for acknowledgements. When others give some back, it goes on all the same."""
    monkeypatch.setattr(disk_room, "RESERVE_BYTES", 0)
    monkeypatch.setattr(disk_room, "CRITICAL_RESERVE_BYTES", 0)
    disk.capacity, schema = 20 * MB, SCHEMAS[Lane.NORMAL]
    told, log = fill(spool, schema)
    sent = []
    with contextlib.suppress(Refused):
        while batch := send(spool, 1):
            sent += batch
    assert len(sent) < len(told) // 10
    assert fill(spool, schema) == ([], [])
    assert [one.headers.identity for one in unsent(spool, Lane.NORMAL, 100_000)] == told[len(sent) :]
    assert spool.baseline("a", schema.name) == log
    disk.capacity = 40 * MB
    assert send(spool, 100_000) == told[len(sent) :]
    assert fill(spool, schema)[0][0].seq == len(told) + 1


def test_a_start_on_a_full_disk_ends_with_what_to_do_and_can_be_tried_again(disk: Disk, tmp_path: Path) -> None:
    with contextlib.closing(Spool.open(tmp_path)) as spool:
        spool.start_epoch("a", 1)
        spool.append(snapshot(SCHEMAS[Lane.NORMAL]))
        send(spool)
    disk.capacity = 0
    for _ in range(2):
        with pytest.raises(Unreachable, match=r"full[^.]*make room"):
            Spool.open(tmp_path)
    disk.capacity = CAPACITY
    with contextlib.closing(Spool.open(tmp_path)) as spool:
        assert spool.append(snapshot(SCHEMAS[Lane.NORMAL])) == Identity("a", 1, Lane.NORMAL, 2)
