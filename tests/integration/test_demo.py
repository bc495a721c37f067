"""The demo is the product end to end: its exit code and its last line are promises."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import IO

import psycopg

from pganalytics.cli.demo.breaks import BACK_AFTER_S, PARTS
from pganalytics.embedded.kafka import KafkaBroker
from waiting import until

RECORDS = {"emitted", "stored", "dead", "shed", "in_spool", "in_kafka", "missing"}


def demo(
    *arguments: str, kafka: KafkaBroker | None = None, stderr: "int | IO[bytes]" = subprocess.PIPE
) -> "subprocess.Popen[str]":
    """The command as a user runs it; without `kafka` it starts a broker of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PGANALYTICS_", "KAFKA_BOOTSTRAP"))}
    return subprocess.Popen(
        [sys.executable, "-m", "pganalytics.cli", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=env | ({"KAFKA_BOOTSTRAP": kafka.bootstrap} if kafka else {}),
    )


def test_whatever_is_killed_changes_nothing() -> None:
    """--break all --json: exit code 0, one JSON object on the last line, every record stored once."""
    with demo("--seconds", "72", "--json", "--break", "all") as running:
        out, err = running.communicate(timeout=400)
    assert running.returncode == 0, err
    outcome = json.loads(out.splitlines()[-1])
    assert [one["part"] for one in outcome["breaks"]] == list(PARTS)
    for one in outcome["breaks"]:
        assert BACK_AFTER_S < one["recovered_s"] < 60, outcome["breaks"]
        assert f"{one['part']} killed (SIGKILL)" in err
        assert f"{one['part']} is back, records flow again" in err
    assert outcome["ok"] is True
    assert set(outcome["records"]) == RECORDS
    assert outcome["records"]["stored"] == outcome["records"]["emitted"] > 0
    assert all(outcome["records"][name] == 0 for name in RECORDS - {"emitted", "stored"})
    assert outcome["duplicates"] == 0
    assert outcome["collectors"] == 2
    assert len({version.split(".")[0] for version in outcome["server_versions"]}) == 2
    assert outcome["statement_rows"] > 0
    assert 0 < outcome["first_row_s"] < 120
    assert 0 < outcome["latency_s"]["p50"] <= outcome["latency_s"]["p99"]
    assert isinstance(outcome["events"], dict)


def postmaster(settings: Path, name: str) -> int:
    """Of a watched server: its pid, as nobody but its own processes knows it."""
    (target,) = [one for one in tomllib.loads(settings.read_text(encoding="utf-8"))["targets"] if one["name"] == name]
    password = Path(target["password_file"]).read_text(encoding="utf-8").strip()
    with psycopg.connect(
        host=target["host"], port=target["port"], user=target["user"], password=password, dbname="postgres"
    ) as connection:
        stat = Path(f"/proc/{connection.info.backend_pid}/stat").read_bytes()
    return int(stat.rpartition(b")")[2].split()[1])


def test_it_goes_on_without_a_watched_server_and_ctrl_c_drains_and_proves(kafka: KafkaBroker, tmp_path: Path) -> None:
    """A server that is stopped by hand is shown as down, and as up again when it is back. Without --seconds the demo runs until
    Ctrl-C; then it drains and prints the audit. --keep leaves settings and logs."""
    kept, said = tmp_path / "kept", tmp_path / "said"

    def says(pattern: str) -> None:
        until(lambda: re.search(pattern, said.read_text(encoding="utf-8"), re.DOTALL), 60, every_s=0.2, what=pattern)

    with said.open("wb") as stderr, demo("--keep", str(kept), kafka=kafka, stderr=stderr) as running:
        says(r"stored [1-9]")
        os.kill(postmaster(kept / "settings.toml", "db2"), signal.SIGINT)
        says(r"db2 has ended, not by the demo")
        says(r"db2 is down, its heartbeats say")
        says(r"stored [^\n]*, down: db2\n.*db2 runs again.*stored (?![^\n]*down)")
        assert running.poll() is None, "it stopped by itself"
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=400)
    assert running.returncode == 0, said.read_text(encoding="utf-8")
    assert "every record that was emitted is stored, once" in out
    assert (kept / "settings.toml").is_file()
    assert {path.stem for path in (kept / "logs").iterdir()} == {"setup", "collect", "streams", "sink"}


def test_a_broker_that_is_not_the_demo_s_own_is_not_killed(kafka: KafkaBroker) -> None:
    with demo("--break", "kafka", kafka=kafka) as running:
        out, err = running.communicate(timeout=120)
    assert (running.returncode, out) == (2, "")
    assert "unset KAFKA_BOOTSTRAP" in err
