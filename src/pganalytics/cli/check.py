"""`pganalytics check`: what can be read of each target, what cannot, and what to paste to mend it.

Nothing that a server said reaches the terminal unescaped.
"""

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pganalytics.cli.advice import Advice
from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load, printable, result_console
from pganalytics.producers.check import check, jobs_by_target
from pganalytics.producers.findings import CheckReport, Finding, Level, TargetReport
from pganalytics.producers.plan import make_plan
from pganalytics.producers.role_sql import role_script
from pganalytics.runtime.errors import ProblemFound, SettingsError
from pganalytics.runtime.settings import Settings

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.MISSING: "bold red"}
NAMED_DATABASES = 3
"""How many of a line's databases are named; all are in the JSON."""


def run(
    config: ConfigOption = None,
    *,
    target: Annotated[str | None, typer.Option(help="Only this target: its name, or host:port.")] = None,
    print_role_sql: Annotated[
        bool, typer.Option("--print-role-sql", help="Print a script for psql that makes the role, and ask no server.")
    ] = False,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 1 when a metric cannot be read or a target cannot be reached; warnings are no reason."""
    settings = load(config, verbose=verbose)
    if print_role_sql:
        if json_output:
            raise SettingsError("--print-role-sql and --json: choose one")
        print_scripts(settings, target)
        return
    report = check(settings, target)
    if json_output:
        print(json.dumps(as_json(report)))
    else:
        show(report, result_console(), Advice(config))
    if report.missing or report.unreachable:
        raise ProblemFound(f"check: {report.missing} missing, {_count(report.unreachable, 'target')} unreachable")


def print_scripts(settings: Settings, target: str | None) -> None:
    """One script for each target."""
    plan = make_plan(settings, socket.gethostname())
    scripts = [role_script(jobs, plan.catalogue) for jobs in jobs_by_target(plan, target).values()]
    print("\n".join(scripts), end="")


def as_json(report: CheckReport) -> dict[str, Any]:
    """One object for programs; names as the servers say them."""
    return {"ok": not (report.missing or report.unreachable), **asdict(report)}


def show(report: CheckReport, console: Console, advice: Advice) -> None:
    """For people, in 80 columns; what is to be pasted is never folded."""
    for target in report.targets:
        console.print(Text(printable(target.collector), style="bold"), Text(_about(target)))
        console.print(_table(target.findings))
        _print_cures(target.findings, console, advice)
        console.print()
    if report.fleet:
        console.print(Text("all targets together", style="bold"))
        console.print(_table(report.fleet))
        _print_cures(report.fleet, console, advice)
        console.print()
    findings = [finding for target in report.targets for finding in target.findings] + list(report.fleet)
    counts = [f"{sum(one.level is level for one in findings)} {level}" for level in Level]
    reached = len(report.targets) - report.unreachable
    console.print(Text(f"{reached} of {len(report.targets)} targets reached; {', '.join(counts)}"))


def _about(target: TargetReport) -> str:
    """Version, role, and how we are connected."""
    if not target.reached:
        return f"{target.host}:{target.port}: cannot be read"
    if (look := target.look) is None:
        return f"{target.host}:{target.port}"
    tls = f"{look.tls}, {'verified' if target.verified else 'not verified'}" if look.tls else "not encrypted"
    facts = [
        f"PostgreSQL {printable(look.version)}",
        "standby" if look.standby else "primary",
        f"role {printable(look.role)}{' (superuser)' if look.superuser or look.superuser_behind else ''}",
        tls,
        *([f"through a pooler (pooling: {look.pooling})"] if look.pooled else []),
        _count(target.databases, "database"),
        f"up to {target.records_per_minute:.1f} records a minute",
    ]
    return ", ".join(facts)


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("what", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for one in findings:
        took = "" if one.took_s is None else f"{one.took_s * 1000:.0f} ms"
        table.add_row(Text(printable(one.subject)), Text(one.level, style=STYLES[one.level]), took, Text(_why(one)))
    return table


def _why(finding: Finding) -> str:
    where = ""
    if finding.databases:
        named = ", ".join(printable(name) for name in finding.databases[:NAMED_DATABASES])
        more = len(finding.databases) - NAMED_DATABASES
        where = f"in {_count(len(finding.databases), 'database')}" + (f": {named}" if finding.level is not Level.OK else "")
        where += f" and {more} more" if more > 0 and finding.level is not Level.OK else ""
    return "; ".join(each for each in (printable(finding.reason), where) if each)


def _print_cures(findings: Sequence[Finding], console: Console, advice: Advice) -> None:
    """What to do, once for all lines that it mends."""
    cures: dict[tuple[str, str], list[str]] = {}
    for one in findings:
        if one.level is not Level.OK and (one.cure or one.paste):
            cures.setdefault((one.paste, "" if one.paste else one.cure), []).append(one.subject)
    for (paste, cure), subjects in cures.items():
        console.print(Text(f"{', '.join(dict.fromkeys(subjects))}:{'' if paste else ' ' + printable(advice.completed(cure))}"))
        for line in paste.splitlines():
            console.print(Text(f"    {line}"), soft_wrap=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
