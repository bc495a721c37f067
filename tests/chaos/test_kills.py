"""Whatever is killed and when, the store has each record once, as it was emitted."""

import random
from pathlib import Path

import pytest

from chaos.oracle import Key, compare, read_oracle, tamper
from chaos.pipeline import pipeline
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.store import set_up

RECORDS = 12_000
DRAIN_S = 120


@pytest.mark.parametrize(("victim", "seed"), [("streams", 1), ("sink", 2)])
def test_kills_lose_and_double_nothing(victim: str, seed: int, settings: Settings, tmp_path: Path) -> None:
    """SIGKILL at seeded moments under load, restart, drain: the store equals the oracle, by identity and by content."""
    set_up(settings)
    oracle = tmp_path / "oracle.jsonl"
    with pipeline(settings, tmp_path) as services:
        services.start("streams")
        services.start("sink")
        services.start_load(oracle, seed=seed, records=RECORDS)
        kills = services.kill_while_loading(victim, random.Random(seed), every_s=(1.0, 4.0))
        report = services.drained(settings, DRAIN_S)
    emitted = read_oracle(oracle)
    difference = compare(emitted, conninfo(settings.store))
    assert kills >= 2, "the load was over too soon to kill anything"
    assert len(emitted) == RECORDS
    assert not difference, f"{difference} {services.log(victim)}"
    assert (report.ok, report.total.settled, report.total.missing, report.total.duplicates) == (True, True, 0, 0), report
    assert report.total.stored == report.total.emitted > RECORDS

    _tamper_and_be_caught(settings, emitted, conninfo(settings.store))


def _tamper_and_be_caught(settings: Settings, emitted: dict[Key, bytes], store: str) -> None:
    """The control: a row lost, a row doubled and a row altered by hand are found, each for what it is."""
    lost, doubled, altered = tamper(emitted, store)
    found = compare(emitted, store)
    assert (found.missing, found.double, found.altered, found.unknown) == ({lost}, {doubled}, {altered}, set())
    report = deep_audit(settings)
    assert (report.ok, report.total.missing, report.total.duplicates) == (False, 1, 1)
