"""Commands answer with one clear line and an exit code, never with a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pganalytics.embedded.ports import free_port

ENVIRON = {key: value for key, value in os.environ.items() if not key.startswith("PGANALYTICS_")}


def pganalytics(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "pganalytics.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRON | (env or {}),
    )


def test_help_and_version() -> None:
    """Help names every command; the version is that of the package."""
    shown = pganalytics("--help").stdout
    for command in (
        "demo",
        "setup",
        "check",
        "collect",
        "streams",
        "sink",
        "status",
        "top",
        "events",
        "gaps",
        "audit",
        "retire",
        "metrics",
        "dead-letters",
        "replay",
        "quota",
        "config",
        "version",
    ):
        assert command in shown
    assert pganalytics("version").stdout.startswith("pganalytics 0.")


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("demo", "--nonsense"), ("demo", "--targets", "0"), ("audit", "--wait", "x")]
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    """Exit code 2."""
    done = pganalytics(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", ["collect", "streams", "sink", "setup", "check", "metrics list", "quota list", "audit", "config show"]
)
def test_wrong_settings(command: str, tmp_path: Path) -> None:
    """Every command names the file, the key and the cure."""
    path = tmp_path / "settings.toml"
    path.write_text('[kafka]\nbootsrap = "x"\n', encoding="utf-8")
    done = pganalytics(*command.split(), "-c", str(path))
    assert done.returncode == 2
    assert done.stderr == f"pganalytics: {path}: kafka.bootsrap: unknown key; did you mean `bootstrap`?\n"
    assert done.stdout == ""


def test_the_traceback_is_at_v(tmp_path: Path) -> None:
    """For whoever reports a bug."""
    assert "Traceback" in pganalytics("config", "show", "-v", "-c", str(tmp_path / "absent.toml")).stderr


@pytest.mark.parametrize("command", ["collect", "streams", "sink", "setup", "quota list", "quota set db1 --burst-s 5"])
def test_a_broker_that_is_not_there(command: str, tmp_path: Path) -> None:
    """One line names it and says what to do; exit code 69."""
    path = tmp_path / "settings.toml"
    kafka = f'[kafka]\nbootstrap = "127.0.0.1:{free_port()}"\ntimeout_s = 1\n'
    path.write_text(f'{kafka}[collect]\nstate_dir = "{tmp_path}/s"\n[[targets]]\nhost = "h"\n', encoding="utf-8")
    done = pganalytics(*command.split(), "-c", str(path))
    assert done.returncode == 69, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("pganalytics: ")]
    assert len(lines) == 1
    assert "kafka 127.0.0.1:" in lines[0]
    assert "kafka.bootstrap" in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("db1",), "quota 'db1': set at least one of records_per_s, rows_per_s, bytes_per_s, burst_s"),
        (("db1", "--records-per-s", "0"), "quota 'db1': records_per_s: Input should be greater than 0"),
        (
            ("db 1", "--burst-s", "5"),
            "quota 'db 1': neither the id of a collector nor a pattern of * and ? and characters of ids",
        ),
    ],
)
def test_a_quota_is_checked_before_anything_is_written(arguments: tuple[str, ...], why: str) -> None:
    """Before the broker is asked at all: exit code 2."""
    done = pganalytics("quota", "set", *arguments, env={"PGANALYTICS_KAFKA__BOOTSTRAP": f"127.0.0.1:{free_port()}"})
    assert (done.returncode, done.stderr) == (2, f"pganalytics: {why}\n")


def test_config_show_as_json() -> None:
    """Programs read JSON."""
    done = pganalytics("config", "show", "--json", env={"PGANALYTICS_KAFKA__PARTITIONS": "3"})
    assert json.loads(done.stdout)["kafka"]["partitions"] == 3


def test_setup_prints_the_topics() -> None:
    """For those who may not make topics: one command line each."""
    lines = pganalytics("setup", "--print").stdout.splitlines()
    assert len(lines) == 12
    assert all("--create --topic pganalytics." in line for line in lines)


def test_the_demo_needs_an_empty_folder(tmp_path: Path) -> None:
    """Nothing of the user's is written over."""
    (tmp_path / "mine").touch()
    done = pganalytics("demo", "--keep", str(tmp_path))
    assert (done.returncode, done.stderr) == (2, f"pganalytics: {tmp_path} is not empty: name an empty or a new folder\n")


def test_the_demo_needs_java(tmp_path: Path) -> None:
    """The missing tool is named, with how to get it."""
    done = pganalytics("demo", "--seconds", "5", env={"PATH": str(tmp_path), "JAVA_HOME": ""})
    assert done.returncode == 69
    assert any(line.startswith("pganalytics: Java") for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr
