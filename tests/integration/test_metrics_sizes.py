"""Sizes and sequences on every version: what other functions say, what is locked, what may not be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from integration.versions import Row, Version, run_by_psql
from waiting import until

TABLES = (
    "create table filled (id int primary key, t text, u int unique)",
    "alter table filled alter t set storage external",
    "insert into filled select g, repeat('x', 3000), g from generate_series(1, 500) g",
    "create unlogged table fast (id int primary key)",
    "insert into fast select generate_series(1, 1000)",
    "create table empty ()",
    "create table parts (n int) partition by range (n)",
    "create table parts_1 partition of parts for values from (0) to (10)",
    "create materialized view seen as select * from filled",
    "create view shown as select 1 as n",
    "create temporary table passing (n int primary key)",
    "delete from filled where id > 400",
    "vacuum",
)
SEQUENCES = (
    "create table t (small smallserial, normal serial, big bigserial, always int generated always as identity)",
    "create table narrow (n int)",
    "create sequence wide owned by narrow.n",
    "create sequence extreme minvalue -9223372036854775808 maxvalue 9223372036854775807 start 9223372036854775807",
    "create sequence down increment -1 minvalue -10 maxvalue -1",
    "create sequence round as smallint maxvalue 4 cycle cache 2",
    "create sequence secret",
    "create temporary sequence passing",
    "select nextval('wide'), nextval('extreme'), nextval('down'), nextval('down'), nextval('round'), nextval('secret')",
    "select setval('wide', 1073741824)",
    "select nextval('t_small_seq') from generate_series(1, 32767)",
)
READABLE = ("t_small_seq", "t_normal_seq", "t_big_seq", "t_always_seq", "wide", "extreme", "down", "round")
SIZES = """
select c.oid, c.relname, c.relkind, pg_table_size(c.oid) as with_toast,
    coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) as toast, pg_indexes_size(c.oid) as indexes,
    age(nullif(c.relfrozenxid, '0')), mxid_age(nullif(c.relminmxid, '0'))
from pg_class c
where c.relkind in ('r', 'm', 'i') and c.relpersistence <> 't' and c.relnamespace = 'public'::regnamespace
"""


@pytest.fixture(scope="module")
def sized(version: Version) -> str:
    """A database with TABLES."""
    return version.database(*TABLES)


@pytest.fixture(scope="module")
def counting(version: Version) -> str:
    """A database with SEQUENCES, of which one may not be read."""
    dbname = version.database(*SEQUENCES)
    with version.owner(dbname) as connection:
        connection.execute(f'grant select on {", ".join(READABLE)} to "{version.role}"')
    return dbname


@contextmanager
def holding(version: Version, dbname: str, statement: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that did something and stays open."""
    with psycopg.connect(version.server.conninfo(dbname)) as connection:
        connection.execute(statement.encode())
        yield connection
        connection.rollback()


def named(version: Version, dbname: str, metric: str) -> dict[str, Row]:
    """Rows by the name of their relation."""
    with version.owner(dbname) as connection:
        names = dict(connection.execute("select oid::bigint, relname from pg_class").fetchall())
    return {names[relid]: row for relid, row in version.ask(metric, dbname).by("relid").items()}


def test_sizes_are_what_other_functions_say(version: Version, sized: str) -> None:
    answered = version.ask("sizes", sized)
    rows = answered.by("relid")
    with version.owner(sized) as connection:
        theirs = connection.execute(SIZES).fetchall()
        whole = connection.execute("select pg_database_size(current_database())").fetchone()
    assert {row[0] for row in theirs} == set(rows)
    assert {row[1] for row in theirs if row[2] != "i"} == {"filled", "fast", "empty", "parts_1", "seen"}
    for oid, name, kind, with_toast, toast, indexes, age, mxid_age in theirs:
        row = rows[oid]
        assert row["bytes"] + row["toast_bytes"] == with_toast, name
        assert (row["toast_bytes"], row["indexes_bytes"], row["skipped_locked"]) == (toast, indexes, False), name
        if kind == "i":
            assert (row["frozen_xid"], row["min_multixact"]) == (None, None)
        else:
            assert (answered.context["next_xid"] - row["frozen_xid"]) % 2**32 == age
            assert (answered.context["next_multixact"] - row["min_multixact"]) % 2**32 == mxid_age
    assert whole == (answered.context["database_size"],)
    (filled,) = (rows[row[0]] for row in theirs if row[1] == "filled")
    assert min(filled["toast_bytes"], filled["indexes_bytes"], filled["toast_frozen_xid"]) > 0
    run_by_psql(version, ["sizes", "sequences"], sized)


def test_what_is_locked_is_skipped_by_name(version: Version, sized: str) -> None:
    everything = {"filled": ["bytes", "toast_bytes", "indexes_bytes"], "filled_pkey": ["bytes"], "filled_u_key": ["bytes"]}
    cases: dict[str, dict[str, list[str]]] = {
        "lock table filled in access exclusive mode": {"filled": ["bytes"]},
        "reindex index filled_u_key": {"filled": ["indexes_bytes"], "filled_u_key": ["bytes"]},
        "truncate filled": everything,
        "lock table filled in exclusive mode": {},
    }
    sizes = ("bytes", "toast_bytes", "indexes_bytes")
    for statement, skipped in cases.items():
        with holding(version, sized, statement):
            rows = named(version, sized, "sizes")
        unknown = {name: [size for size in sizes if row[size] is None] for name, row in rows.items()}
        assert {name for name, row in rows.items() if row["skipped_locked"]} == set(skipped), statement
        assert {name: without for name, without in unknown.items() if without} == skipped, statement


def test_who_waits_for_a_lock_is_not_waited_for(version: Version, sized: str) -> None:
    """A lock that is asked for already blocks whoever comes later."""
    waiting = "select count(*) from pg_locks where not granted and relation = 'filled'::regclass"
    with (
        holding(version, sized, "lock table filled in access share mode") as holder,
        psycopg.connect(version.server.conninfo(sized)) as waiter,
        version.owner(sized) as looker,
    ):
        waiter.pgconn.send_query(b"begin; lock table filled in access exclusive mode")
        until(lambda: looker.execute(waiting).fetchone() == (1,))
        assert named(version, sized, "sizes")["filled"]["skipped_locked"]
        holder.rollback()
        waiter.pgconn.finish()


def test_a_lock_in_another_database_hides_nothing(version: Version) -> None:
    """Databases made from one template have relations with the same OIDs."""
    dbname = version.database("create table filled (n int)", "create sequence counting")
    with version.owner("postgres") as connection:
        connection.execute(f"create database {dbname}_copy template {dbname}")
    with holding(version, f"{dbname}_copy", "lock table filled in access exclusive mode") as connection:
        connection.execute("alter sequence counting increment 2")
        assert not any(row["skipped_locked"] for row in version.ask("sizes", dbname).rows)
        assert not any(row["skipped_locked"] for row in version.ask("sequences", dbname).rows)
        assert named(version, f"{dbname}_copy", "sizes")["filled"]["skipped_locked"]


def test_sequences_say_how_much_of_them_is_used(version: Version, counting: str) -> None:
    rows = named(version, counting, "sequences")
    with version.owner(counting) as connection:
        theirs = connection.execute(
            "select sequencename, data_type::text, start_value, min_value, max_value, increment_by, cycle, cache_size, "
            "last_value from pg_sequences where schemaname = 'public'"
        ).fetchall()
    columns = ("data_type", "start_value", "min_value", "max_value", "increment", "cycles", "cache_size", "last_value")
    told = {name: tuple(row[column] for column in columns) for name, row in rows.items() if name != "secret"}
    assert told == {row[0]: row[1:] for row in theirs if row[0] != "secret"}
    assert {name: row["owner_column"] for name, row in rows.items() if row["owner_relid"]} == {
        "t_small_seq": "small",
        "t_normal_seq": "normal",
        "t_big_seq": "big",
        "t_always_seq": "always",
        "wide": "n",
    }
    assert rows["wide"]["limit_value"] == 2**31 - 1 < rows["wide"]["max_value"]
    assert {name: round(row["used"], 9) for name, row in rows.items() if row["used"] is not None} == {
        "t_small_seq": 1.0,
        "t_normal_seq": 0.0,
        "t_big_seq": 0.0,
        "t_always_seq": 0.0,
        "wide": 0.5,
        "extreme": 1.0,
        "down": 0.2,
        "round": 0.25 if rows["round"]["last_value"] == 1 else 0.5,  # what a session cached
    }


def test_a_sequence_that_may_not_be_read_says_so(version: Version, counting: str) -> None:
    secret = named(version, counting, "sequences")["secret"]
    assert (secret["readable"], secret["last_value"], secret["used"], secret["skipped_locked"]) == (False, None, None, False)
    assert secret["max_value"] == 2**63 - 1


def test_a_sequence_that_is_locked_is_skipped(version: Version, counting: str) -> None:
    for statement in ("alter sequence down increment -2", "drop sequence down"):
        with holding(version, counting, statement):
            rows = named(version, counting, "sequences")
        assert [name for name, row in rows.items() if row["skipped_locked"]] == ["down"]
        assert (rows["down"]["last_value"], rows["down"]["used"]) == (None, None)
