"""`pganalytics gaps`: what was sent and has not arrived, with its ranges and since when; and what the streams told of it."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load, printable, result_console
from pganalytics.runtime.errors import ProblemFound
from pganalytics.sink.holes import Hint, Hole, read_holes

SHOWN_HINTS = 10


def run(config: ConfigOption = None, *, json_output: JsonOption = False, verbose: VerboseOption = False) -> None:
    """Exit code 1 when something is missing; what is on its way or deferred is no reason."""
    holes, hints = read_holes(load(config, verbose=verbose))
    if json_output:
        print(json.dumps(as_json(holes, hints)))
    else:
        console = result_console()
        console.print(hole_table(holes) if holes else Text("no gaps: all that was sent has arrived"))
        if hints:
            console.print(hint_table(hints[:SHOWN_HINTS]))
    if lost := sum(len(hole.missing) for hole in holes):
        raise ProblemFound(f"{lost} records are missing: `pganalytics audit` has the account")


def hole_table(holes: Sequence[Hole]) -> Table:
    """A line for each stream and fate."""
    table = _table("collector", "epoch", "lane", "what", "seqs", "since")
    for hole in holes:
        who = hole.stream
        for what, seqs in fates(hole).items():
            where = Text(printable(who.collector)), str(who.epoch), who.lane.value
            table.add_row(*where, Text(what, style="bold red" if what == "missing" else ""), str(seqs), _since(hole))
    return table


def fates(hole: Hole) -> dict[str, Any]:
    """The seqs of a hole by what is known of them; nothing empty."""
    found = {"missing": hole.missing, "deferred": hole.deferred, "on its way": hole.seqs - hole.missing - hole.deferred}
    return {what: seqs for what, seqs in found.items() if seqs}


def hint_table(hints: Sequence[Hint]) -> Table:
    """What the streams told, the newest first."""
    table = _table("noticed", "hint", "collector", "lane", "seqs", "why")
    for hint in hints:
        who = Text(printable(hint.collector))
        table.add_row(_moment(hint.at), hint.kind, who, hint.lane, str(hint.seqs), Text(printable(hint.detail)))
    return table


def as_json(holes: Sequence[Hole], hints: Sequence[Hint]) -> dict[str, Any]:
    """For programs."""
    return {
        "ok": not any(hole.missing for hole in holes),
        "gaps": [
            {
                "collector": hole.stream.collector,
                "epoch": hole.stream.epoch,
                "lane": hole.stream.lane.value,
                "seqs": str(hole.seqs),
                "missing": str(hole.missing),
                "deferred": str(hole.deferred),
                "noticed_at": hole.noticed_at and hole.noticed_at.isoformat(),
                "sent_before": hole.beat_at and hole.beat_at.isoformat(),
            }
            for hole in holes
        ],
        "hints": [
            {
                "at": hint.at.isoformat(),
                "kind": hint.kind,
                "collector": hint.collector,
                "epoch": hint.epoch,
                "lane": hint.lane,
                "seqs": str(hint.seqs),
                "detail": hint.detail,
            }
            for hint in hints
        ],
    }


def _since(hole: Hole) -> str:
    if hole.noticed_at is not None:
        return _moment(hole.noticed_at)
    return f"before {_moment(hole.beat_at)}" if hole.beat_at is not None else "not known"


def _moment(at: datetime) -> str:
    return at.strftime("%m-%d %H:%M:%S")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
