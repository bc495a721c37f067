"""The spool: identities without holes, baselines that move with their record, epochs until they are told to the end."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pganalytics.producers.baselines import Movement
from pganalytics.producers.epochs import OLD_EPOCHS_LISTED, EpochEnded
from pganalytics.producers.group_commit import SpoolClosed
from pganalytics.producers.records import Snapshot
from pganalytics.producers.spool import Spool
from pganalytics.producers.spool_file import FILE
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.ranges import Ranges
from unit.producers.spool_feed import DATABASE, HEARTBEAT, beat, fill, send_all, snapshot, unsent


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
