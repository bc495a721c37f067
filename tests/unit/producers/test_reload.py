"""The settings file under a running agent: what can be used is taken up whole, what cannot changes nothing and is told."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pganalytics.producers.collectors import Job
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.membership import Changes, changes_of
from pganalytics.producers.meters import Meters
from pganalytics.producers.plan import make_plan
from pganalytics.producers.reload import Reload
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings_file import load_settings
from pganalytics.runtime.settings_watch import LOOK_S, SettingsWatch
from unit.producers.test_meters import read

ONE = '[[targets]]\nname = "one"\n'
TWO = '[[targets]]\nname = "two"\n'


class Edited:
    """A settings file and the agent that reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 0.0
        self.settings_refused = False
        self.has_room = True
        self.taken: list[Changes] = []
        self.measurements = build_measurements(Service.COLLECT)
        path.write_text(ONE, encoding="utf-8")
        settings = load_settings(path)
        plan = make_plan(settings, "machine")
        self._jobs: Sequence[Job] = plan.jobs
        self.reload = Reload(SettingsWatch(path), settings, plan, self, Meters(self.measurements))

    def take(self, jobs: Sequence[Job]) -> Changes:
        if not self.has_room:
            raise Refused("disk")
        self.taken.append(changes_of(self._jobs, jobs))
        self._jobs = jobs
        return self.taken[-1]

    @property
    def names(self) -> set[str]:
        return {job.key.collector for job in self._jobs}

    def pass_time(self, looks: int = 2) -> None:
        for _ in range(looks):
            self.now += LOOK_S
            self.reload.turn(self.now, at_once=False)

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")
        self.pass_time()

    def said(self, what: str) -> float:
        return read(self.measurements, f"pganalytics_collect_settings_{what}")[()]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edited:
    monkeypatch.delenv("PGANALYTICS_CONFIG", raising=False)
    return Edited(tmp_path / "settings.toml")


def lines(caplog: pytest.LogCaptureFixture, level: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.levelname == level]


def test_what_is_written_is_taken_up_when_it_changes_no_more(file: Edited) -> None:
    file.pass_time(3)
    assert file.taken == []
    file.path.write_text(ONE + TWO, encoding="utf-8")
    file.pass_time(1)
    assert file.taken == [], "somebody may still be writing"
    file.pass_time(1)
    assert file.names == {"one", "two"}
    file.pass_time(3)
    assert len(file.taken) == 1


def test_a_hangup_waits_for_nothing(file: Edited) -> None:
    file.path.write_text(TWO, encoding="utf-8")
    file.reload.turn(0.0, at_once=True)
    assert file.taken == [Changes(frozenset({"two"}), frozenset(), frozenset({"one"}))]
    file.pass_time(3)
    assert len(file.taken) == 1


def test_a_file_that_takes_the_place_of_another_is_noticed(file: Edited) -> None:
    """As editors do it, also with the time and size of the one before."""
    before = file.path.stat()
    other = file.path.with_suffix(".new")
    other.write_text(TWO, encoding="utf-8")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert other.stat().st_size == before.st_size
    other.rename(file.path)
    file.pass_time()
    assert file.names == {"two"}


def test_a_link_that_leads_elsewhere_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes does it: the file is a link into a folder that is a link itself, and that one is swapped."""
    monkeypatch.delenv("PGANALYTICS_CONFIG", raising=False)
    for number, text in enumerate((ONE, TWO)):
        (tmp_path / f"version{number}").mkdir()
        (tmp_path / f"version{number}/settings.toml").write_text(text, encoding="utf-8")
    (tmp_path / "..data").symlink_to("version0")
    (tmp_path / "settings.toml").symlink_to("..data/settings.toml")
    file = Edited(tmp_path / "settings.toml")
    (tmp_path / "..data_tmp").symlink_to("version1")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    file.pass_time()
    assert file.names == {"two"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[targets]]\nname = 'one'\nhots = 'x'", "targets[0].hots: unknown key; did you mean `host`?"),
        ("[[targets]]\nname = 'one", "not TOML"),
        ("", "no server to watch"),
        (ONE + ONE, "2 targets have the name one"),
        (ONE + "[metrics.statments]\nlimit = 200", "metrics.statments: no such metric"),
        (ONE + TWO + "[sink]\nbatch_records = 0", "sink.batch_records"),
        (None, "no such settings file"),
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing_and_is_told_once(
    file: Edited, caplog: pytest.LogCaptureFixture, text: str | None, problem: str
) -> None:
    caplog.set_level(logging.INFO)
    assert (file.said("usable"), file.settings_refused) == (1, False)
    read_at = file.said("last_success_timestamp_seconds")
    if text is None:
        file.path.unlink()
        file.pass_time()
    else:
        file.write(text)
    file.pass_time(3)
    [line] = lines(caplog, "ERROR")
    assert line["msg"] == "settings cannot be used; those before stay in force"
    assert line["file"] == str(file.path)
    assert problem in line["problems"]
    assert (file.taken, file.names) == ([], {"one"})
    assert (file.said("usable"), file.settings_refused) == (0, True)
    assert file.said("last_success_timestamp_seconds") == read_at
    file.reload.turn(file.now, at_once=True)
    assert len(lines(caplog, "ERROR")) == 2, "who asks is told again"
    file.write(ONE + TWO)
    assert file.names == {"one", "two"}
    assert (file.said("usable"), file.settings_refused) == (1, False)
    assert file.said("last_success_timestamp_seconds") > read_at


def test_what_needs_a_restart_is_named_and_not_applied(file: Edited, caplog: pytest.LogCaptureFixture) -> None:
    """Keys of other services are none of the agent's."""
    caplog.set_level(logging.INFO)
    more = '[collect]\nworkers = 3\npreset = "full"\n[kafka.options]\n"linger.ms" = 5\n'
    more += '[log]\nlevel = "debug"\n[sink]\nrepair = false\n'
    file.write(ONE + TWO + more)
    [line] = lines(caplog, "WARNING")
    assert line["msg"] == "settings have changed that need a restart"
    assert line["keys"] == "kafka.options, collect.workers, log.level"
    assert file.said("pending_restart") == 3
    assert file.taken == [Changes(frozenset({"two"}), frozenset({"one"}), frozenset())], "the preset is taken up"
    file.write(TWO + more)
    assert len(lines(caplog, "WARNING")) == 1
    file.write(TWO)
    assert (len(lines(caplog, "WARNING")), file.said("pending_restart")) == (1, 0)


def test_the_environment_counts_more_than_the_file_also_later(file: Edited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGANALYTICS_TARGETS", '[{"name": "given"}]')
    file.write(ONE + TWO)
    assert file.names == {"given"}


def test_a_spool_without_room_is_waited_for(file: Edited, caplog: pytest.LogCaptureFixture) -> None:
    file.has_room = False
    file.write(ONE + TWO)
    file.pass_time(5)
    assert (file.taken, len(lines(caplog, "WARNING"))) == ([], 1)
    file.has_room = True
    file.pass_time(1)
    assert file.names == {"one", "two"}
    file.pass_time(3)
    assert len(file.taken) == 1


def test_without_a_file_there_is_nothing_to_read(caplog: pytest.LogCaptureFixture, file: Edited) -> None:
    caplog.set_level(logging.INFO)
    settings = load_settings(file.path)
    reload = Reload(None, settings, make_plan(settings, "machine"), file, Meters(file.measurements))
    reload.turn(0.0, at_once=False)
    reload.turn(0.0, at_once=True)
    assert [record.message for record in caplog.records] == ["there is no settings file to read again"]
    assert file.taken == []
