"""`pganalytics replay`: records are sent to the sink again, from the dead letters or from what was admitted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from pganalytics.cli.dead_letters import SinceOption, UntilOption
from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load, result_console
from pganalytics.cli.times import window
from pganalytics.runtime.errors import ProblemFound, SettingsError
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.sink.records import Reason
from pganalytics.sink.replay import Progress, Replay, Tally
from pganalytics.sink.selection import ReplaySource, Selection, parse_seqs

CollectorOption = Annotated[str | None, typer.Option(help="Only this collector.")]
EpochOption = Annotated[int | None, typer.Option(min=1, help="Only this epoch.")]
LaneOption = Annotated[Lane | None, typer.Option(help="Only what was emitted in this lane.")]
SeqsOption = Annotated[str | None, typer.Option(help="Only these seqs, such as 5-9,12.")]
MetricOption = Annotated[str | None, typer.Option(help="Only this metric.")]
AllOption = Annotated[bool, typer.Option("--all", help="Everything: needed when there is no filter.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")]
ForgetOption = Annotated[
    bool, typer.Option("--forget", help="Let the store forget each record that can be stored again, so that it takes it anew.")
]


def dead_letters(
    config: ConfigOption = None,
    *,
    collector: CollectorOption = None,
    epoch: EpochOption = None,
    lane: LaneOption = None,
    seqs: SeqsOption = None,
    metric: MetricOption = None,
    reason: Annotated[Reason | None, typer.Option(help="Only what is dead for this reason.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    forget: ForgetOption = False,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 1 when nothing matches, or when something that matches cannot be sent."""
    chosen = selection(collector, epoch, lane=lane, seqs=seqs, metric=metric, reason=reason, since=since, until=until)
    _check(chosen, everything=everything)
    settings = load(config, verbose=verbose)
    _run(settings, ReplaySource.DEAD_LETTERS, chosen, dry_run=dry_run, forget=forget, json_output=json_output)


def admitted(
    config: ConfigOption = None,
    *,
    collector: CollectorOption = None,
    epoch: EpochOption = None,
    lane: LaneOption = None,
    seqs: SeqsOption = None,
    metric: MetricOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    forget: ForgetOption = False,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 1 when nothing matches, or when something that matches cannot be sent."""
    chosen = selection(collector, epoch, lane=lane, seqs=seqs, metric=metric, reason=None, since=since, until=until)
    _check(chosen, everything=everything)
    settings = load(config, verbose=verbose)
    _run(settings, ReplaySource.ADMITTED, chosen, dry_run=dry_run, forget=forget, json_output=json_output)


def selection(
    collector: str | None,
    epoch: int | None,
    *,
    lane: Lane | None,
    seqs: str | None,
    metric: str | None,
    reason: Reason | None,
    since: str | None,
    until: str | None,
) -> Selection:
    """The filters; raises SettingsError."""
    low, high = window(since, until, datetime.now(UTC))
    return Selection(
        collector=collector,
        epoch=epoch,
        lane=lane,
        seqs=parse_seqs(seqs) if seqs is not None else None,
        metric=metric,
        reason=reason,
        since_us=_as_us(low),
        until_us=_as_us(high),
    )


def tally_table(tally: Tally, *, dry_run: bool) -> Table:
    """What became of what was found."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column(justify="left", overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    would = "would be " if dry_run else ""
    rows = {"found": tally.found, f"{would}sent": tally.sent, "already stored": tally.stored}
    rows |= {f"{would}forgotten first": tally.forgotten} if tally.forgotten else {}
    rows |= {"copies of these": tally.copies} if tally.copies else {}
    rows |= {f"skipped: {skip}": count for skip, count in sorted(tally.skipped.items()) if count}
    for name, count in rows.items():
        table.add_row(Text(name), str(count))
    return table


def _check(chosen: Selection, *, everything: bool) -> None:
    if chosen.is_any and not everything:
        raise SettingsError("name what to replay (--collector, --metric, --since...), or say --all")
    if not chosen.is_any and everything:
        raise SettingsError("--all and filters: choose one")


def _run(settings: Settings, source: ReplaySource, chosen: Selection, *, dry_run: bool, forget: bool, json_output: bool) -> None:
    """The summary is printed even when it is interrupted: it counts only what is done for good."""
    replay = Replay(settings, source, chosen, dry_run=dry_run, forgets=forget)
    try:
        with progress_bar() as progress:
            replay.run(progress)
    finally:
        if json_output:
            print(json.dumps(replay.tally.to_json()))
        else:
            result_console().print(tally_table(replay.tally, dry_run=dry_run))
    if not replay.tally.found:
        raise ProblemFound("nothing matches")
    if skipped := replay.tally.skipped.total():
        raise ProblemFound(f"{skipped} of {replay.tally.found} records cannot be sent")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """On standard error, on a terminal only."""
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda read, total: bar.update(task, completed=read, total=total)


def _as_us(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1_000_000)
