"""The ledger's transaction on a real PostgreSQL: each record once, whoever writes it and how often.

Here two writers meet at will; Kafka is not needed for that.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from integration.sink_feed import EPOCH, Store, heartbeat, now_us, record
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink import writer
from pganalytics.sink.batch import Batch, Plan, plan
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.errors import Displaced
from pganalytics.sink.intake import DAY_US, read
from pganalytics.sink.multiranges import from_multirange
from pganalytics.sink.records import Noticed, Partition, Poison, Reading, Reason, Row, Span
from pganalytics.sink.snapshot import read_snapshot
from pganalytics.sink.statements import statement
from pganalytics.sink.store import set_up
from pganalytics.sink.tables import Tables
from pganalytics.sink.writer import BatchWriter
from unit.sink.sink_records import KNOWN, message
from waiting import until

STREAM = Stream("c", EPOCH, Lane.NORMAL)
WITHOUT_LOCK = statement("ledger_lock").replace("for update of l", "")


@pytest.fixture
def made(settings: Settings) -> Settings:
    """A store that is set up, with the table of `database` for today and a position for each of ten partitions."""
    set_up(settings)
    with StoreConnection.open(settings.store, name="test") as connection:
        tables = Tables(connection)
        for schema in builtin_schemas().values():
            assert tables.ensure(schema) is None
            tables.ensure_day(schema.name, now_us() // DAY_US)
    Store(settings).run("insert into pganalytics.positions select 't', n, 0 from generate_series(0, 9) n")
    return settings


@pytest.fixture
def connections(made: Settings) -> Iterator[list[StoreConnection]]:
    """Two connections, as of two sinks."""
    opened = [StoreConnection.open(made.store, name="test") for _ in range(2)]
    yield opened
    for connection in opened:
        connection.close()


def batch(
    readings: Sequence[Reading] = (),
    *,
    seqs: Sequence[int] = (),
    partition: int = 0,
    first: int = 0,
    following: int | None = None,
) -> Batch:
    rows: list[Reading] = []
    for offset, seq in enumerate(seqs, first):
        judged = read(message(record("c", seq), offset=offset, at_us=now_us()), KNOWN, events_topic="e", now_us=now_us())
        assert isinstance(judged, Row), judged
        rows.append(judged)
    spans: dict[Partition, Span] = {("t", partition): Span(first, first + len(rows) if following is None else following)}
    return Batch(spans, (*rows, *readings))


def rows_of(store: Store) -> list[int]:
    return [seq for (seq,) in store.ask("select seq from metrics.database order by seq")]


def test_a_batch_written_twice_is_there_once(made: Settings, connections: list[StoreConnection]) -> None:
    """A duplicate at another place of the log, as after a restart of the streams."""
    store, writer = Store(made), BatchWriter(connections[0])
    assert writer.write(batch(seqs=[1, 2, 2, 3]), KNOWN).duplicates == 1
    assert writer.write(batch(seqs=[3, 1, 4], partition=1), KNOWN).duplicates == 2
    assert rows_of(store) == [1, 2, 3, 4]
    assert store.seqs("stored", "c") == Ranges.of([(1, 4)])
    assert store.ask("select next_offset from pganalytics.positions where partition < 2 order by partition") == [(4,), (3,)]


@pytest.mark.parametrize("first", [0, 3])
def test_a_zombie_writes_nothing(made: Settings, connections: list[StoreConnection], first: int) -> None:
    """Its batch begins elsewhere than the store's position: before it (replay) or after it (restored store)."""
    store = Store(made)
    BatchWriter(connections[0]).write(batch(seqs=[1, 2]), KNOWN)
    with pytest.raises(Displaced):
        BatchWriter(connections[1]).write(batch(seqs=[8, 9], first=first), KNOWN)
    assert rows_of(store) == [1, 2]
    assert store.one("select next_offset from pganalytics.positions where partition = 0") == 2


def test_one_partition_out_of_place_stops_the_whole_batch(made: Settings, connections: list[StoreConnection]) -> None:
    good = batch(seqs=[1, 2])
    with pytest.raises(Displaced):
        BatchWriter(connections[0]).write(replace(good, spans={**good.spans, ("t", 5): Span(7, 8)}), KNOWN)
    assert rows_of(Store(made)) == []
    assert Store(made).ask("select * from pganalytics.ledger") == []


def write_at_once(made: Settings, connections: list[StoreConnection], make: Callable[[StoreConnection], BatchWriter]) -> None:
    """Two sinks write the same records, which came to two partitions, and are held up before either has written a row."""
    errors: list[BaseException] = []

    def write(place: int) -> None:
        try:
            make(connections[place]).write(batch(seqs=[1 + place, 2, 3], partition=place), KNOWN)
        except psycopg.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(place,)) for place in (0, 1)]
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    with StoreConnection.open(made.store, name="test") as other, other.transaction():
        other.execute("lock table metrics.database in access exclusive mode")
        for thread in threads:
            thread.start()
        until(lambda: Store(made).one(waiting) == 2, what="two writers waiting")
    for thread in threads:
        thread.join(30)
    assert not errors


def prepare_rows(connections: list[StoreConnection]) -> None:
    """The ledger row exists: an absent one makes the second writer wait in its insert already."""
    BatchWriter(connections[0]).write(batch(seqs=[9], partition=9), KNOWN)


@pytest.mark.parametrize("known_stream", [False, True])
def test_two_sinks_write_each_record_once(made: Settings, connections: list[StoreConnection], known_stream: bool) -> None:
    if known_stream:
        prepare_rows(connections)
    write_at_once(made, connections, BatchWriter)
    assert rows_of(Store(made)) == [1, 2, 3] + [9] * known_stream
    assert store_is_sound(made)


def test_control_without_row_locks_the_store_has_records_twice(made: Settings, connections: list[StoreConnection]) -> None:
    """What the lock is for. The ledger, a union, does not show it; counting the rows does."""
    assert statement("ledger_lock") != WITHOUT_LOCK
    prepare_rows(connections)
    write_at_once(made, connections, partial(BatchWriter, ledger_lock=WITHOUT_LOCK))
    assert rows_of(Store(made)) == [1, 2, 2, 3, 3, 9]
    assert Store(made).seqs("stored", "c") == Ranges.numbers([1, 2, 3, 9])
    assert not store_is_sound(made)


class LocksFirst(BatchWriter):
    """Locks what is there before it makes what is not, and decides by that."""

    def _lock(self, batch: Batch) -> dict[Stream, Ranges]:
        columns = [["c"], [EPOCH], [Lane.NORMAL.value], ["{[1,10)}"]]
        found = self._connection.execute(statement("ledger_lock"), columns).fetchone()
        super()._lock(batch)
        return {STREAM: from_multirange(found[3]) if found else Ranges()}


def test_control_an_absent_row_that_is_locked_before_it_is_made_locks_nobody_out(
    made: Settings, connections: list[StoreConnection]
) -> None:
    """Two sinks and a stream that is new to both: why the insert comes first."""
    write_at_once(made, connections, LocksFirst)
    assert rows_of(Store(made)) == [1, 2, 2, 3, 3]
    assert not store_is_sound(made)


def store_is_sound(made: Settings) -> bool:
    snapshot = read_snapshot(made.store, None)
    return all(
        rows.count == len(rows.seqs) and rows.seqs == snapshot.ledger[stream].stored for stream, rows in snapshot.rows.items()
    )


def plan_by_count(whole: Batch, stored: Mapping[Stream, Ranges]) -> Plan:
    """What is new by how many rows there are: the seqs above that number. The ledger beside it stays what it is."""
    count = len(stored[STREAM])
    return replace(plan(whole, stored), new=tuple(row for row in whole.rows if row.identity.seq > count))


def replayed(connection: StoreConnection, chance: random.Random) -> None:
    """Forty seqs in batches, some of them again, some of them late: what restarts and the deferred topic make of a stream."""
    seqs, gone = list(range(1, 41)), [1]
    while seqs:
        taken, seqs = seqs[:6], seqs[6:]
        late = [taken.pop(chance.randrange(3))] if len(seqs) > 6 else []
        again = [chance.choice(gone), *taken[-1:]]
        BatchWriter(connection).write(batch(seqs=[*taken, *again], first=len(gone) - 1), KNOWN)
        gone += [*taken, *again]
        seqs = seqs[:3] + late + seqs[3:]


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_that_comes_late_and_twice_is_there_once(
    made: Settings, connections: list[StoreConnection], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """With the control: a ledger that counts rows, and does not know which ones, both loses and doubles, and is caught."""
    with connections[0].transaction(force_rollback=True):
        replayed(connections[0], random.Random(seed))
        assert seqs_in(connections[0]) == Counter(range(1, 41))
    monkeypatch.setattr(writer, "plan", plan_by_count)
    replayed(connections[0], random.Random(seed))
    found = seqs_in(connections[0])
    assert set(range(1, 41)) - found.keys()
    assert any(count > 1 for count in found.values())
    assert not store_is_sound(made)


def seqs_in(connection: StoreConnection) -> Counter[int]:
    return Counter(seq for (seq,) in connection.execute("select seq from metrics.database").fetchall())


COLUMNS = ("stored", "dead", "shed", "missing", "deferred")
ACTS = st.lists(st.tuples(st.sampled_from(["row", "dead", "shed", "deferred", "missing"]), st.integers(1, 12)), max_size=12)


@pytest.fixture
def replaying(connections: list[StoreConnection]) -> StoreConnection:
    return connections[0]


def reading_of(act: str, seq: int, offset: int) -> Reading:
    if act == "row":
        return batch(seqs=[seq], first=offset).readings[0]
    if act == "dead":
        source = record("c", seq)
        poison = read(message(source, offset=offset, value=b"x"), KNOWN, events_topic="e", now_us=now_us())
        assert isinstance(poison, Poison)
        return poison
    kind = EventKind(act)
    facts = Event(kind, Source.STREAMS, 0, "c", EPOCH, Lane.NORMAL, Ranges.numbers([seq]), "t", 0, offset, "")
    return Noticed(message(), facts)


def precedence(columns: dict[str, set[int]]) -> dict[str, set[int]]:
    """Each column minus all before it."""
    before: set[int] = set()
    settled = {}
    for name in COLUMNS:
        settled[name] = columns[name] - before
        before |= columns[name]
    return settled


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTS)
def test_precedence_is_that_of_the_model(replaying: StoreConnection, acts: list[tuple[str, int]]) -> None:
    """Stored, dead, shed, missing, deferred: whatever comes when, the first of these that ever held counts."""
    model: dict[str, set[int]] = {name: set() for name in COLUMNS}
    with replaying.transaction(force_rollback=True):
        offset = 0
        for act, seq in acts:
            if act == "missing":  # the accountant's, of a hole only
                model["missing"].add(seq)
                replaying.execute(
                    "update pganalytics.ledger l set missing = l.missing + m.seqs - l.stored - l.dead - l.shed, "
                    "deferred = l.deferred - m.seqs from (select int8multirange(int8range($1, $1 + 1)) as seqs) m",
                    [seq],
                )
                if not replaying.execute("select 1 from pganalytics.ledger").fetchone():
                    model["missing"].discard(seq)
            else:
                model["stored" if act == "row" else act].add(seq)
                one = batch([reading_of(act, seq, offset)], first=offset, following=offset + 1)
                BatchWriter(replaying).write(one, KNOWN)
                offset += 1
            model = precedence(model)
        names = ", ".join(f"{name}::text" for name in COLUMNS)
        found = replaying.execute(f"select {names}, emitted from pganalytics.ledger".encode()).fetchone()
        rows = sorted(seq for (seq,) in replaying.execute("select seq from metrics.database").fetchall())
    if found is None:
        assert not any(model.values())
        return
    assert {name: set(from_multirange(text)) for name, text in zip(COLUMNS, found, strict=False)} == model
    assert found[-1] == max((seq for act, seq in acts if act != "missing"), default=0)
    assert rows == sorted(model["stored"])


def test_heartbeats_are_a_union(made: Settings, connections: list[StoreConnection]) -> None:
    """Neither the order nor the age of heartbeats matters."""
    writer, store = BatchWriter(connections[0]), Store(made)
    beats = [
        heartbeat("c", 2, {Lane.NORMAL: 10}, unsent=[(EPOCH, Lane.NORMAL, 3, 10)], old=[(7, (1, 2, 3), True)], final=True),
        heartbeat("c", 1, {Lane.NORMAL: 5}, unsent=[(EPOCH, Lane.NORMAL, 1, 2)]),
    ]
    for offset, each in enumerate(beats):
        judged = read(message(each, offset=offset, at_us=now_us()), KNOWN, events_topic="e", now_us=now_us())
        writer.write(batch([judged], first=offset, following=offset + 1), KNOWN)
    assert str(store.seqs("sent", "c")) == "1-5"
    assert store.one("select emitted from pganalytics.ledger where lane = 'normal' and epoch = %s", EPOCH) == 10
    assert str(store.seqs("sent", "c", Lane.BULK, 7)) == "1-3"
    assert store.ask("select epoch, spool_id, final from pganalytics.epochs order by epoch") == [
        (7, None, True),
        (EPOCH, "spool", True),
    ]


def test_the_list_of_dead_letters_has_each_place_once(made: Settings, connections: list[StoreConnection]) -> None:
    writer, store = BatchWriter(connections[0]), Store(made)
    dead = reading_of("dead", 4, 0)
    unreadable = Poison(message(offset=1), Reason.HEADERS_UNREADABLE, "header x\0 is\ud800 odd")
    writer.write(batch([dead, unreadable], following=2), KNOWN)
    writer.write(batch([dead], partition=1, following=1), KNOWN)
    assert store.ask('select "offset", collector, seq, reason from pganalytics.dead_letters order by 1') == [
        (0, "c", 4, "damaged"),
        (1, None, None, "headers_unreadable"),
    ]
    assert str(store.seqs("dead", "c")) == "4"


def test_sinks_that_share_streams_never_deadlock(made: Settings, connections: list[StoreConnection]) -> None:
    """Locks are taken in key order, whatever the order in the batch."""
    errors: list[BaseException] = []

    def work(connection: StoreConnection, partition: int) -> None:
        try:
            for first in range(0, 40, 2):
                mixed = batch(seqs=[first + 1, first + 2], partition=partition, first=first)
                both = [replace(each, identity=replace(each.identity, collector=name)) for each in mixed.rows for name in "ba"]
                BatchWriter(connection).write(replace(mixed, readings=tuple(both[:: 1 if partition else -1])), KNOWN)
        except psycopg.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(each, place)) for place, each in enumerate(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert str(Store(made).seqs("stored", "a")) == "1-40"
