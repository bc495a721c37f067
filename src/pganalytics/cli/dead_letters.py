"""`pganalytics dead-letters list` and `show`: what could not be stored, why, and what became of it.

Nothing that a sender wrote reaches the terminal unescaped.
"""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pganalytics.cli.advice import Advice
from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load, result_console
from pganalytics.cli.times import window
from pganalytics.runtime.errors import ProblemFound, SettingsError
from pganalytics.sink.dead_letter_list import DeadLetter, DeadLetterList, Wanted, read_list
from pganalytics.sink.dead_letter_search import Found, parse_wanted, search
from pganalytics.sink.letters import tidy
from pganalytics.sink.records import Reason

DUMPED_BYTES = 512
PER_LINE = 16
SHOWN_PER_FIELD = 300
UNKNOWN = "?"

SinceOption = Annotated[str | None, typer.Option(help="From this broker time: ISO 8601 (UTC), or an age: 15m, 2h, 1d.")]
UntilOption = Annotated[str | None, typer.Option(help="Up to this broker time: as --since.")]


def list_(
    config: ConfigOption = None,
    *,
    collector: Annotated[str | None, typer.Option(help="Only this collector.")] = None,
    metric: Annotated[str | None, typer.Option(help="Only this metric.")] = None,
    reason: Annotated[Reason | None, typer.Option(help="Only for this reason.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most groups and most letters, the newest first.")] = 20,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 0 whatever the list holds: that records are dead is the audit's to judge."""
    low, high = window(since, until, datetime.now(UTC))
    found = read_list(load(config, verbose=verbose), Wanted(collector, metric, reason, low, high), limit=limit)
    if json_output:
        print(json.dumps(asdict(found), default=datetime.isoformat))
        return
    console = result_console()
    if not found.letters:
        console.print(Text("no dead letters match"))
        return
    show_list(found, console)
    for line in next_lines(found, Advice(config)):
        console.print(Text(line), soft_wrap=True)


def show_list(found: DeadLetterList, console: Console) -> None:
    """Tables where they have room; they would take reasons and places apart, so elsewhere it is a few lines for each."""
    tables = group_table(found), letter_table(found)
    widest = max(console.measure(table, options=console.options.update_width(sys.maxsize)).maximum for table in tables)
    if widest <= console.width:
        console.print(tables[0])
        console.print()
        console.print(tables[1])
        return
    for line in group_lines(found):
        console.print(Text(line))
    for line in ["", *letter_lines(found)]:
        console.print(Text(line), soft_wrap=True)


def show(
    wanted: Annotated[str, typer.Argument(metavar="PLACE", help="TOPIC/PARTITION/OFFSET or COLLECTOR/EPOCH/LANE/SEQ.")],
    config: ConfigOption = None,
    *,
    raw: Annotated[str | None, typer.Option(metavar="FILE", help="Write the body's exact bytes there; - is stdout.")] = None,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 1 when the dead-letter topic does not have it (any more)."""
    which = parse_wanted(wanted)
    if raw is not None and json_output:
        raise SettingsError("--raw and --json: choose one")
    if raw == "-" and sys.stdout.isatty():
        raise SettingsError("--raw -: these bytes could do anything to a terminal: name a file, or pipe them")
    found = search(load(config, verbose=verbose), which)
    if found is None:
        raise ProblemFound(f"{tidy(wanted)}: the dead-letter topic does not have it: it keeps records for 14 days")
    if raw is not None:
        write_raw(found, raw)
    elif json_output:
        print(json.dumps(as_json(found)))
    else:
        print("\n".join(lines(found)))


def write_raw(found: Found, target: str) -> None:
    """The body as it was; raises ProblemFound when there is none, SettingsError when the file cannot be written."""
    value = found.buried.original.value
    if value is None:
        raise ProblemFound(f"no bytes to write: {found.why_not}")
    if target == "-":
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    try:
        Path(target).write_bytes(value)
    except OSError as error:
        raise SettingsError(f"--raw {target}: {error.strerror}") from error


def group_table(found: DeadLetterList) -> Table:
    """One line per reason, collector and metric."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for heading in ("reason", "collector", "metric", "letters", "not stored", "newest", "its detail"):
        right = heading in ("letters", "not stored")
        table.add_column(heading, overflow="fold", justify="right" if right else "left", no_wrap=right or heading == "newest")
    for one in found.groups:
        texts = (one.reason, one.collector or UNKNOWN, one.metric or UNKNOWN)
        counts = (str(one.letters), str(one.dead), f"{one.newest:%Y-%m-%d %H:%M:%S}")
        table.add_row(*(Text(tidy(text)) for text in texts), *counts, Text(tidy(one.detail)))
    return table


def group_lines(found: DeadLetterList) -> list[str]:
    """The same where a table has no room: what and how many, and below it whose and why."""
    said = []
    for one in found.groups:
        said.append(f"{tidy(one.reason)}: {one.letters} letters, {one.dead} not stored, newest {one.newest:%Y-%m-%d %H:%M:%S}")
        said.append(f"      collector {tidy(one.collector or UNKNOWN)}, metric {tidy(one.metric or UNKNOWN)}: {tidy(one.detail)}")
    return said


def letter_table(found: DeadLetterList) -> Table:
    """One line per letter; the place is what `show` takes."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for heading in ("at (UTC)", "now", "reason", "whose", "place"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "now")
    for one in found.letters:
        table.add_row(*map(Text, _letter(one)))
    return table


def letter_lines(found: DeadLetterList) -> list[str]:
    """The same where a table has no room: what `show` takes is on a line of its own, whole."""
    said = []
    for one in found.letters:
        at, now, reason, whose, place = _letter(one)
        said += [f"{at}  {now}  {reason}", f"      {place}"]
        said += [] if whose == UNKNOWN else [f"      {whose}"]
    return said


def _letter(one: DeadLetter) -> list[str]:
    whose = f"{one.collector}/{one.epoch}/{one.lane}/{one.seq}" if one.seq is not None else UNKNOWN
    return [tidy(text) for text in (f"{one.at:%Y-%m-%d %H:%M:%S}", one.now, one.reason, whose, one.place)]


def next_lines(found: DeadLetterList, advice: Advice) -> list[str]:
    """What is not shown, and what to type next."""
    said = []
    if len(found.letters) < found.letters_total or len(found.groups) < found.groups_total:
        total = f"{found.letters_total} letters in {found.groups_total} groups"
        said.append(f"the newest of {total}; --limit shows more")
    return [
        *said,
        "next:",
        f"      {advice.command('dead-letters', 'show', found.letters[0].place)}",
        "when mended:",
        f"      {advice.command('replay', 'dead-letters', '--dry-run', '--all')}",
    ]


def lines(found: Found) -> list[str]:
    """A dead letter for people, every text escaped and bounded."""
    buried = found.buried
    said = [
        f"place      {tidy(str(buried.source))}",
        f"copy       {tidy(str(buried.original.place))}",
        f"buried at  {datetime.fromtimestamp(buried.original.place.at_us / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC",
        f"reason     {buried.reason}: {buried.detail}",
        f"key        {_shown(buried.original.key)}",
        *(f"header     {tidy(name)}: {_shown(value)}" for name, value in buried.original.headers),
    ]
    if found.body is not None:
        return [*said, *(f"body       {tidy(name)}: {_bounded(value)}" for name, value in found.body.items())]
    said.append(f"body       not decoded: {tidy(found.why_not)}")
    return [*said, *(f"           {line}" for line in dump(buried.original.value or b""))]


def as_json(found: Found) -> dict[str, Any]:
    """A dead letter for programs; bytes that are not text are escaped, the whole body is hex."""
    buried = found.buried
    return {
        "place": str(buried.source),
        "copy": str(buried.original.place),
        "reason": buried.reason,
        "detail": buried.detail,
        "key": _shown(buried.original.key),
        "headers": [[name, _shown(value)] for name, value in buried.original.headers],
        "body": found.body,
        "why_not": found.why_not,
        "bytes": None if buried.original.value is None else buried.original.value.hex(),
    }


def dump(body: bytes) -> list[str]:
    """The first bytes in hex and as ASCII, and how many are left."""
    shown = body[:DUMPED_BYTES]
    said = []
    for at in range(0, len(shown), PER_LINE):
        part = shown[at : at + PER_LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        said.append(f"{at:04x}  {part.hex(' '):<{3 * PER_LINE - 1}}  {text}")
    left = len(body) - len(shown)
    return [*said, f"and {left} bytes more: --raw FILE writes them all"] if left else said


def _shown(value: bytes | None) -> str:
    return "(none)" if value is None else tidy(value.decode("utf-8", "backslashreplace"))


def _bounded(value: object) -> str:
    text = repr(value)
    return tidy(text) if len(text) <= SHOWN_PER_FIELD else f"{tidy(text[:SHOWN_PER_FIELD])}... ({len(text)} characters)"
