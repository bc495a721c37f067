"""The picture: lines of text for a width and a height, from what is known and what is looked at. Pure.

Without a height all rows are there, and no keys: that is for pipes. Every line is exactly as wide as the screen, or narrower.
"""

from dataclasses import asdict, dataclass
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from pganalytics.cli.top.captions import about, clock, facts_of, moment_of
from pganalytics.cli.top.fleet import Fleet
from pganalytics.cli.top.fleet_rows import STATES, fleet_rows
from pganalytics.cli.top.layout import cut, one_line, table
from pganalytics.cli.top.looking import HELP, Looking, lit_row
from pganalytics.cli.top.rows import Row
from pganalytics.cli.top.views import TABLES, View, columns_of, matching, ordered

KEYS = "f fleet  s statements  w waits  b blocking  d dbs  / filter  ? help  q quit"
PARTS = (View.BLOCKING, View.STATEMENTS, View.WAITS, View.DATABASES)
"""Of one target, in this order."""
SHARES = {View.BLOCKING: 4, View.STATEMENTS: 8, View.WAITS: 4, View.DATABASES: 4}
"""So many rows of each view, five times as many without a height. Statements get what is left over, and give what lacks."""
FEWEST = 3
EMPTY = {
    View.FLEET: "no target is known yet",
    View.DATABASES: "nothing is known: an interval needs two readings",
    View.STATEMENTS: "nothing ran, or nothing is known: an interval needs two readings",
    View.WAITS: "nobody is active, or nothing is known of sessions",
    View.BLOCKING: "nobody waits for anybody, as far as is known",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """What is looked at. `notes`: what is wrong with what is shown, a line each."""

    fleet: Fleet
    now_us: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """`targets`: of each row that the light may be on, in order; `page`: how many of them fit."""

    lines: list[Text]
    targets: tuple[str, ...]
    page: int


def rows_of(view: View, moment: Moment, look: Looking) -> list[Row]:
    """The rows of a view, filtered and sorted."""
    columns = columns_of(view, look.target)
    rows = matching(TABLES[view].rows(moment.fleet, moment.now_us, look.target), columns, look.filter)
    header, turned = look.sort(view)
    for column in columns:
        if column.header == header:
            return ordered(rows, column, backwards=turned)
    return rows


def picture(moment: Moment, look: Looking, width: int, height: int | None = None) -> Picture:
    """All of it."""
    head = [_title(moment, look, width), *(_line(note, width, "bold red") for note in moment.notes)]
    room = None if height is None else height - len(head) - 2
    draw = _help if look.help else _target if look.view is View.TARGET else _one_view
    lines, targets, page = draw(moment, look, width, room)
    whole = [*head, *lines]
    if height is not None:
        whole = whole[: height - 1]
        whole += [Text()] * (height - 1 - len(whole))
        whole.append(_footer(look, width))
    return Picture(whole, targets, page)


def _help(moment: Moment, look: Looking, width: int, room: int | None) -> tuple[list[Text], tuple[str, ...], int]:
    del moment, look, room
    lines = [Text(), *(Text(f"{keys:>8}  {what}") for keys, what in HELP), Text(), Text("any key: back")]
    return [cut(line, width) for line in lines], (), 1


def as_json(moment: Moment, look: Looking) -> dict[str, Any]:
    """For programs: names and texts as they are; JSON escapes what is not ASCII. Numbers that are none are null."""
    views = [View.FLEET, *PARTS] if look.view is View.TARGET else [look.view]
    found: dict[str, Any] = {
        "at": moment_of(moment.now_us).isoformat(),
        "view": look.view,
        "target": look.target,
        "notes": list(moment.notes),
    }
    for view in views:
        rows = rows_of(view, moment, look)
        if view is View.FLEET and look.target is not None:
            rows = [row for row in fleet_rows(moment.fleet, moment.now_us) if row.target == look.target]
        found[view] = [{name: _finite(value) for name, value in asdict(row).items()} for row in rows]
    return found


def _one_view(moment: Moment, look: Looking, width: int, room: int | None) -> tuple[list[Text], tuple[str, ...], int]:
    """`room`: for rows."""
    view = look.view
    rows = rows_of(view, moment, look)
    targets = tuple(row.target for row in rows)
    caption = [_line(about(view, moment.fleet, moment.now_us, look.target), width)]
    if not rows:
        return [*caption, _line(f"nothing fits the filter {look.filter!r}" if look.filter else EMPTY[view], width)], (), 1
    page = len(rows) if room is None else max(1, room - 1)
    lit = lit_row(look, targets) if room is not None else None
    top = 0 if lit is None else max(0, min(lit - page // 2, len(rows) - page))
    shown = rows[top : top + page]
    chosen = None if lit is None else lit - top
    return [*caption, *table(columns_of(view, look.target), shown, width, marks=_marks(view, look), chosen=chosen)], targets, page


def _target(moment: Moment, look: Looking, width: int, room: int | None) -> tuple[list[Text], tuple[str, ...], int]:
    """One target: what it is, then a few rows of each view."""
    target = moment.fleet.targets.get(look.target or "")
    if target is None:
        return [_line("no record of it has come", width)], (), 1
    facts = next(row for row in fleet_rows(moment.fleet, moment.now_us) if row.target == look.target)
    lines = [_line(text, width) for text in facts_of(facts)]
    found = {view: rows for view in PARTS if (rows := rows_of(view, moment, look)) or view is not View.BLOCKING}
    counts = {view: min(len(rows), SHARES[view] * (5 if room is None else 1)) for view, rows in found.items()}
    if room is not None:
        spare = room - len(lines) - sum(3 + max(1, count) for count in counts.values())
        counts[View.STATEMENTS] = max(FEWEST, min(len(found[View.STATEMENTS]), counts[View.STATEMENTS] + spare))
    for view, rows in found.items():
        cut_off = f", first {counts[view]} of {len(rows)}" if len(rows) > counts[view] else ""
        lines += [Text(), _line(about(view, moment.fleet, moment.now_us, look.target, cut_off=cut_off), width, "bold")]
        if rows:
            lines += table(columns_of(view, look.target), rows[: counts[view]], width, marks=_marks(view, look))
        else:
            lines.append(_line(EMPTY[view], width))
    return lines, (), 1


def _marks(view: View, look: Looking) -> dict[str, str]:
    header, turned = look.sort(view)
    return {header: "▲" if turned else "▼"} if header is not None else {}


def _title(moment: Moment, look: Looking, width: int) -> Text:
    rows = [row.state for row in fleet_rows(moment.fleet, moment.now_us)]
    states = ", ".join(f"{rows.count(state)} {state}" for state in STATES if state in rows)
    count = f"{len(rows)} target{'' if len(rows) == 1 else 's'}"
    left = f"top  {clock(moment.now_us)} UTC  {count}" + (f": {states}" if states else "")
    line = Text(left, style="bold")
    if look.target is not None:
        line.append(f"  target {one_line(look.target)}", style="bold cyan")
    if look.filter and not look.typing:
        line.append(f"  filter {one_line(look.filter)}", style="bold yellow")
    if look.paused:
        line.append("  paused", style="bold yellow")
    return cut(line, width)


def _footer(look: Looking, width: int) -> Text:
    if look.typing:
        return _line(f"filter: {one_line(look.filter)}_   Enter keeps it, Esc takes it back", width, "reverse")
    text = KEYS if look.target is None else KEYS.replace("d dbs", "d dbs  t target")
    return cut(Text(text if cell_len(text) <= width else KEYS, style="dim"), width)


def _line(text: str, width: int, style: str = "") -> Text:
    return cut(Text(one_line(text), style=style), width)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not -1e300 < value < 1e300 else value
