"""What top knows: the newest of each, whatever comes twice, late or in another order; bounded, and old when it is old."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.cli.top import extracts
from pganalytics.cli.top import fleet as module
from pganalytics.cli.top.fleet import Fleet, Target
from pganalytics.cli.top.fleet_rows import fleet_rows, state_of
from pganalytics.cli.top.looking import Looking
from pganalytics.cli.top.records import MOST_SCHEMAS, SHOWN, Decoder, Seen
from pganalytics.cli.top.rows import FleetRow
from pganalytics.cli.top.screen import Moment, picture
from pganalytics.cli.top.statement_rows import MOST_OF_EACH, statement_rows
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.metric import canonical_text, load_schema
from unit.cli.top_feed import NOW, S, beat, fleet_of, seen, statements


def databases(seq: int, *, at: int = NOW, commits: int = 60, **values: Any) -> Seen:
    rows: dict[str, Any] = {"datid": [5, 0], "datname": ["shop", "\0"], "xact_commit": [commits, 0], "blks_hit": [3, 1]}
    return seen("a", "database", seq, at=at, **rows | values)


def tps(fleet: Fleet, now: int = NOW) -> float | None:
    return fleet_rows(fleet, now)[0].transactions_per_s


# Which record counts


def test_a_record_that_comes_twice_or_late_changes_nothing() -> None:
    old, new = databases(1, at=NOW - 60 * S, commits=6), databases(2)
    assert tps(fleet_of(old, new)) == 1.0
    assert tps(fleet_of(new, new, old, new)) == 1.0


@given(st.permutations(range(6)), st.lists(st.integers(0, 5)))
def test_any_order_with_any_repetitions_leads_to_the_same(order: list[int], again: list[int]) -> None:
    records = [beat("a", 1), beat("a", 2, connections=5), databases(1), databases(2), statements("a", 3), statements("a", 4)]
    straight, other = fleet_of(*records), fleet_of(*(records[at] for at in [*order, *again]))
    for metric in ("heartbeat", "database", "statements"):
        kept = [getattr(one.targets["a"], metric) for one in (straight, other)]
        assert replace(kept[0], patience_s=0) == replace(kept[1], patience_s=0)


def test_between_epochs_the_clock_of_the_agent_decides_unless_nothing_else_comes() -> None:
    here, elsewhere = databases(9, commits=60), databases(1, epoch=5, at=NOW - 5 * S, commits=120)
    assert tps(fleet_of(here, elsewhere)) == 1.0
    assert tps(fleet_of(elsewhere, here)) == 1.0
    set_back = replace(elsewhere, heard_us=NOW + 121 * S)
    assert tps(fleet_of(here, set_back), NOW + 121 * S) == 2.0


def test_a_snapshot_in_parts_counts_when_all_are_there() -> None:
    only: dict[str, Any] = {"queryid": [1], "dbid": [5], "remainder": [False], "calls": [60], "total_exec_time": [1]}
    first = statements("a", 5, parts=2, **only, rows=[], shared_blks_hit=[], shared_blks_read=[])
    second = replace(first, body=dict(first.body) | {"part": 2, "seq": 6, "queryid": [2]})
    before = statements("a", 4, at=NOW - 60 * S)
    assert len(statement_rows(fleet_of(before, second, second), NOW, "a")) == 3
    rows = statement_rows(fleet_of(before, second, first), NOW, "a")
    assert [row.queryid for row in rows] == [1, 2]


@pytest.mark.parametrize(("part", "parts"), [(0, 2), (3, 2), (1, 10**9), (1, 0)])
def test_parts_that_cannot_be_are_passed_over(part: int, parts: int) -> None:
    fleet = fleet_of(databases(1, part=part, parts=parts))
    assert fleet.targets["a"].database is None


# Bounds


def test_targets_texts_and_pending_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TARGETS", 3)
    monkeypatch.setattr(module, "MOST_TEXTS", 4)
    monkeypatch.setattr(module, "MOST_PENDING", 2)
    monkeypatch.setattr(module, "MOST_SIZES", 2)
    fleet = fleet_of(*(beat(f"t{number}", at=NOW + number) for number in range(5)))
    assert list(fleet.targets) == ["t2", "t3", "t4"]
    fleet.note(seen("t4", "query_text", queryid=list(range(9)), query=[f"q{number}" for number in range(9)]))
    assert [fleet.text("t4", number) for number in (4, 5, 8)] == [None, "q5", "q8"]
    for seq in range(1, 9):
        fleet.note(statements("t4", seq, at=NOW + seq, parts=2))
    assert len(fleet._pending) == 2
    for number in range(5):
        fleet.note(seen("t4", "sizes", number + 1, datname=f"d{number}", database_size=7))
    assert len(fleet.targets["t4"].sizes) == 2


def test_rows_and_texts_of_a_snapshot_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracts, "MOST_STATEMENTS", 2)
    many = statements(
        "a", queryid=[1, 2, 3, 4], dbid=[5] * 4, remainder=[False] * 4, calls=[1, 2, 4, 8], total_exec_time=[1, 30, 2, 10],
        rows=[1] * 4, shared_blks_hit=[], shared_blks_read=[],
    )  # fmt: skip
    kept = fleet_of(many).targets["a"].statements
    assert kept is not None
    assert (list(kept.value.queryid), list(kept.value.time_ns), list(kept.value.calls)) == (
        [2, 4, -(2**63)],
        [30, 10, 3],
        [2, 8, 5],
    )
    long = seen("a", "query_text", queryid=[1], query=["x" * 100_000])
    assert len(fleet_of(long).text("a", 1) or "") == extracts.TEXT_CHARS


def test_a_frozen_fleet_stays_as_it_is() -> None:
    fleet = fleet_of(databases(1))
    held = fleet.frozen()
    fleet.note(databases(2, at=NOW + S, commits=600))
    fleet.note(beat("b"))
    assert (tps(held), tps(fleet)) == (1.0, 10.0)
    assert list(held.targets) == ["a"]


def test_who_ended_long_ago_is_forgotten() -> None:
    fleet = fleet_of(beat("a", final=True), beat("b"))
    fleet.forget_ended(NOW + 900 * S)
    assert set(fleet.targets) == {"a", "b"}
    fleet.forget_ended(NOW + 901 * S)
    assert set(fleet.targets) == {"b"}


# Ages and states


@pytest.mark.parametrize(
    ("record", "others", "after_s", "wanted"),
    [
        (beat("a"), [], 90, ("up", "")),
        (beat("a", up=False, error="refused"), [], 0, ("down", "refused")),
        (beat("a"), [beat("b", at=NOW + 91 * S)], 91, ("silent", "")),
        (beat("a"), [], 91, ("?", "")),
        (beat("a", final=True), [], 10_000, ("ended", "")),
        (databases(1), [], 0, ("?", "")),
    ],
)
def test_states(record: Seen, others: list[Seen], after_s: int, wanted: tuple[str, str]) -> None:
    fleet = fleet_of(record, *others)
    assert state_of(fleet, fleet.targets["a"], NOW + after_s * S) == wanted


def test_who_was_told_to_read_less_often_is_not_old_before_its_time() -> None:
    usual = fleet_of(databases(1, at=NOW - 60 * S), databases(2))
    slowed = fleet_of(databases(1, at=NOW - 300 * S), databases(2))
    mad = fleet_of(databases(1, at=NOW - 86_400 * S), databases(2))
    for fleet, patience_s in ((usual, 180), (slowed, 900), (mad, 1800)):
        assert tps(fleet, NOW + patience_s * S) == 1.0
        assert tps(fleet, NOW + (patience_s + 1) * S) is None


def test_settings_say_how_often_metrics_are_read() -> None:
    fleet = Fleet({"database": 5, "heartbeat": 5})
    fleet.note(databases(1))
    assert (tps(fleet, NOW + 15 * S), tps(fleet, NOW + 16 * S)) == (1.0, None)
    assert (fleet.is_quiet(NOW + 15 * S), fleet.is_quiet(NOW + 16 * S)) == (False, True)


def test_what_comes_out_of_a_spool_is_as_old_as_it_is_whatever_the_clock_of_its_agent_says() -> None:
    clock = -3600 * S
    now_beat = replace(beat("a", at=NOW + clock), appended_us=NOW, heard_us=NOW)
    from_spool = replace(databases(1, at=NOW + clock - 600 * S), appended_us=NOW, heard_us=NOW)
    target = fleet_of(now_beat, from_spool).targets["a"]
    assert target.heartbeat is not None
    assert target.database is not None
    assert target.age_s(target.heartbeat, NOW + 2 * S) == 2
    assert target.age_s(target.database, NOW + 2 * S) == 602


def row(*records: Seen) -> FleetRow:
    return fleet_rows(fleet_of(*records), NOW)[0]


def test_nothing_that_is_not_known_is_a_number() -> None:
    only = row(beat("a", up=False, error="refused", connections=7))
    assert (only.standing, only.connections, only.active, only.blocked, only.lag_s, only.size_bytes, only.databases) == (
        "down: refused", None, None, None, None, None, None,
    )  # fmt: skip


def test_a_row_of_the_fleet() -> None:
    activity: dict[str, Any] = {
        "datid": [5, 5, 5, 5, 0],
        "datname": ["shop"] * 4 + ["\0"],
        "backend_type": ["client backend"] * 4 + ["checkpointer"],
        "state": ["active", "active", "idle in transaction", "idle", "\0"],
        "wait_event_type": ["\0", "Lock", "Client", "Client", "Activity"],
        "sessions": [2, 3, 1, 9, 1],
    }
    found = row(
        beat("a", connections=15, max_connections=100, oldest_transaction=5 * S),
        databases(1, xact_rollback=[20, 0], blks_read=[1, 0], tup_inserted=[30, 0]),
        seen("a", "activity", **activity),
        seen("a", "replication", 2, pid=[1, 2], replay_lag=[40_000, -(2**63)], replay_lag_bytes=[9, 4096]),
        seen("a", "sizes", 1, datname="shop", database_size=70),
        seen("a", "sizes", 2, datname="other", database_size=7),
    )
    assert found == FleetRow(
        target="a",
        state="up",
        error="",
        heartbeat_age_s=0.0,
        role="primary",
        server_version=170010,
        transactions_per_s=80 / 60,
        rollback_ratio=0.25,
        hit_ratio=0.8,
        active=5,
        waiting=3,
        idle_in_transaction=1,
        connections=15,
        max_connections=100,
        blocked=3,
        oldest_transaction_s=5.0,
        lag_s=0.04,
        lag_bytes=4096,
        databases=1,
        size_bytes=70,
        size_is_whole=True,
        rows_read_per_s=0.0,
        rows_written_per_s=0.5,
        temp_bytes_per_s=0.0,
        deadlocks=0,
    )


def test_a_size_that_lacks_a_database_is_marked() -> None:
    both = databases(1, datid=[5, 6, 1], datname=["shop", "other", "template1"], xact_commit=[1, 1, 1], blks_hit=[])
    for sizes, wanted in (({"shop": 2048}, ">2.0 kB"), ({"shop": 2048, "other": 2048, "dropped": 9}, " 4.0 kB")):
        records = [seen("a", "sizes", seq, datname=name, database_size=size) for seq, (name, size) in enumerate(sizes.items(), 1)]
        shown = picture(Moment(fleet_of(beat("a"), both, *records), NOW), Looking(), 160)
        assert wanted in shown.lines[-1].plain


# Statements


def test_statements_are_by_second_by_call_and_by_share() -> None:
    rows = statement_rows(
        fleet_of(statements("a"), databases(1), seen("a", "query_text", queryid=[7], query=["select ?"])), NOW, "a"
    )
    first, second, rest = rows
    assert (first.database, first.text, second.text, rest.text) == ("shop", "select ?", "queryid 8", "(all others)")
    assert (first.share, first.load, first.calls_per_s, first.ms_per_call, first.rows_per_s, first.hit_ratio) == (
        0.5, 0.5, 1.0, 500.0, 2.0, 0.75,
    )  # fmt: skip
    assert sum(one.share for one in rows) == pytest.approx(1)


def test_of_a_fleet_intervals_of_different_lengths_are_compared_by_second() -> None:
    slow = statements("b", every_s=120)
    rows = statement_rows(fleet_of(statements("a"), slow), NOW, None)
    assert {(one.target, one.queryid): round(one.share, 3) for one in rows} == {
        ("a", 7): 0.333, ("a", 8): 0.167, ("b", 7): 0.167, ("b", 8): 0.083,
    }  # fmt: skip
    count = MOST_OF_EACH + 10
    columns: dict[str, Any] = {name: [1] * count for name in ("queryid", "dbid", "calls", "total_exec_time")}
    columns |= {name: [] for name in ("remainder", "rows", "shared_blks_hit", "shared_blks_read")}
    many = fleet_of(statements("a", **columns))
    assert (len(statement_rows(many, NOW, None)), len(statement_rows(many, NOW, "a"))) == (MOST_OF_EACH, count)


def test_statements_that_the_role_may_not_see_and_those_without_an_interval() -> None:
    hidden = statements("a", queryid=[-(2**63)] * 3, remainder=[])
    assert {one.text for one in statement_rows(fleet_of(hidden), NOW, "a")} == {"(a text that the role may not see)"}
    assert statement_rows(fleet_of(statements("a", every_s=0)), NOW, "a") == []
    assert statement_rows(fleet_of(statements("a")), NOW, "nobody") == []


# Decoding


def test_only_bodies_that_are_what_their_headers_say_are_taken() -> None:
    record = databases(1)
    codec = RecordCodec(record.schema)
    rest = codec.encode_rest(
        {name: value for name, value in record.body.items() if name not in ("collector", "epoch", "lane", "seq")}
    )
    body = codec.assemble(record.headers.identity, rest)
    other = codec.assemble(replace(record.headers.identity, seq=2), rest)
    times = {"appended_us": 1, "heard_us": 2}
    decoder = Decoder()
    taken = decoder.decode(record.headers, body, **times)
    assert taken is not None
    assert dict(taken.body) == dict(record.body)
    for value, headers in (
        (None, record.headers),
        (body[:-1], record.headers),
        (other, record.headers),
        (body, replace(record.headers, metric="statements")),
        (body, replace(record.headers, schema="0" * 16)),
    ):
        assert decoder.decode(headers, value, **times) is None


def test_a_newer_schema_is_learned_and_what_it_lacks_is_not_known() -> None:
    record = databases(1)
    lacks = ("xact_commit", "deadlocks")
    newer = dict(record.schema.avro)
    newer["fields"] = [field for field in newer["fields"] if field["name"] not in lacks]
    schema = load_schema(canonical_text(newer))
    codec = RecordCodec(schema)
    values = {name: value for name, value in record.body.items() if name not in ("collector", "epoch", "lane", "seq", *lacks)}
    body = codec.assemble(record.headers.identity, codec.encode_rest(values))
    headers = replace(record.headers, schema=schema.id)
    decoder = Decoder()
    assert decoder.wants(schema.id)
    decoder.learn({schema.id: schema.text}, [schema.id, "f" * 16])
    assert not decoder.wants(schema.id)
    assert not decoder.wants("f" * 16)
    taken = decoder.decode(headers, body, appended_us=NOW, heard_us=NOW)
    assert taken is not None
    assert fleet_rows(fleet_of(taken), NOW)[0].hit_ratio == 1.0
    decoder.learn({}, [f"{number:016x}" for number in range(MOST_SCHEMAS)])
    assert not decoder.wants("e" * 16)


def test_every_metric_that_is_read_has_a_place() -> None:
    assert {*module.READERS, "query_text", "sizes"} == SHOWN
    assert {"name", "sizes", "heard_us", *module.READERS} == set(Target.__dataclass_fields__)
