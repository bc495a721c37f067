"""Whatever is broken, between any two parts and any two lines: each record is stored once, as it was emitted."""

from pathlib import Path

import pytest

from chaos import soak
from chaos.faults import oracle_of
from chaos.oracle import read_oracle, tamper
from chaos.plan import COPIES, short_plan
from chaos.verdict import weigh
from pganalytics.runtime.postgres import conninfo
from pganalytics.sink.deep_audit import deep_audit

SEED = 11


@pytest.mark.timeout(600)
def test_a_short_soak_loses_and_doubles_nothing_and_its_checks_would_see_it(tmp_path: Path) -> None:
    """Every part killed, streams and sink suspended beyond their sessions, every edge disturbed, a death between two lines of
    spool, sender, sink and accountant; then the control: a row lost, one doubled, one altered."""
    with soak.run(short_plan(SEED), tmp_path, seed=SEED, rate=100.0) as (settings, found):
        assert found.problems() == []
        assert found.verdict.emitted > 1000
        assert found.verdict.report.total.stored == found.verdict.report.total.emitted > found.verdict.emitted
        assert sum(one.reached for one in found.outcomes) >= len(found.outcomes) - 2, soak.describe(found)

        emitted = read_oracle(*(oracle_of(tmp_path, f"agent-{copy}") for copy in COPIES))
        lost, doubled, altered = tamper(emitted, conninfo(settings.store))
        again = weigh(emitted, settings, report=deep_audit(settings), audit_code=1, agent_codes={})
        difference = again.difference
        assert (difference.missing, difference.double, difference.altered) == ({lost}, {doubled}, {altered})
        assert (again.missing, again.double) == (1, 1)
        assert [line.split(":")[0] for line in again.problems()[:3]] == ["missing", "double", "altered"]
