"""A spool that is destroyed or put back: what is known stays exact, what is not is named with its bounds, nothing is double."""

import shutil
import time
from pathlib import Path

import pytest

from chaos.oracle import Difference, Key, compare, read_oracle
from chaos.pipeline import Pipeline, pipeline
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.sink.audit import audit
from pganalytics.sink.report import AuditReport
from pganalytics.sink.retire import retire
from pganalytics.sink.store import set_up
from waiting import stands_for_hours, until

FIRST, SECOND = 100_000, 8_000
"""Records of a load that is killed on its way, and of one that ends."""
STATE = "load-state"
AGE_S = stands_for_hours(0.0)
"""Of a spool that is put back."""
RATE = 2000.0 if AGE_S < 30 else 60_000 / AGE_S
"""Of the first load, records per second: it must not end before."""


def prepared(settings: Settings) -> Settings:
    chosen = settings.model_copy(update={"sink": settings.sink.model_copy(update={"settle_interval_s": 0.5})})
    set_up(chosen)
    return chosen


def kill_load(services: Pipeline) -> None:
    """As an agent ends whose machine is gone."""
    services.children["load"].kill()


def run_second(services: Pipeline, oracle: Path) -> None:
    services.start_load(oracle, seed=2, records=SECOND)
    assert services.children["load"].wait(120) == 0, services.log("load")


def stored(settings: Settings) -> int:
    return audit(settings).total.stored


def of_what(report: AuditReport, what: str) -> dict[tuple[str, int], dict[Lane, int]]:
    """Epochs by key, with what is known of their lanes."""
    return {odd.who.key: dict(odd.emitted) for odd in report.epochs if odd.what == what}


def unnamed(difference: Difference, report: AuditReport, known: dict[tuple[str, int], dict[Lane, int]]) -> set[Key]:
    """Records that are not in the store, neither named as missing nor beyond what is known of an epoch with a name."""
    named = {
        (finding.stream.collector, finding.stream.epoch, finding.stream.lane.value, seq)
        for finding in report.findings
        for seq in finding.seqs
    }
    beyond = {key for key in difference.missing if key[3] > known.get(key[:2], {}).get(Lane(key[2]), key[3])}
    return difference.missing - named - beyond


def test_a_destroyed_spool_is_exact_up_to_its_last_heartbeat_and_bounded_after_it(settings: Settings, tmp_path: Path) -> None:
    chosen = prepared(settings)
    with pipeline(chosen, tmp_path) as services:
        services.start("streams")
        services.start("sink")
        services.start_load(tmp_path / "first.jsonl", seed=1, records=FIRST)
        until(lambda: stored(chosen) > 2_000, timeout_s=60)
        kill_load(services)
        shutil.rmtree(tmp_path / STATE)
        run_second(services, tmp_path / "second.jsonl")
        first, second = read_oracle(tmp_path / "first.jsonl", doubtful=True), read_oracle(tmp_path / "second.jsonl")
        collectors = {collector for collector, *_ in first}
        until(lambda: len(of_what(audit(chosen), "orphaned")) == len(collectors), timeout_s=60)
        orphaned = of_what(audit(chosen), "orphaned")
        assert orphaned.keys() == {(collector, epoch) for collector, epoch, *_ in first}
        assert not audit(chosen).ok
        for collector in collectors:
            done = retire(chosen, collector, silent_s=600, wait_s=60)
            assert done is not None
            assert done.under_way == 0
    report, difference = audit(chosen), compare(first | second, conninfo(chosen.store))
    assert (difference.double, difference.altered, difference.unknown) == (set(), set(), set())
    assert unnamed(difference, report, orphaned) == set()
    assert not difference.missing & second.keys()
    assert (report.total.settled, report.epochs) == (True, ())


@pytest.mark.timeout(600 + AGE_S)
def test_a_spool_that_is_put_back_doubles_nothing_and_is_named(settings: Settings, tmp_path: Path) -> None:
    """Copied while its agent stood still, as a snapshot of a disk does; restored after the agent had gone on."""
    chosen = prepared(settings)
    backup = tmp_path / "backup"
    with pipeline(chosen, tmp_path) as services:
        services.start("streams")
        services.start("sink")
        services.start_load(tmp_path / "first.jsonl", seed=1, records=FIRST, rate=RATE)
        until(lambda: stored(chosen) > 1_000, timeout_s=120)
        services.children["load"].suspend()
        shutil.copytree(tmp_path / STATE, backup)
        services.children["load"].resume()
        before = stored(chosen)
        time.sleep(AGE_S)
        until(lambda: stored(chosen) > before + 2_000, timeout_s=60)
        kill_load(services)
        shutil.rmtree(tmp_path / STATE)
        shutil.copytree(backup, tmp_path / STATE)
        run_second(services, tmp_path / "second.jsonl")
        first, second = read_oracle(tmp_path / "first.jsonl", doubtful=True), read_oracle(tmp_path / "second.jsonl")
        until(lambda: len(of_what(audit(chosen), "rolled_back")) == len({key[0] for key in first}), timeout_s=60)
        until(lambda: audit(chosen).total.settled, timeout_s=60)
    report, difference = audit(chosen), compare(first | second, conninfo(chosen.store))
    rolled_back = of_what(report, "rolled_back")
    assert rolled_back.keys() == {key[:2] for key in first}
    assert (difference.double, difference.altered, difference.unknown) == (set(), set(), set())
    assert unnamed(difference, report, rolled_back) == set()
    assert not difference.missing & second.keys()
    assert not of_what(report, "orphaned")
