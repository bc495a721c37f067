"""What a batch does to the ledger, against a brute-force model."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.batch import Batch, epochs, plan, windows
from pganalytics.sink.beats import Beat, EpochBeat
from pganalytics.sink.records import Noticed, Poison, Reason
from unit.sink.sink_records import message, poison, row

STREAM = Stream("c", 1, Lane.NORMAL)


def noticed(kind: EventKind, ranges: Ranges, **changes: Any) -> Noticed:
    facts: dict[str, Any] = {"collector": "c", "epoch": 1, "lane": Lane.NORMAL, "topic": "t", "partition": 0, "offset": 0}
    return Noticed(message(), Event(kind=kind, source=Source.STREAMS, at_us=0, ranges=ranges, detail="", **facts | changes))


SEQS = st.integers(1, 40)
READINGS = st.lists(
    st.one_of(
        SEQS.map(row),
        SEQS.map(poison),
        st.just(poison(None)),
        st.tuples(st.sampled_from([EventKind.SHED, EventKind.DEFERRED, EventKind.GAP]), SEQS).map(
            lambda pair: noticed(pair[0], Ranges.numbers([pair[1]]))
        ),
    ),
    max_size=30,
).map(tuple)


@given(READINGS, st.sets(SEQS))
def test_new_is_what_the_locked_row_lacks_and_the_first_of_its_kind(readings: tuple[Any, ...], stored: set[int]) -> None:
    batch = Batch({}, readings)
    decided = plan(batch, {STREAM: Ranges.numbers(stored)})
    expected, have = [], set(stored)
    for each in batch.rows:
        if each.identity.seq not in have:
            expected.append(each)
            have.add(each.identity.seq)
    assert [id(each) for each in decided.new] == [id(each) for each in expected]
    assert decided.duplicates == len(batch.rows) - len(expected)
    if STREAM not in decided.changes:
        return
    change = decided.changes[STREAM]
    assert set(change.stored) == have - stored
    assert set(change.dead) == {each.identity.seq for each in batch.poisons if each.identity}
    for kind, found in ((EventKind.SHED, change.shed), (EventKind.DEFERRED, change.deferred)):
        assert set(found) == {seq for each in batch.noticed if each.event.kind is kind for seq in each.event.ranges}
    seen = {each.identity.seq for each in batch.rows} | set(change.dead)
    assert change.emitted == max(seen | set(change.shed) | set(change.deferred), default=0)


@given(READINGS)
def test_every_touched_stream_is_locked_with_a_window_around_its_rows(readings: tuple[Any, ...]) -> None:
    batch = Batch({}, readings)
    found = windows(batch)
    assert list(found) == sorted(found)
    assert set(plan(batch, {STREAM: Ranges()}).changes) == set(found)
    seqs = {each.identity.seq for each in batch.rows}
    if seqs:
        assert found[STREAM].spans == ((min(seqs), max(seqs)),)


def test_streams_are_locked_in_key_order() -> None:
    rows = (row(1, collector="b"), row(1, collector="B"), row(1, collector="a", epoch=9), row(1, collector="a", epoch=10))
    assert [(each.collector, each.epoch) for each in windows(Batch({}, rows))] == [("B", 1), ("a", 9), ("a", 10), ("b", 1)]


@pytest.mark.parametrize("changes", [{"lane": None}, {"epoch": 0}])
def test_an_event_of_no_stream_changes_no_stream(changes: dict[str, Any]) -> None:
    assert windows(Batch({}, (noticed(EventKind.SHED, Ranges.numbers([1]), **changes),))) == {}


def told(epoch: int, *, at_us: int, final: int = 0, spool: str | None = "s") -> Beat:
    stream = Stream("c", epoch, Lane.NORMAL)
    return Beat(
        {stream: 5}, {stream: Ranges.of([(1, 4)])}, (EpochBeat("c", epoch, spool, at_us, (0, final, 0) if final else None),)
    )


def test_the_counts_of_all_heartbeats_are_joined() -> None:
    other = Beat({STREAM: 3}, {STREAM: Ranges.numbers([7])}, ())
    change = plan(Batch({}, (row(9, beat=told(1, at_us=1)), poison(2, beat=other))), {STREAM: Ranges()}).changes[STREAM]
    assert str(change.sent) == "1-4,7"
    assert change.emitted == 9


def test_epochs_are_told_once_each() -> None:
    """PostgreSQL refuses to update a row twice in one statement."""
    beats = (told(1, at_us=5, final=7), told(1, at_us=9, final=5, spool=None), told(2, at_us=2**60), told(1, at_us=8))
    batch = Batch({}, tuple(row(seq, beat=beat) for seq, beat in enumerate(beats, 1)))
    assert epochs(batch) == [EpochBeat("c", 1, "s", 9, (0, 5, 0)), EpochBeat("c", 2, "s", 0, None)]


def test_the_time_of_a_dead_heartbeat_is_not_believed() -> None:
    assert epochs(Batch({}, (poison(1, beat=told(1, at_us=9)),)))[0].at_us == 0


def test_condemned_rows_become_dead_letters() -> None:
    batch = Batch({}, (row(1, offset=1), row(2, offset=2)))
    dead = Poison(batch.rows[1].message, Reason.NOT_STORABLE, "why", batch.rows[1].identity)
    after = batch.condemned({dead.message.place: dead})
    assert after.rows == batch.rows[:1]
    assert after.poisons == (dead,)
