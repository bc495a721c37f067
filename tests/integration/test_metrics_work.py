"""Metrics `locks`, `progress` and `subscriptions`: work that we hold in the middle, and what the server's own views say of it."""

import contextlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from integration.pairs import Pair, Row, calm, rows_of, send, value, view
from waiting import until

GATE = 4711
Session = psycopg.Connection[Any]


@pytest.fixture
def admin(pair: Pair) -> Iterator[Session]:
    with pair.connect() as connection:
        yield connection


@pytest.fixture
def held(pair: Pair, admin: Session) -> Iterator[contextlib.ExitStack]:
    """Sessions that are ended whatever they do."""
    with contextlib.ExitStack() as stack:
        yield stack
    pids = "select count(*) from pg_stat_activity where application_name = 'held'"
    until(lambda: value(admin, pids) == 0, what="end of all sessions")


def held_session(pair: Pair, held: contextlib.ExitStack, admin: Session) -> Session:
    """One of them."""
    session = pair.connect(application_name="held")

    def end() -> None:
        admin.execute("select pg_terminate_backend(%s)", (session.info.backend_pid,))
        session.close()

    held.callback(end)
    return session


def test_locks_are_counted_as_the_view_has_them(pair: Pair, admin: Session, held: contextlib.ExitStack) -> None:
    """Several modes and kinds, of two databases, one of them waited for."""
    admin.execute("drop table if exists locked; create table locked (n int)")
    one, two = (held_session(pair, held, admin) for _ in range(2))
    one.execute("begin; lock table locked in share mode; select pg_advisory_lock(1), pg_advisory_lock_shared(2)")
    one.execute("insert into locked values (1)")
    send(two, "begin; lock table locked in exclusive mode")
    until(lambda: value(admin, "select count(*) from pg_locks where not granted") == 1)
    query = "select l.*, d.datname from pg_locks l left join pg_database d on d.oid = l.database where l.pid <> pg_backend_pid()"
    told, rows = calm(lambda: view(admin, query), lambda: rows_of(pair.primary_asker, "locks"))
    wanted = Counter((row["database"] or 0, row["locktype"], row["mode"], row["granted"], row["datname"]) for row in told)
    assert {(row["datid"], row["locktype"], row["mode"], row["granted"], row["datname"]): row["locks"] for row in rows} == wanted
    assert sum(row["fastpath"] for row in rows) == sum(row["fastpath"] for row in told) > 0
    (waiting,) = (row for row in rows if not row["granted"])
    assert (waiting["mode"], waiting["locks"], waiting["datname"]) == ("ExclusiveLock", 1, pair.watched.dbname)
    if pair.major >= 14:
        assert waiting["longest_wait"] > 0
        assert {row["longest_wait"] for row in rows if row["granted"]} == {None}


def test_nobody_locks(pair: Pair) -> None:
    """The agent's own locks are not counted."""
    until(lambda: rows_of(pair.primary_asker, "locks") == [])


@pytest.fixture
def gate(pair: Pair, admin: Session, held: contextlib.ExitStack) -> Session:
    """A session at whose gate everything waits that computes `slow(n)`."""
    admin.execute(
        "create or replace function public.slow(n int) returns int language plpgsql immutable as "
        f"$$ begin perform pg_catalog.pg_advisory_xact_lock_shared({GATE}); return n; end $$"
    )
    for kind in KINDS:
        admin.execute(f"drop table if exists {kind}_t".encode())
        admin.execute(f"create table {kind}_t as select n, repeat('x', 500) t from generate_series(1, 1000) n".encode())
    admin.execute("create index on analyze_t (public.slow(n))")
    admin.execute("create index clustered on cluster_t (n)")
    admin.execute("create index on cluster_t (public.slow(n))")
    session = held_session(pair, held, admin)
    session.execute("select pg_advisory_lock(%s)", (GATE,))
    session.execute("begin; declare pin cursor for select * from vacuum_t; fetch 1 from pin")
    return session


KINDS = {
    "vacuum": "vacuum (freeze) vacuum_t",
    "analyze": "analyze analyze_t",
    "cluster": "cluster cluster_t using clustered",
    "create_index": "create index concurrently on create_index_t (public.slow(n))",
}
FREE = ("pid", "datid", "datname", "relid", "phase", "command")


def test_progress_is_what_each_view_says(pair: Pair, admin: Session, held: contextlib.ExitStack, gate: Session) -> None:
    """All kinds at once: each at a place where it has to wait."""
    started = {}
    for kind, statement in KINDS.items():
        session = held_session(pair, held, admin)
        started[session.info.backend_pid] = kind
        send(session, statement)
    if pair.major >= 14:
        session = held_session(pair, held, admin)
        started[session.info.backend_pid] = "copy"
        send(session, "copy vacuum_t from stdin")
        until(lambda: session.pgconn.get_result() is not None)
        session.pgconn.put_copy_data(b"7\tseven\n" * 20_000)
    started[backup_of(pair, held, admin)] = "basebackup"
    kinds = set(started.values())
    until(lambda: {row["kind"] for row in rows_of(pair.primary_asker, "progress")} == kinds, what="progress of all kinds")
    until(lambda: all(at_rest(row) for row in rows_of(pair.primary_asker, "progress")), what="all at their gates")
    told, rows = calm(
        lambda: {kind: view(admin, f"select * from pg_stat_progress_{kind}")[0] for kind in sorted(kinds)},
        lambda: rows_of(pair.primary_asker, "progress"),
    )
    assert {row["pid"]: row["kind"] for row in rows} == started
    for row in rows:
        compare_progress(row, told[row["kind"]])
        assert (row["usename"], row["application_name"]) == ("postgres", "held")
        assert row["backend_type"] == ("walsender" if row["kind"] == "basebackup" else "client backend")
        assert row["kind"] == "basebackup" or 0 < row["running"] < 600_000_000
    by_kind = {row["kind"]: row for row in rows}
    pages = value(admin, "select pg_relation_size('create_index_t') / 8192")
    assert (by_kind["create_index"]["total"], by_kind["create_index"]["unit"]) == (pages, "blocks")
    assert by_kind["create_index"]["command"] == "CREATE INDEX CONCURRENTLY"
    assert (by_kind["analyze"]["done"], by_kind["analyze"]["total"]) == (pages, pages)
    assert (by_kind["cluster"]["command"], by_kind["cluster"]["phase"]) == ("CLUSTER", "rebuilding index")
    assert (by_kind["vacuum"]["phase"], by_kind["vacuum"]["total"]) == ("scanning heap", pages)
    assert pair.major < 14 or by_kind["copy"]["done"] > 0


def at_rest(row: Row) -> bool:
    """Whether it is where it waits for the gate."""
    places = {"create_index": "building index: scanning table", "analyze": "computing statistics", "cluster": "rebuilding index"}
    places |= {"vacuum": "scanning heap", "basebackup": "streaming database files", "copy": "PIPE"}
    return bool(row["phase"] == places[row["kind"]])


def backup_of(pair: Pair, held: contextlib.ExitStack, admin: Session) -> int:
    """A base backup that nobody reads; its process id."""
    info = pair.primary.conninfo("", replication="true", application_name="held")
    backup = psycopg.connect(info, autocommit=True)
    pid = backup.info.backend_pid

    def end() -> None:
        admin.execute("select pg_terminate_backend(%s)", (pid,))
        backup.close()

    held.callback(end)
    send(backup, "BASE_BACKUP FAST" if pair.major < 15 else "BASE_BACKUP (CHECKPOINT 'fast')")
    return pid


def compare_progress(row: Row, told: Row) -> None:
    """One row with its view; names of columns written down again."""
    done, total = {
        "vacuum": ("heap_blks_scanned", "heap_blks_total"),
        "analyze": ("sample_blks_scanned", "sample_blks_total"),
        "cluster": ("heap_blks_scanned", "heap_blks_total"),
        "create_index": ("blocks_done", "blocks_total"),
        "basebackup": ("backup_streamed", "backup_total"),
        "copy": ("bytes_processed", "bytes_total"),
    }[row["kind"]]
    assert (row["done"], row["total"]) == (told[done], told[total] or None)
    assert row["phase"] == told.get("phase", told.get("type"))
    same = {name for name in FREE if name != "phase"}
    assert {name: row[name] for name in same} == {name: told.get(name) for name in same}
    rest = {name: cell for name, cell in told.items() if name not in FREE}
    assert json.loads(row["extra"]) == {name: str(cell) if name.endswith("relid") else cell for name, cell in rest.items()}


@pytest.fixture
def subscription(pair: Pair, admin: Session) -> Iterator[str]:
    """The name of a subscription in the watched database to another one of the same server."""
    name = f"s_{secrets.token_hex(4)}"
    admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    with psycopg.connect(pair.primary.conninfo(name), autocommit=True) as source:
        source.execute("create table public.goods (n int primary key)")
        source.execute("insert into public.goods values (1), (2)")
        source.execute("create publication goods for table goods")
        source.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
    admin.execute("drop table if exists public.goods; create table public.goods (n int primary key)")
    options = {"create": sql.Identifier(name), "to": sql.Literal(pair.primary.conninfo(name))}
    admin.execute(
        sql.SQL("create subscription {create} connection {to} publication goods with (create_slot = false)").format(**options)
    )
    yield name
    admin.execute(sql.SQL("alter subscription {} disable").format(sql.Identifier(name)))
    admin.execute(sql.SQL("alter subscription {} set (slot_name = none)").format(sql.Identifier(name)))
    admin.execute(sql.SQL("drop subscription {}").format(sql.Identifier(name)))
    idle = "select count(*) from pg_replication_slots where active_pid is not null"
    until(lambda: value(admin, idle) == 0, what="idle slots")
    admin.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots")
    admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def test_subscriptions_are_what_the_views_say(pair: Pair, admin: Session, subscription: str) -> None:
    """Running, in error, disabled; and one of the same name elsewhere."""
    until(lambda: value(admin, "select count(*) from public.goods") == 2, what="the first copy")
    (row,) = compare_subscriptions(pair, admin)
    assert (row["subname"], row["datname"], row["enabled"], row["relid"]) == (subscription, pair.watched.dbname, True, 0)
    assert row["received_position"] > 0
    assert row.get("worker_type", "apply") == "apply"
    admin.execute("insert into public.goods values (3)")
    with psycopg.connect(pair.primary.conninfo(subscription), autocommit=True) as source:
        source.execute("insert into public.goods values (3)")
        if pair.major >= 15:
            errors = "select apply_error_count > 0 from pg_stat_subscription_stats"
            until(lambda: value(admin, errors), what="a counted error")
        source.execute(
            sql.SQL("create subscription {} connection '' publication nothing with (connect = false)").format(
                sql.Identifier(subscription)
            )
        )
        admin.execute(sql.SQL("alter subscription {} disable").format(sql.Identifier(subscription)))
        until(lambda: no_worker_starts(admin), what="no worker")
        rows = compare_subscriptions(pair, admin)
        assert [(row["pid"], row["enabled"], row["received_position"]) for row in rows] == [(0, False, None)] * 2
        wanted = {None} if pair.major == 13 else {pair.watched.dbname, subscription}
        assert {row["datname"] for row in rows} == wanted
        errors_told = rows_of(pair.primary_asker, "subscriptions", "errors")
        assert len(errors_told) == (2 if pair.major >= 15 else 0)
        assert pair.major < 15 or max(row["apply_error_count"] for row in errors_told) > 0
        source.execute(sql.SQL("alter subscription {} set (slot_name = none)").format(sql.Identifier(subscription)))
        source.execute(sql.SQL("drop subscription {}").format(sql.Identifier(subscription)))


def no_worker_starts(admin: Session) -> bool:
    """Looked at for half a second: a launcher that had read the list before may still start one, which ends at once."""
    workers = "select count(*) from pg_stat_subscription where pid is not null"
    for _ in range(10):
        if value(admin, workers):
            return False
        time.sleep(0.05)
    return True


def compare_subscriptions(pair: Pair, admin: Session) -> list[Row]:
    """Rows, compared with both views."""
    raw = (
        "select *, pg_wal_lsn_diff(received_lsn, '0/0') as received_position, "
        "pg_wal_lsn_diff(latest_end_lsn, '0/0') as latest_end_position, "
        "pg_wal_lsn_diff(received_lsn, latest_end_lsn) as unreported_bytes from pg_stat_subscription order by subid, pid"
    )
    errors = "select * from pg_stat_subscription_stats order by subid" if pair.major >= 15 else "select where false"
    (told, told_errors), rows, ours = calm(
        lambda: (view(admin, raw), view(admin, errors)),
        lambda: sorted(rows_of(pair.primary_asker, "subscriptions"), key=lambda row: (row["subid"], row["pid"])),
        lambda: sorted(rows_of(pair.primary_asker, "subscriptions", "errors"), key=lambda row: row["error_subid"]),
    )
    assert len(rows) == len(told)
    for row, one in zip(rows, told, strict=True):
        assert (row["pid"], row["relid"]) == (one["pid"] or 0, one["relid"] or 0)
        same = set(one) & set(row) - {"pid", "relid", "last_msg_send_time", "last_msg_receipt_time", "latest_end_time"}
        assert {name: row[name] for name in same} == {name: one[name] for name in same}
        assert (row["latest_end_time"] is None) == (one["latest_end_time"] is None)
    for row, one in zip(ours, told_errors, strict=True):
        assert row.pop("error_subid") == one.pop("subid")
        assert (row.pop("errors_since") is None) == (one.pop("stats_reset") is None)
        assert row == {name: cell for name, cell in one.items() if name != "subname"}
    return list(rows)
