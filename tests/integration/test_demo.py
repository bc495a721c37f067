"""The demo is the product end to end: its exit code and its last line are promises."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pganalytics.embedded.kafka import KafkaBroker

RECORDS = {"emitted", "stored", "dead", "shed", "in_spool", "in_kafka", "missing"}


def demo(*arguments: str, kafka: KafkaBroker) -> "subprocess.Popen[str]":
    env = {key: value for key, value in os.environ.items() if not key.startswith("PGANALYTICS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "pganalytics.cli", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env | {"KAFKA_BOOTSTRAP": kafka.bootstrap},
    )


@pytest.mark.timeout(240)
def test_a_killed_sink_changes_nothing(kafka: KafkaBroker) -> None:
    """--break sink --json: exit code 0, one JSON object on the last line, every record stored once."""
    with demo("--seconds", "24", "--json", "--break", "sink", kafka=kafka) as running:
        out, err = running.communicate(timeout=200)
    assert running.returncode == 0, err
    assert "sink killed (SIGKILL)" in err
    assert "sink started again" in err
    outcome = json.loads(out.splitlines()[-1])
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
