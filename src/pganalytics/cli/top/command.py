"""`pganalytics top`: live on a terminal, or one picture of now (`--once`)."""

import json
import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from pganalytics.cli.shell import PIPE_COLUMNS, ConfigOption, JsonOption, VerboseOption, load
from pganalytics.cli.times import moment
from pganalytics.cli.top.fleet import Fleet
from pganalytics.cli.top.looking import Looking
from pganalytics.cli.top.reader import Reader
from pganalytics.cli.top.screen import Moment, as_json, picture
from pganalytics.cli.top.session import POLL_S, Session, check_target, notes, now_us
from pganalytics.cli.top.terminal import Terminal
from pganalytics.cli.top.views import View, columns_of
from pganalytics.runtime.errors import ProblemFound, SettingsError
from pganalytics.runtime.logs import set_up_logging


def run(
    config: ConfigOption = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end; for pipes, needs no terminal.")] = False,
    view: Annotated[View | None, typer.Option(help="What to show first; default: fleet, with --target that target.")] = None,
    target: Annotated[str | None, typer.Option(help="Only this target: its name.")] = None,
    sort: Annotated[str | None, typer.Option(help="Sort by this column: its header, for example tps.")] = None,
    wanted: Annotated[str, typer.Option("--filter", help="Only rows with this text in any cell.")] = "",
    since: Annotated[str, typer.Option(help="Begin with what came since: ISO 8601 (UTC), or an age: 15m, 2h.")] = "5m",
    seconds: Annotated[float, typer.Option(min=0, max=3600, help="With --once: wait at most so long for something.")] = 10,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 1 when nothing comes (--once), 69 when Kafka is away at the start; later it is waited for, and said so."""
    if json_output and not once:
        raise SettingsError("--json is for --once")
    if not once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SettingsError("top needs a terminal: without one, use --once")
    settings = load(config, verbose=verbose)
    look = first_look(view, target, sort, wanted)
    now = datetime.now(UTC)
    began = moment("--since", since, now) or now
    reader = Reader(settings.kafka, since_ms=int(began.timestamp() * 1000))
    fleet = Fleet({name: one.interval_s for name, one in settings.metrics.items() if one.interval_s is not None})
    try:
        if once:
            _once(reader, fleet, look, seconds, json_output=json_output)
        else:
            if not verbose and sys.stderr.isatty():  # what is wrong with Kafka is said on the screen
                set_up_logging(level="critical", as_json=False)
            with Terminal() as terminal:
                Session(reader, terminal, fleet).run(look)
    finally:
        reader.close()


def first_look(view: View | None, target: str | None, sort: str | None, wanted: str) -> Looking:
    """What the options ask for; raises SettingsError."""
    if view is View.TARGET and target is None:
        raise SettingsError("--view target: name it with --target")
    if view is None:
        view = View.FLEET if target is None else View.TARGET
    look = Looking(view=view, target=target, lit_target=target, filter=wanted)
    if sort is None:
        return look
    table = View.STATEMENTS if view is View.TARGET else view
    if look.sort(table)[0] is None:
        raise SettingsError(f"--sort {sort!r}: the order of view {table} means something")
    headers = [column.header for column in columns_of(table, target)]
    if sort not in headers:
        raise SettingsError(f"--sort {sort!r}: none of {', '.join(headers)}")
    return replace(look, sorts={table: (sort, False)})


def _once(reader: Reader, fleet: Fleet, look: Looking, seconds: float, *, json_output: bool) -> None:
    deadline = time.monotonic() + seconds
    while not (reader.caught_up and _is_there(fleet, look)) and (time.monotonic() < deadline):
        for seen in reader.read(POLL_S):
            fleet.note(seen)
    if not fleet.targets:
        raise ProblemFound("top: no record came: `pganalytics status` says why")
    check_target(fleet, look.target)
    now = Moment(fleet, now_us(), notes(reader, fleet, finished=True))
    if json_output:
        print(json.dumps(as_json(now, look)))
        return
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    width = shutil.get_terminal_size((PIPE_COLUMNS, 24)).columns
    console = Console(highlight=False, width=width)
    for line in picture(now, look, width).lines:
        line.rstrip()
        console.print(line, no_wrap=True, crop=True)


def _is_there(fleet: Fleet, look: Looking) -> bool:
    return bool(fleet.targets) if look.target is None else look.target in fleet.targets
