"""`pganalytics metrics`: of the package and of the user."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pganalytics.cli.main import build_app
from pganalytics.schemas.metric import builtin_schemas

QUERY = """-- scope: instance
-- interval: 60 s
-- timeout: 10 s
-- privilege: pg_monitor
-- server: 15
-- rows
select 1::bigint as tickets;
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Settings with one metric of the user's."""
    folder = tmp_path / "metrics"
    (folder / "tickets").mkdir(parents=True)
    avro = builtin_schemas()["database"].avro
    tickets = {
        "name": "tickets",
        "type": {"type": "array", "items": "long"},
        "role": "gauge",
        "unit": "1",
        "doc": "Open \x1b[2J.",
    }
    schema = {**avro, "name": "tickets", "doc": "Tickets.", "fields": [*avro["fields"][:8], tickets]}
    (folder / "tickets.avsc").write_text(json.dumps(schema))
    (folder / "tickets" / "15.sql").write_text(QUERY)
    path = tmp_path / "settings.toml"
    path.write_text(f'[collect]\nmetrics_dir = "{folder}"\n')
    return str(path)


def invoke(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(build_app(), ["metrics", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_list_has_all(config: str) -> None:
    code, text, _ = invoke("list", "-c", config)
    assert code == 0
    lines = {line.split()[0]: line.split() for line in text.splitlines()}
    assert set(lines) == {"metric", "tickets"} | set(builtin_schemas())
    assert lines["tickets"] == ["tickets", "normal", "instance", "60", "s", "own", "15,", "pg_monitor"]
    assert lines["heartbeat"][:6] == ["heartbeat", "critical", "instance", "30", "s", "minimal"]
    said = json.loads(invoke("list", "--json", "-c", config)[1])
    assert {one["name"] for one in said} == {"tickets"} | set(builtin_schemas())


def test_one_metric_is_shown_with_its_query(config: str) -> None:
    code, text, _ = invoke("show", "tickets", "-c", config)
    assert code == 0
    assert text.startswith("tickets: Tickets.\n")
    assert "query tickets/15.sql\n-- rows\nselect 1::bigint as tickets;\n" in text
    assert "\x1b" not in text
    assert "Open \\x1b[2J." in text
    assert "query database/14.sql" in invoke("show", "database", "--server-version", "17")[1]
    assert json.loads(invoke("show", "database", "--json", "--server-version", "17")[1])["query"]["variant"] == "14"
    assert "made by the agent" in invoke("show", "change")[1]


def test_what_there_is_not(config: str) -> None:
    code, _, said = invoke("show", "tickets", "--server-version", "14", "-c", config)
    assert (code, said) == (1, "pganalytics: tickets: no query for PostgreSQL 14; it needs 15 or later\n")
    code, _, said = invoke("show", "nothing")
    assert code == 2
    assert said.startswith("pganalytics: no metric nothing; known: activity, ")
