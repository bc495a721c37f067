"""Every metric of instance scope on PostgreSQL 13 to 18, primary and standby, as a role that has pg_monitor and nothing else."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import resources

import psycopg
import pytest

from integration.pairs import Pair, answer_of
from integration.producers_feed import Asker
from pganalytics.embedded.binaries import find_postgres
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.catalogue import ServerFacts, Variant, load_catalogue
from pganalytics.producers.emission import emit_gauges, reading_of
from pganalytics.producers.reading import BEGAN, CONTEXT, layout_of
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.statuses import METRIC_STATUS
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.metric import Field, MetricSchema, Scope, builtin_schemas

CATALOGUE = load_catalogue(builtin_schemas())
METRICS = [
    name
    for name in CATALOGUE.variants
    if builtin_schemas()[name].scope is Scope.INSTANCE and not CATALOGUE.needs_extension(name) and name != METRIC_STATUS
]
"""`metric_status` is what the agent knows, and its query asks for something else: the databases."""
TYPES = {"long": 20, "double": 701, "string": 25, "boolean": 16}
VERSIONS = re.compile(r"\(PostgreSQL (\d+)(?: to (\d+))?")
COMPUTED = {"reset", "gone"}
OF_THE_AGENT = {"server_time"}
"""What the agent makes of a reading, and what it reads to make it."""


@pytest.mark.parametrize("metric", METRICS)
def test_columns_are_fields_of_the_schema_with_their_types(pair: Pair, metric: str) -> None:
    """On both servers, also when there are no rows; and each query runs in psql unchanged."""
    for server in (pair.primary, pair.standby):
        if (variant := fitting(metric, pair)) is not None:
            with psycopg.connect(as_watcher(pair, server), options="-c jit=off") as connection:
                check_columns(connection, variant)
            run_in_psql(pair, server, variant)


@pytest.mark.parametrize("metric", METRICS)
def test_answers_become_records(pair: Pair, metric: str) -> None:
    """What is read fits into a record, on both servers."""
    if fitting(metric, pair) is None:
        return
    for asker in (pair.primary_asker, pair.standby_asker):
        check_record(asker, builtin_schemas()[metric])


def test_each_field_is_read_by_some_variant() -> None:
    """No field that is always empty."""
    for metric in METRICS:
        schema, variants = builtin_schemas()[metric], CATALOGUE.variants[metric]
        words = {
            word for one in variants for part in (one.context or "", *one.groups.values()) for word in re.findall(r"\w+", part)
        }
        own = {field.name for field in schema.fields if metric != "heartbeat"} - COMPUTED
        assert own - words == set(), metric


def fitting(metric: str, pair: Pair) -> Variant | None:
    """The query that this server gets."""
    facts = ServerFacts((pair.major,), "", "", reads_all_stats=True, extensions={})
    chosen = CATALOGUE.choose(metric, facts)
    assert isinstance(chosen, Variant) or pair.major < min(one.server[0] for one in CATALOGUE.variants[metric])
    return chosen if isinstance(chosen, Variant) else None


def as_watcher(pair: Pair, server: PostgresServer) -> str:
    password = pair.watched.password_file.read_text().strip()
    return server.conninfo(pair.watched.dbname, user=pair.watched.user, password=password)


def check_columns(connection: psycopg.Connection, variant: Variant) -> None:
    """Columns are those fields of the schema that this version has, by what their docs say, and of their types."""
    schema = builtin_schemas()[variant.metric]
    facts = ServerFacts(variant.server, "", "", reads_all_stats=True, extensions={})
    context, groups = variant.statements(facts, schema.parameters)
    scalars = [field for field in schema.scalars if field.name not in COMPUTED]
    if variant.metric == "heartbeat":  # the agent's own fields are among them
        got = columns(connection, groups["rows"])
        known = {field.name: TYPES[field.primitive] for field in scalars}
        assert {name: kind for name, kind in got.items() if name not in OF_THE_AGENT}.items() <= known.items()
        return
    if context is not None:
        got = columns(connection, context)
        check_fields(connection, {name: kind for name, kind in got.items() if name not in CONTEXT}, scalars)
    assert set(groups) == set(schema.groups)
    for group, text in groups.items():
        got = columns(connection, text)
        assert next(iter(got)) == schema.groups[group][0].name
        names = {field.name for field in schema.groups[group]}
        check_fields(
            connection, {name: kind for name, kind in got.items() if name in names or name not in BEGAN}, schema.groups[group]
        )


def check_fields(connection: psycopg.Connection, got: Mapping[str, int], fields: Sequence[Field]) -> None:
    major = connection.info.server_version // 10000
    wanted = {field.name: TYPES[field.primitive] for field in fields if is_there(field, major) and field.name not in COMPUTED}
    no_rows = connection.info.server_version < 150000 and "error_subid" in wanted
    assert got == wanted or (no_rows and set(got) == {"error_subid"})


def is_there(field: Field, major: int) -> bool:
    """Whether a version has a field; its doc says (PostgreSQL 14) for from 14 on, (PostgreSQL 14 to 17) for not later than 17."""
    said = VERSIONS.search(field.doc)
    return said is None or int(said[1]) <= major <= int(said[2] or major)


def columns(connection: psycopg.Connection, text: str) -> dict[str, int]:
    """Names and types, without any row."""
    described = connection.execute(f"select * from ({text}) as q limit 0".encode()).description or []
    assert len({column.name for column in described}) == len(described)
    return {column.name: column.type_code for column in described}


def run_in_psql(pair: Pair, server: PostgresServer, variant: Variant) -> None:
    psql = next(path for binaries in find_postgres() if (path := binaries.bin_dir / "psql").is_file())
    file = resources.files("pganalytics.producers").joinpath(f"queries/{variant.metric}/{variant.name}.sql")
    info = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", server.host, "-p", str(server.port)]
    who = ["-U", pair.watched.user, "-d", pair.watched.dbname]
    environ = os.environ | {"PGPASSWORD": pair.watched.password_file.read_text().strip()}
    done = subprocess.run(
        [psql, *info, *who, "-f", str(file)], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), variant.name
    assert "row" in done.stdout


def check_record(asker: Asker, schema: MetricSchema) -> None:
    answer = answer_of(asker, schema.name)
    if schema.name == "heartbeat":
        assert len(answer.groups["rows"].rows) == 1
    elif schema.counts:
        assert reading_of(layout_of(schema), answer) is not None
    else:
        emission = emit_gauges(schema, answer, {}, had_rows=True, redaction=Redaction.LITERALS)
        assert emission.values is not None
        assert RecordCodec(schema).encode_rest(emission.values)
