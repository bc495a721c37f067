"""The reference of the settings is made from the settings, and what it says of them is so."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_file import load_settings
from pganalytics.runtime.settings_reference import as_markdown, tables

DOCUMENT = Path(__file__).parents[3] / "docs/settings.md"


def test_the_document_is_made_from_the_settings() -> None:
    told = DOCUMENT.read_text(encoding="utf-8")
    assert told == as_markdown(), "docs/settings.md is not what the settings say: run `make docs`"


def test_every_key_is_in_it_with_a_sentence() -> None:
    text = as_markdown()
    names = {table.name for table in tables()}
    assert {"kafka", "store", "targets", "targets.metrics.NAME", "streams.quota", "streams.rules", "log"} <= names
    for table in tables():
        section = text.split(f"{table.name}]", 1)[1].split("\n## ", 1)[0]
        rows = {row.split("`")[1]: row for row in section.splitlines() if row.startswith("| `")}
        inner = {other.name.removeprefix(f"{table.name}.").split(".")[0] for other in tables()}
        assert rows.keys() | inner >= table.model.model_fields.keys(), table.name
        assert all(re.search(r"[A-Za-z]{2}.*\|$", row.split("|")[-2] + "|") for row in rows.values()), table.name


def test_defaults_are_those_in_effect() -> None:
    settings, text = Settings.model_validate({}), as_markdown()
    assert f'| `dbname` | `"{settings.store.dbname}"` |' in text.split("## `[store]`")[1].split("## ")[0]
    assert f"| `records_per_s` | `{settings.streams.quota.records_per_s:g}` |" in text


def test_the_environment_counts_more_than_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[streams.quota]\nrecords_per_s = 7\nburst_s = 9\n", encoding="utf-8")
    monkeypatch.setenv("PGANALYTICS_STREAMS__QUOTA__RECORDS_PER_S", "20")
    monkeypatch.setenv("PGANALYTICS_TARGETS", '[{"host": "db1.example"}]')
    settings = load_settings(file)
    assert (settings.streams.quota.records_per_s, settings.streams.quota.burst_s) == (20, 9)
    assert [target.host for target in settings.targets] == ["db1.example"]
    monkeypatch.delenv("PGANALYTICS_TARGETS")
    monkeypatch.setenv("PGANALYTICS_CONFIG", str(file))
    assert load_settings(None).streams.quota.burst_s == 9


def test_each_table_is_a_model() -> None:
    assert all(issubclass(table.model, BaseModel) and table.about for table in tables())


def test_what_is_live_is_marked_and_nothing_else() -> None:
    """The marks are those that the services go by."""
    text = as_markdown()
    marked = {table.name for table in tables() if table.live}
    assert marked == {"metrics.NAME", "targets", "targets.metrics.NAME", "streams.rules"}
    for table in tables():
        section = text.split(f"{table.name}]", 1)[1].split("\n## ", 1)[0]
        assert section.count("**Live.**") == (table.live or table.name == "collect"), table.name
    assert "**Live.**" in next(line for line in text.splitlines() if line.startswith('| `preset` | `"standard"`'))
