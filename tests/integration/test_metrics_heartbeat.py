"""What the heartbeat carries of its target, against the server's own views: on a primary, on its standby, after a promotion."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.pairs import Pair, Row, calm, pair_of, rows_of, us, value, view
from integration.producers_feed import Asker
from waiting import until


def reading(asker: Asker) -> Row:
    (row,) = rows_of(asker, "heartbeat")
    return row


def told(connection: psycopg.Connection[Any]) -> Row:
    """The same from elsewhere: settings, the control file's functions one by one, ages by subtraction of counters."""
    query = """
        select system_identifier::text as system_identifier, timeline_id as timeline,
            case when pg_is_in_recovery() then 'standby' else 'primary' end as role,
            current_setting('server_version_num')::int as server_version,
            current_setting('max_connections')::int as max_connections,
            pg_postmaster_start_time() as postmaster_start,
            (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections
        from pg_control_system(), pg_control_checkpoint()"""
    (row,) = view(connection, query)
    ages = view(connection, "select age(datfrozenxid) as xid, mxid_age(datminmxid) as multixact from pg_database")
    row["xid_left"] = 2**31 - max(one["xid"] for one in ages)
    row["multixact_left"] = 2**31 - max(one["multixact"] for one in ages)
    return row


@pytest.mark.parametrize("role", ["primary", "standby"])
def test_it_is_what_the_server_says(pair: Pair, role: str) -> None:
    pair.caught_up()
    with pair.connect() if role == "primary" else pair.connect_standby() as connection:
        asker = pair.primary_asker if role == "primary" else pair.standby_asker
        reading(asker)  # its connection is one of those that are counted
        wanted, got = calm(lambda: told(connection), lambda: reading(asker))
        assert abs(got["postmaster_start"] - (us(wanted.pop("postmaster_start")) or 0)) <= 1
        assert {name: got[name] for name in wanted} == wanted
        assert got["role"] == role
        now = value(connection, "select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
        assert 0 <= now - got["server_time"] < 60_000_000


@pytest.mark.parametrize("role", ["primary", "standby"])
def test_an_old_transaction_and_what_it_holds_back(pair: Pair, role: str) -> None:
    """The oldest of all: here a session's; a younger one does not hide it."""
    pair.caught_up()
    asker = pair.primary_asker if role == "primary" else pair.standby_asker
    connect = pair.connect if role == "primary" else pair.connect_standby
    with connect() as old, connect() as young, pair.connect() as writer:
        began = value(old, "select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
        for session in (old, young):
            session.execute("begin isolation level repeatable read")
            session.execute("select 1 from pg_class limit 1")
            for _ in range(5):
                writer.execute("select pg_current_xact_id()")
        pair.caught_up()
        got = reading(asker)
        assert 0 < got["oldest_transaction"] <= got["server_time"] - began + 100_000
        assert got["oldest_transaction"] >= age_of(connect, old.info.backend_pid) - 60_000_000
        assert got["oldest_xmin_age"] >= 10


def age_of(connect: Any, pid: int) -> int:
    with connect() as admin:
        return int(value(admin, "select extract(epoch from now() - xact_start) * 1e6 from pg_stat_activity where pid = %s", pid))


def test_slots_and_prepared_transactions_hold_back(pair: Pair) -> None:
    with pair.connect() as admin:
        until(lambda: (reading(pair.primary_asker)["oldest_xmin_age"] or 0) < 3)
        admin.execute("begin; create table held_back (n int); prepare transaction 'old'")
        try:
            for _ in range(10):
                admin.execute("select pg_current_xact_id()")
            assert reading(pair.primary_asker)["oldest_xmin_age"] >= 10
        finally:
            admin.execute("rollback prepared 'old'")
        until(lambda: (reading(pair.primary_asker)["oldest_xmin_age"] or 0) < 3)
        admin.execute("select pg_create_logical_replication_slot('old', 'pgoutput')")
        try:
            for _ in range(10):
                admin.execute("select pg_current_xact_id()")
            assert reading(pair.primary_asker)["oldest_xmin_age"] >= 10
        finally:
            admin.execute("select pg_drop_replication_slot('old')")


@pytest.mark.parametrize("major", [13, 18])
def test_a_promoted_standby_tells_of_its_new_timeline_at_once(major: int, tmp_path: Path) -> None:
    """Before the checkpoint that follows a promotion, which takes its time."""
    with pair_of(major, tmp_path) as pair:
        assert (reading(pair.standby_asker)["role"], reading(pair.standby_asker)["timeline"]) == ("standby", 1)
        with pair.connect_standby() as connection:
            connection.execute("alter system set checkpoint_completion_target = 0.9")
            assert value(connection, "select pg_promote()") is True
        got = reading(pair.standby_asker)
        assert (got["role"], got["timeline"]) == ("primary", 2)
        assert got["system_identifier"] == reading(pair.primary_asker)["system_identifier"]
