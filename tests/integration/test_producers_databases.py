"""Metrics of database scope: each database once, those that come and go, those that cannot be read; and metrics of the user."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.producers_feed import AgentProcess, Arrived, Watched, collected, of_metric, watched, with_targets
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas, load_schema
from waiting import until

HEADER = "-- scope: {scope}\n-- interval: 60 s\n-- timeout: 5 s\n-- privilege: none\n-- server: 13\n"
CONTEXT = """-- context
select (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint as server_time, '1'::text as system_identifier,
    1::bigint as postmaster_start, 1::bigint as lineage, null::bigint as crash;
"""
QUERY = "inserts/13.sql"
INSERTS = "-- rows\nselect relid::bigint as relid, relname::text as relname, n_tup_ins from pg_catalog.pg_stat_user_tables;\n"
COLUMNS = """-- rows
select c.relname::text || '.' || a.attname::text as name, pg_catalog.format_type(a.atttypid, a.atttypmod) as definition
from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and c.relnamespace::regnamespace::text = 'public';
"""


def own_metric(folder: Path, name: str, scope: str, query: str, fields: list[dict[str, Any]], **attributes: Any) -> None:
    avro = builtin_schemas()["database"].avro
    policy = {"name": name, "scope": scope, "interval_s": 60, "timeout_s": 5, "lane": "bulk", **attributes}
    schema = {**avro, **policy, "fields": [*avro["fields"][:8], *fields]}
    (folder / f"{name}.avsc").write_text(json.dumps(schema))
    (folder / name).mkdir()
    (folder / name / "13.sql").write_text(HEADER.format(scope=scope) + query)


def column(name: str, primitive: str, role: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": {"type": "array", "items": primitive}, "role": role, "doc": "d", **more}


DATNAME = {"name": "datname", "type": "string", "role": "label", "doc": "d"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two metrics of a user, of database scope: one counts, one is sent when it changes, and is tracked."""
    made = tmp_path / "metrics"
    made.mkdir()
    counted = [DATNAME, column("relid", "long", "key"), column("relname", "string", "label")]
    own_metric(
        made,
        "inserts",
        "database",
        CONTEXT + INSERTS,
        [*counted, column("n_tup_ins", "long", "counter", unit="rows")],
        send="changed",
    )
    content = [
        DATNAME,
        column("name", "string", "key"),
        column("definition", "string", "label"),
        column("gone", "boolean", "label"),
    ]
    own_metric(made, "columns", "database", COLUMNS, content, send="changed", resend_s=604800, tracked=True)
    return made


@pytest.fixture
def databases(postgres: PostgresServer) -> Iterator[Callable[[str], psycopg.Connection]]:
    """Makes databases, each with a table of two columns; they go with the test."""
    with psycopg.connect(postgres.conninfo(), autocommit=True) as admin, ExitStack() as stack:

        def make(name: str) -> psycopg.Connection:
            admin.execute(f'create database "{name}"')
            connection = stack.enter_context(psycopg.connect(postgres.conninfo(name), autocommit=True))
            stack.callback(admin.execute, f'drop database if exists "{name}" with (force)')
            connection.execute("create table visits (n int, note text)")
            return connection

        yield make


def chosen(settings: Settings, one: Watched, folder: Path, **target: object) -> Settings:
    quick = {name: {"interval_s": 1} for name in ("heartbeat", "metric_status", "inserts", "columns")}
    made = with_targets(settings, one.target("one", **target), metrics_dir=folder)
    return Settings.model_validate(made.model_dump() | {"metrics": quick})


def rows(settings: Settings, metric: str, schemas: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(database, row) of all records of one metric of the user, in order."""
    found = []
    for one in of_metric(collected(settings.kafka, schemas), metric):
        names = [field.name for field in schemas[metric].groups["rows"]]
        cells = [one.body[name] or [None] * len(one.body[names[0]]) for name in names]
        found += [(one.body["datname"], dict(zip(names, row, strict=True))) for row in zip(*cells, strict=True)]
    return found


def test_each_database_is_read_and_those_that_come_and_go_are_noticed_without_an_error(
    settings: Settings, one: Watched, folder: Path, log: Path, databases: Callable[[str], psycopg.Connection]
) -> None:
    schemas = {path.stem: load_schema(path.read_text()) for path in folder.glob("*.avsc")}
    prefix = one.dbname
    odd = f"{prefix} o'dd é"
    first, second = databases(f"{prefix}_1"), databases(odd)
    settings = chosen(settings, one, folder, databases=[f"{prefix}*"], hold_databases=1)

    def inserted(database: str) -> int:
        found = [(name, row) for name, row in rows(settings, "inserts", schemas) if name == database]
        return sum(row["n_tup_ins"] for _, row in found if row["relname"] == "visits")

    def columns() -> set[tuple[str, str, bool]]:
        return {(name, row["name"], bool(row["gone"])) for name, row in rows(settings, "columns", schemas)}

    with AgentProcess(settings, log) as agent:
        until(lambda: {(f"{prefix}_1", "visits.n", False), (odd, "visits.note", False)} <= columns())
        for connection, times in ((first, 7), (second, 11)):
            connection.execute("insert into visits select generate_series(1, %s)", (times,))
        until(lambda: (inserted(f"{prefix}_1"), inserted(odd)) == (7, 11), 60)
        third = databases(f"{prefix}_3")
        until(lambda: (f"{prefix}_3", "visits.n", False) in columns(), 60)
        second.execute("alter table visits drop column note")
        until(lambda: (odd, "visits.note", True) in columns(), 60)
        third.close()
        with psycopg.connect(one.server.conninfo(), autocommit=True) as admin:
            admin.execute(f'drop database "{prefix}_3" with (force)')
        seen = len(of_metric(collected(settings.kafka, schemas), "heartbeat"))
        until(lambda: len(of_metric(collected(settings.kafka, schemas), "heartbeat")) > seen + 3)
        assert agent.stop() == 0
        assert [line for line in agent.log if " WARNING " in line or " ERROR " in line] == []
    beats = of_metric(collected(settings.kafka, schemas), "heartbeat")
    assert max(one.body["pool_connections"] for one in beats) <= 4


def test_changes_while_no_agent_ran_are_told_once(
    settings: Settings, one: Watched, folder: Path, log: Path, databases: Callable[[str], psycopg.Connection]
) -> None:
    schemas = {path.stem: load_schema(path.read_text()) for path in folder.glob("*.avsc")}
    name = f"{one.dbname}_1"
    connection = databases(name)
    settings = chosen(settings, one, folder, databases=[name])

    def told() -> list[dict[str, Any]]:
        return [row for each in of_metric(collected(settings.kafka, schemas), "change") for row in each.rows()]

    with AgentProcess(settings, log) as agent:
        until(lambda: rows(settings, "columns", schemas))
        assert agent.stop() == 0
    assert told() == []
    connection.execute("alter table visits alter column n type bigint, add column place text, drop column note")
    for _ in range(2):
        before = len(of_metric(collected(settings.kafka, schemas), "heartbeat"))
        with AgentProcess(settings, log) as agent:
            until(told)
            until(lambda before=before: len(of_metric(collected(settings.kafka, schemas), "heartbeat")) > before + 3)  # type: ignore[misc]
            assert agent.stop() == 0
    common = {"kind": "columns", "database": name}
    wanted = [
        {"item": "visits.note", **common, "action": "dropped", "attribute": "", "old": "\0", "new": "\0"},
        {"item": "visits.n", **common, "action": "altered", "attribute": "definition", "old": "integer", "new": "bigint"},
        {"item": "visits.place", **common, "action": "created", "attribute": "", "old": "\0", "new": "\0"},
    ]
    assert sorted(told(), key=str) == sorted(wanted, key=str)


def statuses(arrived: list[Arrived]) -> list[dict[tuple[str, str], str]]:
    """(metric, database) and kind, of each record."""
    return [{(row["metric"], row["database"]): row["kind"] for row in one.rows()} for one in of_metric(arrived, "metric_status")]


def test_what_cannot_be_read_is_told_and_that_it_can_be_again(
    settings: Settings, postgres: PostgresServer, tmp_path: Path, folder: Path, log: Path
) -> None:
    bare = watched(postgres, tmp_path, extension=False)
    name = f"{bare.dbname}_shut"
    schemas = {path.stem: load_schema(path.read_text()) for path in folder.glob("*.avsc")}
    with psycopg.connect(postgres.conninfo(), autocommit=True) as admin:
        admin.execute(f"create database {name}")
        admin.execute(f"revoke connect on database {name} from public")
        quick = chosen(settings, bare, folder, databases=[f"{bare.dbname}*"])
        quick = quick.model_copy(update={"metrics": quick.metrics | {"statements": quick.metrics["inserts"]}})
        with AgentProcess(quick, log) as agent:
            until(
                lambda: (
                    {("statements", ""): "extension", ("", name): "privilege"}.items()
                    <= (statuses(collected(quick.kafka, schemas)) or [{}])[-1].items()
                )
            )
            admin.execute(f"grant connect on database {name} to public")
            with psycopg.connect(postgres.conninfo(bare.dbname), autocommit=True) as connection:
                connection.execute("create extension pg_stat_statements")
            until(
                lambda: not {("statements", ""), ("", name)} & set(statuses(collected(quick.kafka, schemas))[-1]),
            )
            assert agent.stop() == 0
        admin.execute(f"drop database {name} with (force)")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "inserts.avsc").write_text("{"), "inserts.avsc: schema is not JSON"),
        (lambda folder: (folder / "inserts.avsc").rename(folder / "other.avsc"), "the file must be named inserts.avsc"),
        (lambda folder: (folder / "inserts" / "13.sql").unlink(), "no query: put at least one into"),
        (lambda folder: (folder / "columns.avsc").unlink(), "columns: a folder of queries without columns.avsc"),
        (lambda folder: (folder / "inserts" / "13.sql").write_text(HEADER.format(scope="instance") + CONTEXT + INSERTS), "scope"),
        (
            lambda folder: (folder / "inserts" / "13.sql").write_text(HEADER.format(scope="database") + INSERTS),
            "needs a `-- context`",
        ),
        (lambda folder: (folder / "inserts" / "13.sql").write_text(INSERTS), "inserts/13.sql: no interval, privilege"),
    ],
)
def test_a_mistake_in_a_metric_of_the_user_is_named_at_the_start(
    damage: Callable[[Path], object], says: str, settings: Settings, one: Watched, folder: Path, log: Path
) -> None:
    damage(folder)
    made = with_targets(settings, one.target("one"), metrics_dir=folder)
    with AgentProcess(made, log) as agent:
        assert agent.exit_code() == 2
        assert [line for line in agent.log if says in line], agent.log


def test_a_metric_of_the_user_whose_answer_does_not_fit_fails_alone(
    settings: Settings, one: Watched, tmp_path: Path, log: Path
) -> None:
    """A counter that is a text, a context in which something is missing, a key that is an array; and no value is told."""
    made = tmp_path / "odd"
    made.mkdir()
    counted = [column("n", "long", "key"), column("done", "long", "counter", unit="rows")]
    good = "-- rows\nselect 1::bigint as n, 1::bigint as done;\n"
    odd = {
        "text_counter": CONTEXT + good.replace("1::bigint as done", "'s3cret'::text as done"),
        "huge_counter": CONTEXT + good.replace("1::bigint as done", "77e30::numeric as done"),
        "no_lineage": CONTEXT.replace("1::bigint as lineage, ", "") + good,
        "array_key": CONTEXT + good.replace("1::bigint as n", "array[1]::bigint[] as n"),
    }
    for name, query in odd.items():
        own_metric(made, name, "instance", query, counted, send="changed")
    quick = {name: {"interval_s": 0.5} for name in ("heartbeat", *odd)}
    chosen = Settings.model_validate(
        with_targets(settings, one.target("one"), metrics_dir=made).model_dump() | {"metrics": quick}
    )
    with AgentProcess(chosen, log) as agent:
        for name in odd:
            assert "error=bad_answer" in agent.wait_for(f"metric={name} ")
        beats = len(of_metric(collected(chosen.kafka), "heartbeat"))
        until(lambda: len(of_metric(collected(chosen.kafka), "heartbeat")) > beats + 1)
        assert agent.stop() == 0
    assert agent.lines("s3cret") == []
