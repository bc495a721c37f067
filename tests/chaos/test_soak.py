"""Whatever is broken, between any two parts and any two lines: each record is stored once, as it was emitted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos import soak
from chaos.faults import Outcome, oracle_of
from chaos.oracle import Difference, read_oracle, tamper
from chaos.pipeline import COLLECTORS
from chaos.plan import COPIES, Fault, make_plan, short_plan
from chaos.verdict import Verdict, weigh
from pganalytics.runtime.postgres import conninfo
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.report import AuditReport, Counts

SEED = 9
KEY = ("c1", 2, "normal", 3)


def test_a_short_soak_loses_and_doubles_nothing_and_its_checks_would_see_it(tmp_path: Path) -> None:
    """Every part killed, streams and sink suspended beyond their sessions, every edge disturbed, a death between two lines of
    spool, sender, sink and accountant; then the control: a row lost, one doubled, one altered."""
    with soak.run(short_plan(SEED), tmp_path, seed=SEED, rate=100.0) as (settings, found):
        assert found.problems() == []
        assert found.verdict.emitted > 1000
        assert found.verdict.report.total.stored == found.verdict.report.total.emitted > found.verdict.emitted
        assert sum(one.reached for one in found.outcomes) >= len(found.outcomes) - 1, soak.describe(found)

        emitted = read_oracle(*(oracle_of(tmp_path, f"agent-{copy}") for copy in COPIES))
        lost, doubled, altered = tamper(emitted, conninfo(settings.store))
        again = weigh(emitted, settings, report=deep_audit(settings), audit_code=1, agent_codes={})
        difference = again.difference
        assert (difference.missing, difference.double, difference.altered) == ({lost}, {doubled}, {altered})
        assert (again.missing, again.double) == (1, 1)
        assert [line.split(":")[0] for line in again.problems()[:3]] == ["missing", "double", "altered"]


@pytest.mark.parametrize(
    ("difference", "code", "last"),
    [
        (Difference(), 0, "missing 0, double 0"),
        (Difference(missing={KEY}), 1, "missing 1, double 0"),
        (Difference(double={KEY}), 1, "missing 0, double 1"),
        (Difference(altered={KEY}), 1, "missing 0, double 0"),
    ],
)
def test_the_last_line_has_both_numbers_and_what_is_wrong_is_named_with_the_way_to_see_it_again(
    difference: Difference,
    code: int,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    collectors = {f"c{number}": Counts() for number in range(COLLECTORS * len(COPIES))}
    verdict = Verdict(1, difference, AuditReport(True, collectors), audit_code=0)

    @contextmanager
    def run(plan: list[Fault], *arguments: object, seed: int, **others: object) -> Iterator[tuple[None, soak.Run]]:
        yield None, soak.Run(seed, 1.0, [Outcome(fault, 1.5) for fault in plan], 2.0, [], verdict)

    monkeypatch.setattr(soak, "run", run)
    words = ["--seed", "5", "--faults", "3", "--folder", str(tmp_path / "new"), "--json", str(tmp_path / "report")]
    assert soak.main(words) == code
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == last
    assert any("c1/2/normal/3" in line for line in printed) == bool(code)
    assert any('make soak ARGS="--seed 5 --faults 3' in line for line in printed) == bool(code)
    assert [str(fault) in text for fault, text in zip(make_plan(5, 3), printed, strict=False)] == [True] * 3
    assert json.loads((tmp_path / "report").read_text())["missing"] == verdict.missing
