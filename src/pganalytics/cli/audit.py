"""`pganalytics audit`: proves `emitted = stored + dead + shed + in_spool + in_kafka + missing`, per collector."""

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pganalytics.cli.advice import Advice
from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load, printable, result_console
from pganalytics.runtime.errors import ProblemFound
from pganalytics.sink.audit import audit, wait_until_settled
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.epoch_ends import OddEpoch
from pganalytics.sink.report import AuditReport, Finding

COLUMNS = ("emitted", "stored", "dead", "shed", "in_spool", "in_kafka", "missing", "duplicates")


def run(
    config: ConfigOption = None,
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Count independently: read the topics, and the rows in the tables.")
    ] = False,
    collector: Annotated[str | None, typer.Option(help="Only this collector.")] = None,
    wait: Annotated[float | None, typer.Option(min=0, help="Wait up to so many seconds until nothing is under way.")] = None,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 1 when anything is missing or double, or a spool is gone with what was in it."""
    settings = load(config, verbose=verbose)
    if wait is not None:
        wait_until_settled(settings, timeout_s=wait, collector=collector)
    report = deep_audit(settings, collector=collector) if deep else audit(settings, collector=collector)
    if json_output:
        print(json.dumps(report.to_json()))
    else:
        console = result_console()
        console.print(audit_table(report))
        for line in problem_lines(report, Advice(config)):
            console.print(Text(printable(line)), soft_wrap=True)
    if not report.ok:
        raise ProblemFound("the audit does not hold")


def audit_table(report: AuditReport) -> Table:
    """One line per collector, and the totals."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("collector", overflow="fold")
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    for name, counts in sorted(report.collectors.items()):
        table.add_row(Text(printable(name)), *(str(getattr(counts, column)) for column in COLUMNS))
    if len(report.collectors) != 1:
        table.add_row("total", *(str(getattr(report.total, column)) for column in COLUMNS), style="bold")
    return table


def problem_lines(report: AuditReport, advice: Advice) -> list[str]:
    """One line per thing that is wrong, or that happened and must not be forgotten."""
    lines = [_finding_line(finding) for finding in report.findings]
    lines += [line for epoch in report.epochs for line in _epoch_lines(epoch, advice)]
    lines += [f"{each.collector}: dead: {each.records} {each.reason or 'for reasons no longer kept'}" for each in report.reasons]
    lines += [f"{name}: the counts do not add up" for name in report.unbalanced]
    if report.absent is not None:
        lines.append(f"{report.absent}: the store has never seen this collector")
    return lines


def _finding_line(finding: Finding) -> str:
    stream = finding.stream
    least = "" if finding.exact else " (at most: retention has removed some of these rows)"
    return f"{stream.collector}: {finding.what}: epoch {stream.epoch}, lane {stream.lane}, seq {finding.seqs}{least}"


def _epoch_lines(odd: OddEpoch, advice: Advice) -> list[str]:
    who = odd.who
    what = f"{who.collector}: {odd.what}: epoch {who.epoch}"
    known = ", ".join(f"{lane} {seq}" for lane, seq in odd.emitted.items())
    if odd.what == "rolled_back":
        return [f"{what}: its spool was put back to an earlier state; known up to seq {known}"]
    unsent = "; ".join(f"{lane} {seqs}" for lane, seqs in odd.unsent.items()) or "none"
    return [
        f"{what}: exact up to seq {known}; known and unsent: {unsent}; {who.detail}",
        f"{who.collector}: to give up what is left of it: {advice.command('retire', who.collector)}",
    ]
