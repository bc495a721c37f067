"""What the operations page tells to type exists: the program parses its commands; settings, metrics and links are looked up."""

import re

import pglast
import pytest
import yaml
from typer.exceptions import TyperException

from alerts import RULES, load_rules
from operations import PAGE, PROGRAM, ROOT, TEXT, anchors, blocks, command_lines, inline_commands, parse_command, sql
from pganalytics.runtime.endpoint import HttpSettings
from pganalytics.runtime.self_metrics import SELF_METRICS, Service
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import EventKind
from pganalytics.sink.records import Reason

OTHERS = {"curl", "pg_dump", "pg_restore", "psql"}
"""Programs of others: few, and everybody who runs PostgreSQL has them."""
OURS = [words for words in command_lines() if words[0] == PROGRAM]


def test_only_programs_that_are_known_are_typed() -> None:
    assert {words[0] for words in command_lines()} == {PROGRAM, *OTHERS}


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_a_command_of_the_page_is_taken_by_the_program(words: list[str]) -> None:
    assert parse_command(words)


@pytest.mark.parametrize("rule", load_rules())
def test_a_command_of_a_runbook_is_taken_by_the_program(rule: str) -> None:
    text = load_rules()[rule].annotations["runbook"].replace("{{ $labels.collector }}", "db1")
    for words in inline_commands(text):
        assert parse_command(words)


def test_a_command_within_a_sentence_is_taken_by_the_program() -> None:
    found = inline_commands(TEXT)
    assert found
    for words in found:
        assert parse_command(words)


@pytest.mark.parametrize(
    "words",
    [
        "pganalytics restart",
        "pganalytics quota",
        "pganalytics quota give db1",
        "pganalytics status --nonsense",
        "pganalytics retire",
        "pganalytics events --kind nonsense",
        "pganalytics audit --wait soon",
        "pganalytics sink now",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(words: str) -> None:
    with pytest.raises((AssertionError, TyperException)):
        parse_command(words.split())


def test_links_lead_somewhere() -> None:
    for name, anchor in re.findall(r"\]\(([\w.-]*)#?([\w-]*)\)", TEXT):
        page = PAGE.parent / name if name else PAGE
        assert page.is_file(), name
        assert not anchor or anchor in anchors(page.read_text(encoding="utf-8")), anchor


def test_settings_that_are_named_exist() -> None:
    """As in `collect.state_dir`."""
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    found = re.findall(r"`(kafka|store|collect|streams|sink)\.([a-z_]+)`", TEXT)
    assert len(found) > 5
    for section, key in found:
        assert key in sections[section].model_fields, f"{section}.{key}"  # type: ignore[union-attr]


def test_metrics_and_kinds_that_are_named_exist() -> None:
    assert set(re.findall(r"`(pganalytics_\w+)`", TEXT)) <= {one.name for one in SELF_METRICS}
    assert set(re.findall(r"events --kind (\w+)", TEXT)) <= set(EventKind)
    section = TEXT.split("### PganalyticsDeadLetters")[1].split("\n###")[0]
    assert {"event_unreadable", "refused_schema", "future", "too_old", "not_storable", "stub"} <= set(Reason)
    assert set(re.findall(r"`([a-z]+(?:_[a-z]+)?)`", section)) - {"reason"} <= set(Reason)


def test_statements_are_sql() -> None:
    assert len(sql()) == 7
    for statement in sql():
        assert pglast.parse_sql(statement)


def test_what_prometheus_is_told_is_yaml_with_jobs_that_rules_know() -> None:
    (text,) = blocks("yaml")
    found = yaml.safe_load(text)
    assert found["rule_files"] == [RULES.name]
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in found["scrape_configs"]}
    defaults = Settings()
    ports: dict[Service, HttpSettings] = {
        Service.COLLECT: defaults.collect,
        Service.STREAMS: defaults.streams,
        Service.SINK: defaults.sink,
    }
    assert jobs == {f"pganalytics-{service}": [f"{one.http_host}:{one.http_port}"] for service, one in ports.items()}


def test_the_page_is_found() -> None:
    for name in ("README.md", "CHANGELOG.md"):
        assert "docs/operations.md" in (ROOT / name).read_text(encoding="utf-8")
