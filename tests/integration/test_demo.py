"""The demo is the product end to end: its exit code and its last line are promises."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pganalytics.cli.demo.breaks import BACK_AFTER_S, PARTS
from pganalytics.embedded.kafka import KafkaBroker

RECORDS = {"emitted", "stored", "dead", "shed", "in_spool", "in_kafka", "missing"}


def demo(*arguments: str, kafka: KafkaBroker | None = None) -> "subprocess.Popen[str]":
    """The command as a user runs it; without `kafka` it starts a broker of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PGANALYTICS_", "KAFKA_BOOTSTRAP"))}
    return subprocess.Popen(
        [sys.executable, "-m", "pganalytics.cli", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env | ({"KAFKA_BOOTSTRAP": kafka.bootstrap} if kafka else {}),
    )


@pytest.mark.timeout(240)
def test_whatever_is_killed_changes_nothing() -> None:
    """--break all --json: exit code 0, one JSON object on the last line, every record stored once."""
    with demo("--seconds", "72", "--json", "--break", "all") as running:
        out, err = running.communicate(timeout=220)
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


@pytest.mark.timeout(240)
def test_ctrl_c_drains_and_proves(kafka: KafkaBroker, tmp_path: Path) -> None:
    """Without --seconds it runs until Ctrl-C; then it drains and prints the audit. --keep leaves settings and logs."""
    kept = tmp_path / "kept"
    with demo("--keep", str(kept), kafka=kafka) as running:
        time.sleep(25)
        assert running.poll() is None, "it stopped by itself"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=200)
    assert running.returncode == 0, err
    assert "every record that was emitted is stored, once" in out
    assert (kept / "settings.toml").is_file()
    assert {path.stem for path in (kept / "logs").iterdir()} == {"setup", "collect", "streams", "sink"}


def test_a_broker_that_is_not_the_demo_s_own_is_not_killed(kafka: KafkaBroker) -> None:
    with demo("--break", "kafka", kafka=kafka) as running:
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (2, "")
    assert "unset KAFKA_BOOTSTRAP" in err
