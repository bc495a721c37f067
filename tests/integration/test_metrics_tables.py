"""Counters of tables and indexes on every version, compared with the views that people know."""

from collections.abc import Callable
from typing import Any

import psycopg

from integration.versions import Answered, Row, Version, run_by_psql
from pganalytics.schemas.metric import Field, FieldRole, builtin_schemas
from waiting import until

NAME = '"odd "" schema"."Ta ble\n\U0001f600"'
SHOP = (
    'create schema "odd "" schema"',
    'create table "odd "" schema"."Ta ble\n\U0001f600" (id int primary key, word text unique, big text)',
    'alter table "odd "" schema"."Ta ble\n\U0001f600" alter big set storage external',
    "create unlogged table fast (n int)",
    "create table empty ()",
    "create table parts (n int) partition by range (n)",
    "create table parts_1 partition of parts for values from (0) to (10)",
    "create materialized view seen as select 1 as n",
    "create temporary table mine (n int primary key, t text)",
)
WORK = """
insert into "odd "" schema"."Ta ble\n\U0001f600" select g, 'w' || g, repeat('x', 3000) from generate_series(1, 100) g;
update "odd "" schema"."Ta ble\n\U0001f600" set word = 'again' || id where id <= 10;
delete from "odd "" schema"."Ta ble\n\U0001f600" where id > 90;
select count(big) from "odd "" schema"."Ta ble\n\U0001f600";
select word from "odd "" schema"."Ta ble\n\U0001f600" where id = 5;
select max(length(big)) from "odd "" schema"."Ta ble\n\U0001f600";
insert into parts values (5);
"""
UPKEEP = ('vacuum "odd "" schema"."Ta ble\n\U0001f600"', "analyze", "insert into fast select 1 from generate_series(1, 7)")
VIEWS = """
select s.*, coalesce(heap_blks_read, 0) as heap_blks_read, coalesce(heap_blks_hit, 0) as heap_blks_hit,
    idx_blks_read, idx_blks_hit, toast_blks_read, toast_blks_hit, tidx_blks_read, tidx_blks_hit,
    c.relpages, c.reltuples, c.relallvisible,
    age(nullif(c.relfrozenxid, '0')) as xid_age, mxid_age(nullif(c.relminmxid, '0')) as multixact_age
from pg_stat_user_tables s
left join pg_statio_user_tables io using (relid)
join pg_class c on c.oid = relid
where s.schemaname !~ '^pg_temp'
"""
INDEX_VIEWS = """
select s.*, io.idx_blks_read, io.idx_blks_hit, c.relpages, i.indisvalid as is_valid, i.indisunique as is_unique,
    i.indisprimary as is_primary
from pg_stat_user_indexes s
join pg_statio_user_indexes io using (indexrelid)
join pg_index i using (indexrelid)
join pg_class c on c.oid = indexrelid
where s.schemaname !~ '^pg_temp'
"""
OF_TABLE = {"heap_tup_fetch", "relallfrozen"}
"""Fields that the views do not have under that name."""


def raw(connection: psycopg.Connection[Any], query: str) -> list[Row]:
    """Times in microseconds, durations in nanoseconds, as the schema has them."""
    cursor = connection.execute(query.encode())
    names = [column.name for column in cursor.description or ()]
    return [{name: plain(name, cell) for name, cell in zip(names, row, strict=True)} for row in cursor.fetchall()]


def plain(name: str, cell: Any) -> Any:
    if hasattr(cell, "timestamp"):
        return round(cell.timestamp() * 1_000_000)
    return round(cell * 1_000_000) if name.startswith("total_") else cell


def worked(version: Version) -> str:
    """A database in which all that is in SHOP was used, when its statistics have arrived."""
    dbname = version.database(*SHOP, "create extension if not exists plpgsql")
    with version.owner(dbname) as connection:
        for statement in (*WORK.strip().split(";\n"), *UPKEEP):
            connection.execute(statement.strip(";\n").encode())
    with version.owner(dbname) as connection:
        query = "select n_tup_ins from pg_stat_user_tables where relname = 'fast'"
        until(lambda: connection.execute(query).fetchone() == (7,), 10)
    return dbname


def agreeing(ask: Callable[[], Answered], look: Callable[[], list[Row]], key: str) -> tuple[dict[int, Row], dict[int, Row]]:
    """Both readings by key, once nothing moved between them: the statistics of the last sessions may still arrive."""
    found: list[tuple[dict[int, Row], dict[int, Row]]] = []

    def same() -> bool:
        before, mine, after = look(), ask(), look()
        found[:] = [(mine.by(key), {row[key]: row for row in after})]
        return before == after

    until(same)
    return found[0]


def compare(mine: Row, theirs: Row, fields: tuple[Field, ...], but: set[str]) -> None:
    for field in fields:
        if field.name in mine and field.name not in but:
            assert mine[field.name] == theirs[field.name], field.name


def test_tables_and_indexes_are_what_the_views_say(version: Version) -> None:
    dbname = worked(version)
    tables, indexes = builtin_schemas()["tables"].groups["rows"], builtin_schemas()["indexes"].groups["rows"]
    with version.owner(dbname) as connection:
        mine, theirs = agreeing(lambda: version.ask("tables", dbname), lambda: raw(connection, VIEWS), "relid")
        mine_by_index, theirs_by_index = agreeing(
            lambda: version.ask("indexes", dbname), lambda: raw(connection, INDEX_VIEWS), "indexrelid"
        )
    own = {relid: row for relid, row in mine.items() if not row["toast_of"]}
    parted = 0 if version.server.major >= 14 else 1  # PostgreSQL 13 shows no partitioned tables
    assert len(own) == len(theirs) + parted == 6
    (used,) = (relid for relid, row in theirs.items() if row["relname"].startswith("Ta ble"))
    for relid, row in theirs.items():
        row |= {"reltuples": None if row["reltuples"] < 0 else row["reltuples"], "relpages": max(row["relpages"], 0)}
        if row["relname"] == "parts":
            assert own[relid]["xid_age"] is None
        compare(own[relid], row, tables, OF_TABLE | {"toast_of"})
        of_index = [one for one in mine_by_index.values() if one["relid"] == relid]
        total = {
            name: sum(one[name] for one in of_index) for name in ("idx_scan", "idx_tup_fetch", "idx_blks_read", "idx_blks_hit")
        }
        total["idx_tup_fetch"] += own[relid]["heap_tup_fetch"]
        assert {name: row[name] or 0 for name in total} == total
    for indexrelid, row in theirs_by_index.items():
        compare(mine_by_index[indexrelid], row, indexes, set())
    assert all(own[used][name] > 0 for name in ("seq_scan", "n_tup_upd", "heap_blks_hit", "last_vacuum", "reltuples"))
    assert_toast(mine, mine_by_index, theirs[used])
    run_by_psql(version, ["tables", "indexes"], dbname)


def assert_toast(mine: dict[int, Row], indexes: dict[int, Row], parent: Row) -> None:
    """The toast table that was used is a row of its own; the two others that exist are not there."""
    (toast,) = (row for row in mine.values() if row["toast_of"])
    (index,) = (row for row in indexes.values() if row["relid"] == toast["relid"])
    assert toast["toast_of"] == parent["relid"]
    assert (toast["heap_blks_read"], toast["heap_blks_hit"]) == (parent["toast_blks_read"], parent["toast_blks_hit"])
    assert (index["idx_blks_read"], index["idx_blks_hit"]) == (parent["tidx_blks_read"], parent["tidx_blks_hit"])
    assert toast["n_tup_ins"] == 200  # a chunk has 1996 bytes
    assert toast["xid_age"] > 0


def test_no_sum_goes_back_when_an_index_or_a_toast_table_is_made_anew(version: Version) -> None:
    """The row of a table counts on, whatever becomes of its parts: otherwise all its counters would be told again. The control is
    the view, which sums them and does go back."""
    dbname = worked(version)
    counters = [field.name for field in builtin_schemas()["tables"].groups["rows"] if field.role is FieldRole.COUNTER]
    sums = "select relid::bigint as relid, idx_blks_hit from pg_statio_user_tables where relname like 'Ta ble%'"
    with version.owner(dbname) as connection:
        (view_before,) = raw(connection, sums)
        relid = view_before["relid"]
        rows = version.ask("tables", dbname).by("relid")
        connection.execute(f'alter table {NAME} drop constraint "Ta ble\n\U0001f600_word_key"'.encode())
        connection.execute(f"alter table {NAME} alter id type bigint".encode())
        connection.execute(f"insert into {NAME} values (1000)".encode())
    until(lambda: version.ask("tables", dbname).by("relid")[relid]["n_tup_ins"] == 101)
    rows_after = version.ask("tables", dbname).by("relid")
    before, after = rows[relid], rows_after[relid]
    assert all(after[counter] >= before[counter] for counter in counters if counter in before)
    assert {row["relid"] for row in rows.values() if row["toast_of"]}.isdisjoint(rows_after)
    with version.owner(dbname) as connection:
        (view_after,) = raw(connection, sums)
    assert view_after["idx_blks_hit"] < view_before["idx_blks_hit"]


def test_tables_that_are_locked_are_read(version: Version) -> None:
    dbname = version.database("create table held (n int primary key)")
    with psycopg.connect(version.server.conninfo(dbname)) as holder:
        holder.execute("lock table held in access exclusive mode")
        assert len(version.ask("tables", dbname).rows) == len(version.ask("indexes", dbname).rows) == 1


def test_nothing_but_columns_is_learned_from_an_empty_database(version: Version) -> None:
    dbname = version.database()
    for metric in ("tables", "indexes"):
        answered = version.ask(metric, dbname)
        assert answered.rows == []
        assert answered.context["system_identifier"]
        assert answered.context["lineage"] == answered.context["crash"]


def test_the_reset_of_one_table_is_no_reset_of_all(version: Version) -> None:
    dbname = worked(version)
    before = version.ask("tables", dbname).context
    with version.owner(dbname) as connection:
        connection.execute("select pg_stat_reset_single_table_counters('fast'::regclass)")
    until(lambda: version.ask("tables", dbname).context["stats_reset"] != before["stats_reset"])
    after = version.ask("tables", dbname).context
    assert (after["lineage"], after["crash"]) == (before["lineage"], before["crash"])
    fast = [row for row in version.ask("tables", dbname).rows if row["n_tup_ins"] == 7]
    assert fast == []
