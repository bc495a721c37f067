"""`pganalytics events`: what the streams and the sink noticed. People see repetitions merged; programs see each event once."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load, printable, result_console
from pganalytics.cli.times import moment
from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.event_reader import Chosen, follow_events, past_events

MERGED_US = 60_000_000
"""Events alike that follow one another within a minute are one line."""
ALARMS = frozenset({EventKind.SHED, EventKind.MISSING, EventKind.ORPHANED, EventKind.SPOOL_ROLLED_BACK, EventKind.DEAD_LETTERED})
ALARMS |= {EventKind.CONFLICT, EventKind.SEQ_REUSED, EventKind.POSITION_OUTSIDE_LOG, EventKind.SILENT, EventKind.GAP_CONFIRMED}


@dataclass(frozen=True, slots=True)
class Line:
    """Events alike, from the first to the last; `ranges` is their union."""

    first: Event
    last_us: int
    count: int
    ranges: Ranges


def run(
    config: ConfigOption = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those that come, until Ctrl-C.")] = False,
    kind: Annotated[EventKind | None, typer.Option(help="Only of this kind.")] = None,
    collector: Annotated[str | None, typer.Option(help="Only of this collector.")] = None,
    since: Annotated[str | None, typer.Option(help="From this broker time: ISO 8601 (UTC), or an age: 15m, 2h, 1d.")] = None,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 0 whatever there is: `pganalytics status` judges."""
    settings = load(config, verbose=verbose)
    chosen = Chosen(kind, collector)
    past, ends = past_events(settings, chosen, moment("--since", since, datetime.now(UTC)))
    console = result_console()
    if json_output:
        _print_json(past)
    else:
        for line in merged(past):
            _print(line, console)
        if not past and not follow:
            console.print(Text("no events match"))
    if follow:
        for event in follow_events(settings, chosen, ends, over=lambda: False):
            _print_json([event]) if json_output else _print(Line(event, event.at_us, 1, event.ranges), console)


def merged(events: Iterable[Event]) -> Iterator[Line]:
    """Lines in the order in which they end; an event joins its like when that was less than MERGED_US ago. Pure."""
    lines: dict[tuple[object, ...], Line] = {}
    done: list[Line] = []
    for event in events:
        alike = event.kind, event.source, event.collector, event.epoch, event.lane, event.detail
        before = lines.get(alike)
        if before is not None and event.at_us - before.last_us > MERGED_US:
            done.append(lines.pop(alike))
            before = None
        if before is None:
            lines[alike] = Line(event, event.at_us, 1, event.ranges)
        else:
            lines[alike] = Line(before.first, event.at_us, before.count + 1, before.ranges | event.ranges)
    yield from sorted([*done, *lines.values()], key=lambda line: (line.last_us, line.first.id))


def cells_of(line: Line) -> tuple[str, str]:
    """When it ended and what happened, for people, with nothing in it that could do anything to a terminal."""
    event = line.first
    lane = f" {event.lane}" if event.lane else ""
    seqs = f" seq {line.ranges}" if line.ranges else ""
    times = f" ({line.count} times since {_moment(event.at_us)})" if line.count > 1 else ""
    detail = f": {printable(event.detail)}" if event.detail else ""
    return _moment(line.last_us), f"{event.kind} {printable(event.collector)}{lane}{seqs}{detail}{times}"


def as_json(event: Event) -> dict[str, Any]:
    """For programs: one object a line."""
    return {
        "id": event.id,
        "at": _at(event.at_us).isoformat(),
        "kind": event.kind,
        "source": event.source,
        "collector": event.collector,
        "epoch": event.epoch,
        "lane": event.lane,
        "seqs": str(event.ranges),
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "detail": event.detail,
    }


def _print(line: Line, console: Console) -> None:
    """What does not fit on a line goes on below what happened, not below the time."""
    grid = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(*map(Text, cells_of(line)), style="bold red" if line.first.kind in ALARMS else "")
    console.print(grid)


def _print_json(events: Iterable[Event]) -> None:
    for event in events:
        print(json.dumps(as_json(event)), flush=True)


def _at(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def _moment(at_us: int) -> str:
    return _at(at_us).strftime("%Y-%m-%d %H:%M:%S")
