"""Metrics `replication`, `replication_slots` and `wal_receiver`: a primary and its standby, and what the views themselves say."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from integration.pairs import Pair, Row, answer_of, calm, configure, context_of, rows_of, us, value, view
from pganalytics.producers.emission import emit_gauges
from pganalytics.producers.redaction import Redaction
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import builtin_schemas
from waiting import until

SEGMENT = 16 << 20


@pytest.fixture
def primary(pair: Pair) -> Iterator[psycopg.Connection[Any]]:
    with pair.connect() as connection:
        yield connection


@pytest.fixture
def standby(pair: Pair) -> Iterator[psycopg.Connection[Any]]:
    with pair.connect_standby() as connection:
        yield connection


def streams(pair: Pair) -> bool:
    return [row["status"] for row in rows_of(pair.standby_asker, "wal_receiver")] == ["streaming"]


def test_a_standby_is_seen_from_its_primary(pair: Pair, primary: psycopg.Connection[Any]) -> None:
    """With a slot and as synchronous; what the view tells of it."""
    primary.execute("select pg_create_physical_replication_slot('of_standby')")
    configure(pair.standby, primary_slot_name="of_standby", hot_standby_feedback="on")
    configure(pair.primary, synchronous_standby_names="standby")
    try:
        until(lambda: value(primary, "select active from pg_replication_slots where slot_name = 'of_standby'"))
        until(lambda: value(primary, "select count(*) from pg_stat_replication where sync_state = 'sync'") == 1)
        pair.caught_up()
        compared = compare_senders(pair, primary)
        assert (compared["slot_name"], compared["application_name"], compared["state"]) == ("of_standby", "standby", "streaming")
        assert (compared["sync_state"], compared["sync_priority"], compared["client_addr"]) == ("sync", 1, "127.0.0.1")
        (slot,) = rows_of(pair.primary_asker, "replication_slots")
        assert (slot["active"], slot["active_pid"], slot["slot_type"]) == (True, compared["pid"], "physical")
    finally:
        configure(pair.primary, synchronous_standby_names="")
        configure(pair.standby, primary_slot_name="", hot_standby_feedback="")
        until(lambda: not value(primary, "select active from pg_replication_slots where slot_name = 'of_standby'"))
        primary.execute("select pg_drop_replication_slot('of_standby')")
        until(lambda: streams(pair))


def test_only_a_primary_has_replicas_and_only_a_standby_a_receiver(pair: Pair, primary: psycopg.Connection[Any]) -> None:
    """What decides about their records a minute."""
    primary.execute("select pg_create_physical_replication_slot('of_nobody')")
    try:
        until(lambda: streams(pair))
        found = {
            asker: {metric for metric in ("replication", "replication_slots", "wal_receiver") if rows_of(asker, metric)}
            for asker in (pair.primary_asker, pair.standby_asker)
        }
        assert list(found.values()) == [{"replication", "replication_slots"}, {"wal_receiver"}]
    finally:
        primary.execute("select pg_drop_replication_slot('of_nobody')")


def compare_senders(pair: Pair, primary: psycopg.Connection[Any]) -> Row:
    """The metric's row, compared with the view."""
    behind, address = "pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) as behind", "host(client_addr) as address"
    raw = f"select *, {behind}, {address} from pg_stat_replication"
    (told,), (row,) = calm(lambda: view(primary, raw), lambda: rows_of(pair.primary_asker, "replication"))
    same = ("pid", "usename", "application_name", "client_hostname", "client_port", "state", "sync_state", "sync_priority")
    assert {name: row[name] for name in same} == {name: told[name] for name in same}
    times = ("backend_start", "write_lag", "flush_lag", "replay_lag", "reply_time")
    assert [row[name] for name in times] == [pytest.approx(us(told[name]), abs=1) if told[name] else None for name in times]
    assert (row["replay_lag_bytes"], row["client_addr"]) == (told["behind"], told["address"])
    return dict(row)


def test_a_standby_that_does_not_replay_lags(
    pair: Pair, primary: psycopg.Connection[Any], standby: psycopg.Connection[Any]
) -> None:
    """Seen from both sides, in bytes; in time where all that counts is known."""
    pair.caught_up()
    (received,) = rows_of(pair.standby_asker, "wal_receiver")
    assert (received["replay_state"], received["replay_delay"], received["unreplayed_bytes"]) == ("not paused", 0, 0)
    standby.execute("select pg_wal_replay_pause()")
    primary.execute("select pg_logical_emit_message(true, 'p', repeat('x', 1000000))")
    caught = "select pg_last_wal_receive_lsn() >= %s::pg_lsn"
    until(lambda: value(standby, caught, value(primary, "select pg_current_wal_flush_lsn()::text")))
    until(lambda: rows_of(pair.primary_asker, "replication")[0]["flush_lag_bytes"] == 0)
    difference = "select pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint"
    (behind,), sent, received = calm(
        lambda: (value(standby, difference),),
        lambda: rows_of(pair.primary_asker, "replication")[0],
        lambda: rows_of(pair.standby_asker, "wal_receiver")[0],
    )
    assert 1_000_000 < sent["replay_lag_bytes"] < 1_100_000
    assert received["unreplayed_bytes"] == behind == sent["replay_lag_bytes"]
    assert (sent["sent_lag_bytes"], sent["write_lag_bytes"]) == (0, 0)
    assert received["replay_state"] == "paused"
    committed = us(value(standby, "select pg_last_xact_replay_timestamp()"))
    assert received["last_replayed_commit"] == pytest.approx(committed, abs=1)
    assert received["replay_delay"] > 0
    standby.execute("select pg_wal_replay_resume()")
    pair.caught_up()
    (received,) = rows_of(pair.standby_asker, "wal_receiver")
    assert (received["replay_state"], received["replay_delay"], received["unreplayed_bytes"]) == ("not paused", 0, 0)


def test_positions_and_roles(pair: Pair, primary: psycopg.Connection[Any], standby: psycopg.Connection[Any]) -> None:
    """The same end of WAL on both; a primary receives nothing, this standby sends nothing."""

    def ends() -> set[int]:
        contexts = [context_of(asker, metric) for asker in askers for metric in ("replication", "replication_slots")]
        (row,) = rows_of(pair.standby_asker, "wal_receiver")
        return {one["wal_position"] for one in contexts} | {row[f"{what}_position"] for what in positions}

    askers, positions = (pair.primary_asker, pair.standby_asker), ("written", "flushed", "received", "replayed", "latest_end")
    pair.caught_up()
    end = value(primary, "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    until(lambda: len(ends()) == 1, what="one end of WAL everywhere")
    assert min(ends()) >= end
    for metric in ("replication", "replication_slots"):
        assert [context_of(asker, metric)["in_recovery"] for asker in askers] == [False, True]
        assert rows_of(pair.standby_asker, metric) == []
    assert rows_of(pair.primary_asker, "wal_receiver") == []
    (row,) = rows_of(pair.standby_asker, "wal_receiver")
    (told,) = view(standby, "select * from pg_stat_wal_receiver")
    names = {
        "pid": "pid",
        "status": "status",
        "slot_name": "slot_name",
        "sender_host": "sender_host",
        "sender_port": "sender_port",
    }
    names |= {"receive_start_timeline": "receive_start_tli", "received_timeline": "received_tli"}
    assert {name: row[name] for name in names} == {name: told[column] for name, column in names.items()}
    assert row["receive_start_position"] % SEGMENT == 0
    assert row["latest_end_time"] == pytest.approx(us(told["latest_end_time"]), abs=1)
    assert row["last_msg_send_time"] <= us(value(primary, "select clock_timestamp()"))


def test_a_standby_that_lost_its_primary_is_a_row_with_a_negative_difference(pair: Pair) -> None:
    """Started without its primary it has received less than it has replayed; the number survives all the way into a record."""
    pair.caught_up()
    configure(pair.standby, primary_conninfo="host=127.0.0.1 port=1")
    pair.standby.restart()
    try:
        until(lambda: rows_of(pair.standby_asker, "wal_receiver")[0]["received_position"] is not None)
        answer = answer_of(pair.standby_asker, "wal_receiver")
        schema = builtin_schemas()["wal_receiver"]
        emission = emit_gauges(schema, answer, {}, had_rows=False, redaction=Redaction.LITERALS)
        codec = RecordCodec(schema)
        assert emission.values is not None
        body = codec.decode(codec.assemble(Identity("a", 1, Lane.CRITICAL, 1), codec.encode_rest(emission.values)))
        assert body["pid"] == [0]
        assert body["status"] == ["\0"]
        assert body["replay_delay"][0] > 0 or body["last_replayed_commit"] == [-(2**63)]
        behind = body["unreplayed_bytes"][0]
        assert behind < 0
        assert behind == body["received_position"][0] - body["replayed_position"][0]
        assert -behind == body["replayed_position"][0] % SEGMENT
    finally:
        configure(pair.standby, primary_conninfo="")
        until(lambda: streams(pair))


def test_slots_are_what_the_view_says(pair: Pair, primary: psycopg.Connection[Any]) -> None:
    """A logical slot, which holds back the catalogue, and a physical one, which holds back WAL until it is lost."""
    further = {13: "", 14: ", false, true", 15: ", false, true", 16: ", false, true"}.get(pair.major, ", false, true, true")
    primary.execute(f"select pg_create_logical_replication_slot('logical', 'pgoutput'{further})".encode())
    primary.execute("select pg_create_physical_replication_slot('physical', true)")
    try:
        for _ in range(3):
            primary.execute("select pg_current_xact_id()")
        rows = compare_slots(pair, primary)
        assert rows["logical"]["catalog_xmin_age"] >= 3
        assert (rows["logical"]["datname"], rows["logical"]["plugin"]) == (pair.watched.dbname, "pgoutput")
        assert rows["logical"].get("two_phase", True)
        assert rows["logical"].get("failover", True)
        assert rows["physical"]["wal_status"] == "reserved"
        assert rows["physical"]["retained_bytes"] > 0
        configure(pair.primary, max_slot_wal_keep_size="1MB", wal_keep_size="0")
        until(lambda: value(primary, "show max_slot_wal_keep_size") == "1MB")
        for _ in range(3):
            primary.execute("select pg_logical_emit_message(true, '', '')")
            primary.execute("select pg_switch_wal()")
        pair.caught_up()
        primary.execute("checkpoint")
        until(lambda: compare_slots(pair, primary)["physical"]["wal_status"] == "lost")
        lost = compare_slots(pair, primary)["physical"]
        assert lost.get("invalidation_reason", "wal_removed") == "wal_removed"
        assert ("inactive_since" in lost) == (pair.major >= 17)
    finally:
        configure(pair.primary, max_slot_wal_keep_size="", wal_keep_size="")
        primary.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots")
    assert rows_of(pair.primary_asker, "replication_slots") == []


def compare_slots(pair: Pair, primary: psycopg.Connection[Any]) -> dict[str, Row]:
    """Rows by name. Every column of the view has its field, and the same value."""
    query = (
        "select *, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) as kept, "
        "pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) as unconfirmed, "
        "age(xmin) as xmin_age, age(catalog_xmin) as catalog_xmin_age from pg_replication_slots"
    )
    raw, ours = calm(lambda: view(primary, query), lambda: rows_of(pair.primary_asker, "replication_slots"))
    rows: dict[str, Row] = {row["slot_name"]: row for row in ours}
    assert len(rows) == len(raw)
    for told in raw:
        row = rows[told["slot_name"]]
        assert (row["retained_bytes"], row["unconfirmed_bytes"]) == (told.pop("kept"), told.pop("unconfirmed"))
        assert row["datname"] == told.pop("database")
        restart, confirmed, two_phase = (told.pop(name, None) for name in ("restart_lsn", "confirmed_flush_lsn", "two_phase_at"))
        assert row["restart_position"] == bytes_of(restart)
        assert row["confirmed_flush_position"] == bytes_of(confirmed)
        assert row.get("two_phase_position") == bytes_of(two_phase)
        told.pop("xmin"), told.pop("catalog_xmin")
        if "inactive_since" in told:
            assert row["inactive_since"] == pytest.approx(us(told.pop("inactive_since")), abs=1)
        if told.get("conflicting", False) is None:
            told["conflicting"] = False
        assert {name: row[name] for name in told} == told
    return rows


def bytes_of(lsn: str | None) -> int | None:
    """A position as a number."""
    if lsn is None:
        return None
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)
