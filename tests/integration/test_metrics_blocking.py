"""Metric `blocking`: chains of waiting sessions as we made them, and as pg_blocking_pids tells them one by one."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from integration.pairs import Pair, Row, context_of, rows_of, send, value
from integration.producers_feed import Asker
from waiting import until

Sessions = dict[str, psycopg.Connection[Any]]
NAMES = ("anna", "bert", "carl", "dora", "emil")


@pytest.fixture
def sessions(pair: Pair) -> Iterator[Sessions]:
    """Sessions that wait for each other as long as they must; five rows to lock."""
    with ExitStack() as stack:
        admin = stack.enter_context(pair.connect())
        admin.execute("drop table if exists things; create table things as select n, 0 as m from generate_series(1, 5) n")
        admin.execute("create unique index on things (n)")
        opened = {name: stack.enter_context(pair.connect(application_name=name)) for name in NAMES}
        for session in opened.values():
            session.execute("set deadlock_timeout = '10min'")
        yield opened
        for session in opened.values():
            admin.execute("select pg_terminate_backend(%s)", (session.info.backend_pid,))
            session.close()
        until(lambda: value(admin, "select count(*) from pg_locks where not granted") == 0)


def lock(session: psycopg.Connection[Any], *rows: int) -> None:
    """Begin, and lock these rows."""
    session.execute("begin")
    for row in rows:
        session.execute(f"update things set m = 1 where n = {row}".encode())


def wait_for(pair: Pair, session: psycopg.Connection[Any], query: str) -> None:
    """Send a statement, and return when it waits."""
    send(session, query)
    with pair.connect() as admin:
        waits = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
        until(lambda: value(admin, waits, session.info.backend_pid), what="waiting")


def edges(pair: Pair, sessions: Sessions) -> dict[tuple[str, str], Row]:
    """Rows of the metric by the names of waiter and blocker."""
    names = {session.info.backend_pid: name for name, session in sessions.items()} | {0: "prepared"}
    rows = rows_of(pair.primary_asker, "blocking")
    found = {(names[row["waiter_pid"]], names[row["blocker_pid"]]): row for row in rows}
    assert len(found) == len(rows)
    with pair.connect() as admin:
        told = admin.execute(
            "select a.pid, b from pg_stat_activity a, unnest(pg_blocking_pids(a.pid)) b where a.datname = current_database()"
        ).fetchall()
    assert set(found) == {(names[waiter], names[blocker]) for waiter, blocker in told}
    return found


def test_nobody_waits(pair: Pair) -> None:
    assert rows_of(pair.primary_asker, "blocking") == []
    assert context_of(pair.primary_asker, "blocking") == {"waiters_total": 0}


def test_a_chain_has_a_root_and_depths(pair: Pair, sessions: Sessions) -> None:
    """anna <- bert <- carl, and dora waits in the queue for the same row as carl."""
    anna, bert, carl, dora, _ = sessions.values()
    lock(anna, 1)
    lock(bert, 2)
    lock(carl, 3)
    wait_for(pair, bert, "update things set m = 2 where n = 1 /* bert */")
    wait_for(pair, carl, "update things set m = 3 where n = 2")
    wait_for(pair, dora, "update things set m = 4 where n = 2")
    found = edges(pair, sessions)
    assert {edge: (row["depth"], row["roots"], row["blockers"]) for edge, row in found.items()} == {
        ("bert", "anna"): (1, 1, 1),
        ("carl", "bert"): (2, 1, 1),
        ("dora", "carl"): (3, 1, 1),
    }
    assert {row["root_pid"] for row in found.values()} == {anna.info.backend_pid}
    assert context_of(pair.primary_asker, "blocking") == {"waiters_total": 3}
    first = found["bert", "anna"]
    assert (first["lock_type"], first["lock_mode"], first["wait_event"]) == ("transactionid", "ShareLock", "transactionid")
    assert first["lock_detail"].isdigit()
    assert (first["waiter_query"], first["blocker_query"]) == (
        "update things set m = 2 where n = 1 /* bert */",
        "update things set m = 1 where n = 1",
    )
    assert (first["waiter_application_name"], first["blocker_application_name"]) == ("bert", "anna")
    assert (first["waiter_usename"], first["blocker_usename"]) == ("postgres", "postgres")
    assert (first["waiter_datname"], first["blocker_datname"]) == (pair.watched.dbname, pair.watched.dbname)
    assert (first["blocker_state"], first["blocker_wait_event_type"]) == ("idle in transaction", "Client")
    assert found["carl", "bert"]["blocker_wait_event_type"] == "Lock"
    assert found["dora", "carl"]["lock_type"] == "tuple"
    assert found["dora", "carl"]["lock_detail"].startswith("(0,")


def test_a_locked_table_is_named_by_its_oids_and_the_time_is_that_of_the_waiting(pair: Pair, sessions: Sessions) -> None:
    """carl waits in the queue behind bert's stronger lock, and is blocked by him alone."""
    anna, bert, carl, *_ = sessions.values()
    anna.execute("begin; lock table things in access share mode")
    wait_for(pair, bert, "begin; lock table things in access exclusive mode")
    wait_for(pair, carl, "begin; select count(*) from things")
    found = edges(pair, sessions)
    assert set(found) == {("bert", "anna"), ("carl", "bert")}
    with pair.connect() as admin:
        oids = admin.execute(
            "select c.oid, d.oid from pg_class c, pg_database d where c.relname = 'things' and d.datname = current_database()"
        ).fetchone()
        now = value(admin, "select extract(epoch from clock_timestamp())::float8") * 1e6
        began = value(
            admin, "select extract(epoch from query_start)::float8 from pg_stat_activity where pid = %s", bert.info.backend_pid
        )
    row = found["bert", "anna"]
    assert (row["lock_relation"], row["lock_database"], row["lock_detail"]) == (*(oids or ()), None)
    assert (row["lock_type"], row["lock_mode"]) == ("relation", "AccessExclusiveLock")
    assert found["carl", "bert"]["lock_mode"] == "AccessShareLock"
    assert 0 <= row["waited"] <= now - began * 1e6
    assert ("wait_start" in row) == (pair.major >= 14)
    if pair.major >= 14:
        assert began * 1e6 - 1 <= row["wait_start"] <= now
        later = edges(pair, sessions)["bert", "anna"]
        assert (later["wait_start"], later["waited"] > row["waited"]) == (row["wait_start"], True)


def test_a_prepared_transaction_is_named(pair: Pair, sessions: Sessions) -> None:
    """Of two prepared transactions the one that holds the row."""
    anna, bert, carl, *_ = sessions.values()
    lock(anna, 4)
    anna.execute("prepare transaction 'not this'")
    lock(anna, 5)
    anna.execute("prepare transaction 'this one'")
    try:
        wait_for(pair, bert, "update things set m = 2 where n = 5")
        row = edges(pair, sessions)["bert", "prepared"]
        assert (row["blocker_pid"], row["blocker_gid"], row["blocker_state"]) == (0, "this one", "prepared")
        assert (row["blocker_usename"], row["blocker_datname"]) == ("postgres", pair.watched.dbname)
        assert (row["root_pid"], row["depth"], row["blocker_query"]) == (0, 1, None)
        told = value(carl, "select extract(epoch from prepared)::float8 from pg_prepared_xacts where gid = 'this one'")
        assert row["blocker_xact_start"] == pytest.approx(told * 1e6, abs=2)
    finally:
        with pair.connect() as admin:
            admin.execute("rollback prepared 'not this'")
            admin.execute("rollback prepared 'this one'")


def test_a_circle_has_no_root_and_who_waits_for_it_neither(pair: Pair, sessions: Sessions) -> None:
    anna, bert, carl, dora, emil = sessions.values()
    lock(anna, 1)
    lock(bert, 2)
    lock(carl, 3)
    lock(dora, 4)
    wait_for(pair, anna, "update things set m = 2 where n = 2")
    wait_for(pair, bert, "update things set m = 2 where n = 1")
    wait_for(pair, carl, "update things set m = 2 where n = 1")
    wait_for(pair, emil, "update things set m = 2 where n = 4")
    found = edges(pair, sessions)
    roots = {edge: (row["depth"], row["root_pid"], row["roots"]) for edge, row in found.items()}
    assert roots.pop(("emil", "dora")) == (1, dora.info.backend_pid, 1)
    assert {("anna", "bert"), ("bert", "anna")} <= set(roots)
    assert set(roots.values()) == {(None, None, 0)}


def test_a_standby_s_readers_wait_for_what_it_replays(pair: Pair) -> None:
    pair.caught_up()
    with pair.connect() as primary, pair.connect_standby(application_name="reader") as reader:
        primary.execute("drop table if exists things")
        primary.execute("create table things (n int)")
        pair.caught_up()
        primary.execute("begin; lock table things in access exclusive mode")
        pair.caught_up()
        with pair.connect_standby() as admin:
            send(reader, "select * from things")
            until(lambda: value(admin, "select count(*) from pg_locks where not granted") == 1, what="waiting")
        (row,) = rows_of(pair.standby_asker, "blocking")
        primary.execute("rollback")
        reader.close()
        assert (row["waiter_application_name"], row["blocker_backend_type"]) == ("reader", "startup")
        assert (row["lock_type"], row["lock_mode"], row["depth"]) == ("relation", "AccessShareLock", 1)


def test_the_longest_waiting_are_listed_and_all_are_counted(pair: Pair, sessions: Sessions) -> None:
    """With room for one waiter of two, the first one."""
    anna, bert, carl, *_ = sessions.values()
    lock(anna, 1, 2)
    wait_for(pair, bert, "update things set m = 2 where n = 1")
    wait_for(pair, carl, "update things set m = 3 where n = 2")
    asker = Asker(pair.watched.target("primary"))
    asker.jobs["blocking"] = replace(asker.jobs["blocking"], parameters={"waiters": 1, "blockers": 10})
    try:
        (row,) = rows_of(asker, "blocking")
        assert row["waiter_pid"] == bert.info.backend_pid
        assert context_of(asker, "blocking") == {"waiters_total": 2}
    finally:
        asker.pools.close()
