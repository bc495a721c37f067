"""What things are called and how they are set, on every version: relations, extensions, settings, roles, databases."""

from typing import Any

import pytest

from integration.versions import Row, Version, run_by_psql
from waiting import until

LONG = "\u00e9" * 31 + "x"  # 63 bytes
ODD = 'a "quoted"\n name \U0001f600'
QUOTED = '"' + ODD.replace('"', '""') + '"'
SCHEMA = 'odd " schema'
RELATIONS = (
    'create schema "odd "" schema"',
    f'create table "odd "" schema".{QUOTED} (id int primary key, t text) with (fillfactor=70, autovacuum_enabled=false)',
    f'create unlogged table "{LONG}" ()',
    "create table parts (n int, s text) partition by list (s)",
    "create table parts_1 partition of parts for values in ('it''s')",
    "create index on parts (n)",
    "create table one (n serial)",
    "create table heir () inherits (one)",
    "create view seen as select 1 as n",
    "create materialized view kept as select 1 as n",
    "create foreign data wrapper none",
    "create server far foreign data wrapper none",
    "create foreign table away (n int) server far",
    "create temporary table passing (n int primary key, t text)",
    "create type pair as (a int, b int)",
)
KINDS = {
    (SCHEMA, ODD): ("table", None, "heap"),
    (SCHEMA, f"{ODD}_pkey"): ("index", ODD, "btree"),
    ("public", LONG): ("table", None, "heap"),
    ("public", "parts"): ("partitioned table", None, ""),
    ("public", "parts_n_idx"): ("partitioned index", "parts", "btree"),
    ("public", "parts_1"): ("table", "parts", "heap"),
    ("public", "parts_1_n_idx"): ("index", "parts_1", "btree"),
    ("public", "one"): ("table", None, "heap"),
    ("public", "one_n_seq"): ("sequence", None, ""),
    ("public", "heir"): ("table", "one", "heap"),
    ("public", "seen"): ("view", None, ""),
    ("public", "kept"): ("materialized view", None, "heap"),
    ("public", "away"): ("foreign table", None, ""),
}


def test_relations_have_names_kinds_and_parents(version: Version) -> None:
    dbname = version.database(*RELATIONS)
    rows = version.ask("relations", dbname).by("relid")
    names = {relid: row["name"] for relid, row in rows.items()}
    toasts = {row["name"]: row for row in rows.values() if row["schema"] == "pg_toast"}
    ours = {(row["schema"], row["name"]): row for row in rows.values() if row["schema"] != "pg_toast"}
    methods = {name: am if version.server.major >= 17 or name[1] != "parts" else "" for name, (_, _, am) in KINDS.items()}
    told = {name: (row["kind"], names.get(row["parent"]), row["access_method"]) for name, row in ours.items()}
    assert told == {name: (kind, parent, methods[name]) for name, (kind, parent, _) in KINDS.items()}
    for relid in (ours[SCHEMA, ODD]["relid"], ours["public", "parts_1"]["relid"]):
        toast = toasts.pop(f"pg_toast_{relid}")
        assert (toast["kind"], toast["parent"]) == ("toast table", relid)
        index = toasts.pop(f"pg_toast_{relid}_index")
        assert (index["kind"], index["parent"]) == ("index", toast["relid"])
    assert not toasts
    assert ours[SCHEMA, ODD]["options"] == "fillfactor=70, autovacuum_enabled=false"
    assert {row["owner"] for row in rows.values()} == {"postgres"}
    assert [row["name"] for row in rows.values() if row["persistence"] == "unlogged"] == [LONG]
    assert {row["name"] for row in ours.values() if row["is_partition"]} == {"parts_1", "parts_1_n_idx"}
    assert {row["name"]: row["partition_strategy"] for row in ours.values() if row["partition_strategy"]} == {"parts": "list"}
    bounds = {row["name"]: row["partition_bound"] for row in ours.values() if row["partition_bound"] is not None}
    assert bounds == {"parts_1": "FOR VALUES IN ('it''s')"}
    run_by_psql(version, ["relations", "extensions", "settings", "roles", "databases"], dbname)


def test_relations_that_are_locked_are_named(version: Version) -> None:
    dbname = version.database(*RELATIONS)
    whole = version.ask("relations", dbname).by("relid")
    with version.owner(dbname) as connection, connection.transaction():
        connection.execute("lock table parts, parts_1, one, seen in access exclusive mode")
        assert version.ask("relations", dbname).by("relid") == whole


def test_names_that_are_not_utf8_are_read(version: Version) -> None:
    """A database that hands bytes through may hold any."""
    dbname = version.database(encoding="SQL_ASCII")
    with version.owner(dbname) as connection:
        connection.execute("set client_encoding to 'SQL_ASCII'")
        connection.execute(b'create table "caf\xe9" ()')
        connection.execute(b'create table "caf\xe8" ()')
    assert [row["name"] for row in version.ask("relations", dbname).rows] == ["caf\ufffd"] * 2


def test_extensions_with_their_versions(version: Version) -> None:
    dbname = version.database("create schema ext", "create extension pg_stat_statements schema ext version '1.8'")
    rows = version.ask("extensions", dbname).by("name")
    with version.owner(dbname) as connection:
        theirs = connection.execute("select name, installed_version, default_version from pg_available_extensions").fetchall()
    installed = {name: (version, default) for name, version, default in theirs if version is not None}
    assert {name: (row["version"], row["default_version"]) for name, row in rows.items()} == installed
    assert rows["pg_stat_statements"]["version"] == "1.8"
    assert (rows["pg_stat_statements"]["schema"], rows["pg_stat_statements"]["owner"]) == ("ext", "postgres")


@pytest.fixture
def configured(version: Version) -> Any:
    """Settings in the file, of a database, of a role and of both; all taken back."""
    dbname = version.database()
    statements = (
        "alter system set work_mem = '7MB'",
        "alter system set max_connections = 50",
        "alter system set primary_conninfo = 'host=far password=hunter2'",
        "alter role postgres set log_min_messages = 'error'",
        f"alter database {dbname} set statement_timeout = '3min'",
        f"alter role postgres in database {dbname} set search_path = a, 'b=c'",
    )
    with version.owner(dbname) as connection:
        for statement in (*statements, "select pg_reload_conf()"):
            connection.execute(statement.encode())
        yield dbname
        roles = ("alter role postgres reset all", f"alter role postgres in database {dbname} reset all")
        for undo in ("alter system reset all", *roles, f"alter database {dbname} reset all", "select pg_reload_conf()"):
            connection.execute(undo)


def test_settings_of_the_server_its_databases_and_roles(version: Version, configured: str) -> None:
    def rows() -> dict[tuple[str, str, str], Row]:
        return {(row["name"], row["datname"], row["rolname"]): row for row in version.ask("settings").rows}

    until(lambda: rows()["max_connections", "", ""]["pending_restart"])
    found = rows()
    memory = found["work_mem", "", ""]
    told = {name: memory[name] for name in ("setting", "unit", "source", "context", "vartype", "boot_val", "reset_val")}
    assert told == {
        "setting": "7168",
        "unit": "kB",
        "source": "configuration file",
        "context": "user",
        "vartype": "integer",
        "boot_val": "4096",
        "reset_val": "7168",
    }
    assert found["primary_conninfo", "", ""]["setting"] == "host=far password=hunter2"  # the agent redacts it
    assert [row["name"] for row in found.values() if row["pending_restart"]] == ["max_connections"]
    overrides = {key: (row["setting"], row["source"]) for key, row in found.items() if row["dbid"] or row["roleid"]}
    assert overrides == {
        ("log_min_messages", "", "postgres"): ("error", "user"),
        ("statement_timeout", configured, ""): ("3min", "database"),
        ("search_path", configured, "postgres"): ('a, "b=c"', "database user"),
    }
    with version.owner("postgres") as connection:
        names = {row[0] for row in connection.execute("select name from pg_settings").fetchall()}
    assert {name for name, datname, rolname in found if not datname and not rolname} == {
        name for name in names if name not in ("transaction_isolation", "transaction_read_only", "transaction_deferrable")
    }


def test_what_the_session_of_the_agent_sets_is_not_taken_for_the_server_s(version: Version) -> None:
    rows = version.ask("settings", options="-c statement_timeout=1234 -c search_path=pg_catalog,pg_temp").by("name")
    hidden = {name for name, row in rows.items() if row["source"] in ("client", "session")}
    assert {"statement_timeout", "search_path", "lock_timeout"} <= hidden
    assert {(rows[name]["setting"], rows[name]["reset_val"]) for name in hidden} == {(None, None)}


def test_roles_with_attributes_and_memberships(version: Version) -> None:
    name = "r_ \u00e9"
    with version.owner("postgres") as connection:
        connection.execute('create role "Group ""A""" createdb createrole')
        connection.execute("create role plain noinherit bypassrls replication valid until 'infinity'")
        connection.execute(
            f"create role \"{name}\" login connection limit 3 password 'hunter2' valid until '2030-01-01 00:00 UTC' in role plain"
        )
        connection.execute(f'grant "Group ""A""" to "{name}" with admin option')
        if version.server.major >= 16:
            connection.execute("create role far login valid until '294276-12-31' noinherit")
            connection.execute("grant plain to far with inherit true, set false")
        rows = version.ask("roles").by("name")
        flags = (
            "is_superuser",
            "inherits",
            "can_create_roles",
            "can_create_databases",
            "can_login",
            "can_replicate",
            "bypasses_rls",
        )
        theirs = connection.execute(
            "select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls "
            "from pg_authid"
        ).fetchall()
        for group in ('"Group ""A"""', "plain", f'"{name}"', *(["far"] if version.server.major >= 16 else [])):
            connection.execute(f"drop role {group}")
    assert {role: tuple(row[flag] for flag in flags) for role, row in rows.items()} == {row[0]: row[1:] for row in theirs}
    login = rows[name]
    assert (login["connection_limit"], login["valid_until"]) == (3, 1893456000000000)
    assert login["member_of"] == '"Group ""A""" (admin), plain'
    assert (rows["plain"]["valid_until"], rows["plain"]["connection_limit"], rows["plain"]["member_of"]) == (None, -1, "")
    assert rows[version.role]["member_of"] == "pg_monitor"
    assert "hunter2" not in repr(rows)
    if version.server.major >= 16:
        assert rows["far"]["member_of"] == "plain (inherit, no set)"
        assert rows["far"]["valid_until"] == 9_200_000_000_000_000_000


def test_databases_also_those_that_nobody_may_enter(version: Version) -> None:
    dbname = version.database(encoding="LATIN1")
    with version.owner("postgres") as connection:
        connection.execute(f"alter database {dbname} allow_connections false connection limit 9 is_template true")
        (row,) = [one for one in version.ask("databases").rows if one["datname"] == dbname]
        names = connection.execute("select count(*) from pg_database").fetchone()
        connection.execute(f"alter database {dbname} is_template false")
        connection.execute(f"drop database {dbname}")
    assert names == (len(version.ask("databases").rows) + 1,)
    assert (row["owner"], row["encoding"], row["tablespace"]) == ("postgres", "LATIN1", "pg_default")
    assert (row["locale_provider"], row["collate"], row["ctype"]) == ("libc", "C", "C")
    assert (row["is_template"], row["allows_connections"], row["connection_limit"]) == (True, False, 9)
    if version.server.major >= 15:
        assert (row["locale"], row["collation_version"], row["collation_actual_version"]) == ("", None, None)
