"""What the streams lose is brought back from the collected topics, or named exactly."""

import signal
from pathlib import Path

import psycopg
import pytest

from chaos.oracle import compare, read_oracle
from chaos.pipeline import pipeline
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from pganalytics.sink.audit import audit, wait_until_settled
from pganalytics.sink.store import set_up
from waiting import until

RECORDS = 3_000
DRAIN_S = 120


def lossy_run(settings: Settings, folder: Path, *, repair: bool, dies_at: str = "") -> Settings:
    """Load through streams that drop every 97th record and do not notice; perhaps with a sink that dies at a point."""
    chosen = settings.model_copy(update={"sink": settings.sink.model_copy(update={"repair": repair, "settle_interval_s": 0.5})})
    set_up(chosen)
    with pipeline(chosen, folder) as services:
        services.start("streams", fault="skips-data-unseen")
        services.start("sink", point=(dies_at, 1) if dies_at else None)
        services.start_load(folder / "oracle.jsonl", seed=3, records=RECORDS)
        assert services.children["load"].wait(120) == 0, services.log("load")
        if dies_at:
            assert services.children["sink"].wait(60) == -signal.SIGKILL, services.log("sink")
            services.start("sink")
        until(lambda: audit(chosen).total.emitted > RECORDS, DRAIN_S, what="the store's hearing of all")
        missing = wait_until_settled(chosen, timeout_s=DRAIN_S).total.missing
        until(lambda: len(told(chosen, "missing")) >= missing, what="every missing record in an event")
    return chosen


def told(settings: Settings, kind: str) -> set[tuple[str, int, str, int]]:
    """What the events of a kind name."""
    text = """select collector, epoch, lane, s from pganalytics.events, unnest(seqs) r,
        generate_series(lower(r), upper(r) - 1) s where kind = %s"""
    with psycopg.connect(conninfo(settings.store)) as connection:
        return set(connection.execute(text, [kind]).fetchall())


def test_what_the_streams_drop_is_repaired(settings: Settings, tmp_path: Path) -> None:
    chosen = lossy_run(settings, tmp_path, repair=True)
    emitted = read_oracle(tmp_path / "oracle.jsonl")
    assert len(emitted) == RECORDS
    assert not compare(emitted, conninfo(chosen.store))
    report = audit(chosen)
    assert (report.ok, report.total.settled, report.total.missing) == (True, True, 0)
    assert len(told(chosen, "repaired")) >= RECORDS // 97 - 12
    assert not told(chosen, "missing")


@pytest.mark.parametrize("dies_at", ["", "writer.mark_missing:1", "writer.mark_missing:end"])
def test_with_repair_off_what_the_streams_drop_is_missing_exactly(dies_at: str, settings: Settings, tmp_path: Path) -> None:
    """Also when the sink dies after it told and before it wrote it down, or just after. And the control of the
    test above: the fault does lose records."""
    chosen = lossy_run(settings, tmp_path, repair=False, dies_at=dies_at)
    emitted = read_oracle(tmp_path / "oracle.jsonl")
    difference = compare(emitted, conninfo(chosen.store))
    assert len(difference.missing) >= RECORDS // 97 - 12
    assert (difference.double, difference.altered, difference.unknown) == (set(), set(), set())
    report = audit(chosen)
    assert not report.ok
    named = {
        (finding.stream.collector, finding.stream.epoch, finding.stream.lane.value, seq)
        for finding in report.findings
        for seq in finding.seqs
    }
    assert named == difference.missing == told(chosen, "missing")
    assert report.total.missing == len(named)
