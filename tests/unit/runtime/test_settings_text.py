"""What `config show` prints is a settings file that means the same."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_file import load_settings
from pganalytics.runtime.settings_text import as_json, as_toml

FULL: dict[str, Any] = {
    "kafka": {"bootstrap": "a:1,b:2", "options": {"security.protocol": "SSL", "linger.ms": 5}},
    "store": {"password_file": 'a "quoted" file'},
    "metrics": {"statements": {"limit": 200}, "database": {"enabled": False}},
    "targets": [{"host": "h1", "name": "one"}, {"host": "h2", "password_command": ["a", "b c"]}],
}


@pytest.mark.parametrize("given", [{}, FULL], ids=["defaults", "full"])
def test_the_text_means_the_same(given: dict[str, Any], tmp_path: Path) -> None:
    """Print, read again, compare."""
    settings = Settings.model_validate(given)
    path = tmp_path / "settings.toml"
    path.write_text(as_toml(settings), encoding="utf-8")
    assert load_settings(path).model_dump() == settings.model_dump()


def test_every_key_has_a_description() -> None:
    """No key stands without a sentence."""
    text = as_toml(Settings.model_validate({"targets": [{"host": "h"}], "metrics": {"statements": {}}}))
    keys = [line for line in text.splitlines() if line and not line.startswith("[")]
    assert len(keys) > 50
    assert [line for line in keys if "  # " not in line] == []


def test_secrets_are_masked() -> None:
    """A password is not printed, nor is an option of the Kafka client that looks like one."""
    options = {"sasl.password": "s3cret", "ssl.key.pem": "s3cret", "sasl.oauthbearer.client.secret": "s3cret", "linger.ms": 77}
    settings = Settings.model_validate({"store": {"password": "s3cret"}, "kafka": {"options": options}})
    text = as_toml(settings)
    assert "s3cret" not in text + as_json(settings)
    assert (tomllib.loads(text)["kafka"]["options"]["linger.ms"], json.loads(as_json(settings))["kafka"]["partitions"]) == (
        77,
        12,
    )
    assert tomllib.loads(text)["store"]["password"] == "********"
