"""The audit's table shows every figure whole, on a narrow terminal, a wide one and in a pipe."""

import io

import pytest
from rich.console import Console

from pganalytics.cli.audit import COLUMNS, audit_table
from pganalytics.sink.report import AuditReport, Counts

LONG = "a-rather-long-machine-name.of-a-department.example:5432"


@pytest.mark.parametrize("columns", [80, 160, 400])
def test_no_figure_is_cut(columns: int) -> None:
    report = AuditReport(deep=False, collectors={"db1": Counts(emitted=70, stored=70), LONG: Counts(1234567, 1234567)})
    out = io.StringIO()
    Console(file=out, width=columns).print(audit_table(report))
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["collector", *COLUMNS]
    assert "…" not in out.getvalue()
    assert max(map(len, lines)) <= columns
    assert lines[-1].split() == ["total", "1234637", "1234637", "0", "0", "0", "0", "0", "0"]
