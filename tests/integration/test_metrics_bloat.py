"""The estimate of bloat against what VACUUM FULL and REINDEX leave, and what cannot be estimated."""

from integration.versions import Row, Version, run_by_psql

ROWS = 12_000
TABLES = {
    "narrow": ("a int", "g"),
    "padded": ("a bool, b bigint, c bool, d bigint, e int", "true, g, true, g, g"),
    "texts": ("id bigint, t text, n numeric, at timestamptz", "g, md5(g::text), g / 3.0, now()"),
    "sparse": ("id int, a text, b bigint, c int", "g, case when g % 2 = 0 then 'abcdef' end, case when g % 3 = 0 then g end, g"),
    "mixed": ("id uuid, t text, f float8", "md5(g::text)::uuid, repeat('x', g % 200), g"),
    "reserved": ("id int, t text", "g, md5(g::text)"),
    "none": ("", ""),
}
INDEXES = (
    "create index narrow_a on narrow (a)",
    "create index padded_two on padded (d, e)",
    "create unique index texts_id on texts (id) with (fillfactor = 60)",
    "create index texts_n on texts (n)",
    "create index texts_at on texts (at)",
    "create index texts_raw on texts (at) with (deduplicate_items = off)",
    "create index sparse_a on sparse (a)",
    "create index sparse_b on sparse (b) where b is not null",
    "create index mixed_t on mixed (t)",
)


def made(version: Version) -> str:
    statements = []
    for name, (columns, values) in TABLES.items():
        statements.append(f"create table {name} ({columns})" + (" with (fillfactor = 50)" if name == "reserved" else ""))
        statements.append(f"insert into {name} select {values} from generate_series(1, {ROWS}) g")
    return version.database(
        *statements, *INDEXES, f'grant select on all tables in schema public to "{version.role}"', "vacuum analyze"
    )


def estimates(version: Version, dbname: str) -> dict[str, Row]:
    with version.owner(dbname) as connection:
        names = dict(connection.execute("select oid::bigint, relname from pg_class").fetchall())
    return {names[relid]: row for relid, row in version.ask("bloat", dbname).by("relid").items()}


def pages(version: Version, dbname: str) -> dict[str, int]:
    with version.owner(dbname) as connection:
        query = "select relname, pg_relation_size(oid) / 8192 from pg_class where relnamespace = 'public'::regnamespace"
        return dict(connection.execute(query).fetchall())


def test_the_estimate_is_what_a_rewrite_leaves(version: Version) -> None:
    dbname = made(version)
    fresh, real = estimates(version, dbname), pages(version, dbname)
    assert set(fresh) == set(real) == {*TABLES, *(one.split(" on ")[0].split()[-1] for one in INDEXES)}
    assert {row["not_estimated"] for row in fresh.values()} == {""}
    assert {row["method"] for name, row in fresh.items() if name != "none"} == {"statistics"}
    for name, row in fresh.items():
        assert (row["pages"], row["tuples"]) == (real[name], ROWS if name != "sparse_b" else ROWS // 3), name
        assert abs(row["expected_pages"] - real[name]) <= 1 + 0.08 * real[name], name
        assert row["bloat_bytes"] == max(real[name] - row["expected_pages"], 0) * 8192, name
    with version.owner(dbname) as connection:
        for name in TABLES:
            connection.execute(f"delete from {name} where ctid::text not like '%5)'")  # nine of ten rows, all over the pages
        connection.execute("vacuum analyze")
    holey = estimates(version, dbname)
    with version.owner(dbname) as connection:
        connection.execute("vacuum full")
    packed = pages(version, dbname)
    for name, row in holey.items():
        assert row["bloat_bytes"] >= 0.5 * 8192 * real[name], name
        assert abs(row["expected_pages"] - packed[name]) <= 2 + 0.1 * packed[name], name
    run_by_psql(version, ["bloat"], dbname)


def test_what_cannot_be_estimated_says_why(version: Version) -> None:
    dbname = version.database(
        "create table closed (id int, t text)",
        "create table plain (a bool, b bigint)",
        "create table guarded (t text)",
        "alter table guarded enable row level security",
        "create table shown (t text)",
        *(
            f"insert into {name} values ({value})"
            for name, value in (("closed", "1, 'a'"), ("plain", "true, 1"), ("guarded", "'a'"))
        ),
        "insert into shown values ('a')",
        "create index closed_t on closed (t)",
        "create index closed_id on closed (id)",
        "create index shown_lower on shown (lower(t))",
        f'grant select on guarded, shown to "{version.role}"',
        "analyze",
        "create table fresh (t text)",
        "insert into fresh values ('a')",
        "create table grown (id int)",
        "insert into grown values (1)",
        "analyze grown",
        "alter table grown add t text",
        f'grant select on grown to "{version.role}"',
        "create table parts (n int) partition by range (n)",
        "create index parts_n on parts (n)",
        "create table bytes (b int[])",
        "create index bytes_gin on bytes using gin (b)",
    )
    rows = estimates(version, dbname)
    assert {name: (row["method"], row["not_estimated"]) for name, row in rows.items()} == {
        "closed": ("", "statistics not readable"),
        "closed_t": ("", "statistics not readable"),
        "guarded": ("", "statistics not readable"),
        "shown_lower": ("", "statistics not readable"),  # only its owner may read those of an expression
        "shown": ("statistics", ""),
        "closed_id": ("types", ""),
        "plain": ("types", ""),
        "grown": ("", "no statistics"),
        "fresh": ("", "never analyzed"),
        "bytes": ("", "never analyzed"),
    }
    nothing = [row for row in rows.values() if row["not_estimated"]]
    assert {(row["expected_pages"], row["bloat_bytes"]) for row in nothing} == {(None, None)}
    assert rows["fresh"]["tuples"] is None
    assert (rows["plain"]["pages"], rows["plain"]["expected_pages"], rows["plain"]["tuple_bytes"]) == (1, 1, 44)


def test_numbers_beyond_reason_break_nothing(version: Version) -> None:
    """Whoever may write the catalogue may write anything."""
    dbname = version.database(
        "create table t (id int, s text)", "create index on t (id)", "insert into t values (1, 'a')", "analyze"
    )
    with version.owner(dbname) as connection:
        connection.execute("set allow_system_table_mods = on")
        for pages_, tuples in ((2**31 - 1, "3e38"), (0, "3e38"), (7, "'NaN'"), (7, "'Infinity'"), (7, "1e-30")):
            statement = f"update pg_class set relpages = {pages_}, reltuples = {tuples} where relname in ('t', 't_id_idx')"
            connection.execute(statement.encode())
            for metric in ("bloat", "tables", "indexes"):
                assert version.ask(metric, dbname).rows
