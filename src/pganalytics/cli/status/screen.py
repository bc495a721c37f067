"""The screen of `pganalytics status`: tables for people, readable at 80 columns. Nothing from outside gets to it unescaped."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pganalytics.cli.shell import printable
from pganalytics.cli.status.facts import Facts, KafkaSide
from pganalytics.cli.status.problems import OVER_QUOTA, Problem, pipeline_s, silent_for
from pganalytics.sink.overview import Collector, Overview

UNKNOWN = "?"
INDENT = 8
MOST_TARGETS = 20
"""Those that are sick first; all are in the JSON."""


def show(facts: Facts, found: Sequence[Problem], console: Console, *, silent_s: float) -> None:
    """Everything that is known, what is wrong last: it stays on the screen."""
    for away in facts.away:
        console.print(Text(printable(away), style="bold red"))
    console.print(_services(facts))
    if facts.kafka is not None:
        console.print(_lanes(facts.kafka))
    if facts.store is not None:
        late_s = None if facts.kafka is None else pipeline_s(facts.kafka)
        _show_store(facts.store, console, late_s, silent_s)
    for problem in found:
        wrong = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        wrong.add_column(style="bold red", no_wrap=True)
        wrong.add_column(style="red", overflow="fold")
        wrong.add_row("wrong", Text(f"{printable(problem.about)}: {printable(problem.what)}"))
        console.print(wrong)
        console.print(Text(f"      {printable(problem.todo)}"), soft_wrap=True)
    if not found and not facts.away:
        console.print(Text("all well", style="green"))


def _show_store(store: Overview, console: Console, late_s: float | None, silent_s: float) -> None:
    sick = sorted(store.collectors, key=lambda one: (_state(one, late_s, silent_s)[0] in ("up", "ended"), one.name))
    console.print(_targets(sick[:MOST_TARGETS], late_s, silent_s))
    if len(sick) > MOST_TARGETS:
        console.print(Text(f"and {len(sick) - MOST_TARGETS} more: --json has all"))
    total = store.audit.total
    parts = ("emitted", "stored", "dead", "shed", "in_spool", "in_kafka", "missing")
    _print_parts("ledger", [f"{part} {getattr(total, part)}" for part in parts], console)
    over = [f"{printable(one.collector)} {one.kind}" for one in store.events if one.kind in OVER_QUOTA]
    kinds: dict[str, int] = {}
    for one in store.events:
        kinds[one.kind] = kinds.get(one.kind, 0) + one.count
    named = [f"{kind} {count}" for kind, count in sorted(kinds.items())] or ["none"]
    _print_parts("events", [*named[:-1], f"{named[-1]} in 15 min"], console)
    _print_parts("quotas", [f"over: {over[0]}", *over[1:]] if over else ["over: nobody"], console)
    console.print()


def _print_parts(label: str, parts: Sequence[str], console: Console) -> None:
    """On a line, or on several below one another: no part is taken apart from its number."""
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}, {part}" if lines[-1] else part
        if lines[-1] and cell_len(longer) + 1 > console.width - INDENT:
            lines[-1] += ","
            longer = part
            lines.append("")
        lines[-1] = longer
    for number, line in enumerate(lines):
        console.print(Text(f"{'' if number else label:<{INDENT}}{line}"))


def _services(facts: Facts) -> Table:
    table = _table("service", "processes", "seen")
    for name, count, seen in _service_rows(facts):
        table.add_row(name, count, Text(printable(seen)))
    return table


def _service_rows(facts: Facts) -> Iterator[tuple[str, str, str]]:
    if facts.store is None:
        yield "collect", UNKNOWN, "not known: the store is away"
    else:
        for agent, collectors in agents(facts.store).items():
            spool = f"spool {collectors[0].spool_records} ({collectors[0].spool_bytes} B)"
            newest_s = min(one.heartbeat_age_s for one in collectors)
            yield "collect", "1", f"{agent or 'agent not known'}: {len(collectors)} targets, {newest_s:.0f} s ago, {spool}"
    if facts.kafka is None:
        yield "streams", UNKNOWN, "not known: Kafka is away"
        yield "sink", UNKNOWN, "not known: Kafka is away"
    else:
        for group in facts.kafka.groups:
            if group.members is None:
                yield group.service, UNKNOWN, "not known: Kafka does not say who is in its group"
            else:
                yield group.service, str(len(group.members)), ", ".join(group.members) or "none"


def agents(store: Overview) -> dict[str, list[Collector]]:
    """Collectors that have not ended, by the agent of their newest heartbeat; the newest heartbeat of each agent first."""
    found: dict[str, list[Collector]] = {}
    for one in sorted(store.collectors, key=lambda one: one.heartbeat_age_s):
        if not one.ended:
            found.setdefault(one.agent, []).append(one)
    return found


def _lanes(kafka: KafkaSide) -> Table:
    table = _table("lag of", "lane", "records", "oldest", "quotas")
    named = f"{len(kafka.quotas.overrides)} overrides"
    for number, lag in enumerate(kafka.lags):
        seconds = UNKNOWN if lag.seconds is None else f"{lag.seconds:.1f} s"
        table.add_row(lag.service, lag.lane, str(lag.records), seconds, named if number == 0 else "")
    return table


def _targets(collectors: Sequence[Collector], late_s: float | None, silent_s: float) -> Table:
    table = _table("target", "state", "heartbeat", "unreadable", "coverage")
    for one in collectors:
        state, style = _state(one, late_s, silent_s)
        coverage = "" if one.coverage is None else f"{one.coverage:.1%}"
        age = f"{one.heartbeat_age_s:.0f} s ago"
        table.add_row(Text(printable(one.name)), Text(printable(state), style=style), age, str(one.unreadable), coverage)
    return table


def _state(one: Collector, late_s: float | None, silent_s: float) -> tuple[str, str]:
    if one.ended:
        return "ended", "dim"
    if silent_for(one, late_s, silent_s) is not None:
        return "silent", "bold red"
    if one.up is None:
        return UNKNOWN, "yellow"
    return ("up", "green") if one.up else (f"down: {one.error}", "bold red")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for name in columns:
        table.add_column(
            name, overflow="fold", justify="right" if name in ("records", "oldest", "unreadable", "coverage") else "left"
        )
    return table
