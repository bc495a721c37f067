"""Tables in a given number of terminal columns: cells cut and padded by the width that they have on a screen. Pure.

Nothing gets into a cell unescaped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from pganalytics.cli.shell import printable

GAP = 1
CUT = "…"
SQUEEZED = 6
"""A column that gives way is not made narrower than this."""


@dataclass(frozen=True, slots=True)
class Column:
    """`field` of a row, as `show` puts it. `least` and `most`: widths. `rank`: the greatest is left out first where there is no
    room, 0 never. `grows`: it begins at its least width, gives way from there at need, and takes what is left over. `mark` and
    `style` of a row's cell: what is put before it, and how it looks."""

    header: str
    field: str
    show: Callable[[Any], str]
    right: bool = True
    least: int = 4
    most: int = 20
    rank: int = 0
    grows: bool = False
    mark: Callable[[Any], str] = lambda _: ""
    style: Callable[[Any], str] = lambda _: ""


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly so wide; what is cut off is shown by a sign."""
    width = max(0, width)
    missing = width - cell_len(text)
    if missing < 0:
        return set_cell_size(set_cell_size(text, max(0, width - 1)) + CUT, width)
    return " " * missing + text if right else text + " " * missing


def one_line(text: str, most: int = 2000) -> str:
    """A text on one line, with nothing in it that could do anything to a terminal."""
    return printable(" ".join(text[:most].split()))


def fitting(columns: Sequence[Column], wanted: Sequence[int], width: int, *, kept: Sequence[str] = ()) -> list[tuple[int, int]]:
    """The columns that have room, by number, and how wide each is. `wanted`: how wide what is in each of them is; `kept`: headers
    of those that must be there."""
    ranks = [0 if column.header in kept else column.rank for column in columns]
    full = {at: max(column.least if not column.grows else 1, min(column.most, wanted[at])) for at, column in enumerate(columns)}
    given = {at: min(column.least, full[at]) if column.grows else full[at] for at, column in enumerate(columns)}
    while _total(given) > width and any(ranks[at] for at in given):
        del given[max(given, key=lambda at: ranks[at])]
    growing = [at for at in given if columns[at].grows]
    while _total(given) > width and any(given[at] > SQUEEZED for at in growing):
        given[max(growing, key=lambda at: given[at])] -= 1
    for at in growing:
        given[at] += max(0, min(width - _total(given), full[at] - given[at]))
    return list(given.items())


def _total(given: dict[int, int]) -> int:
    return sum(given.values()) + GAP * (len(given) - 1)


def table(
    columns: Sequence[Column], rows: Sequence[Any], width: int, *, marks: dict[str, str] | None = None, chosen: int | None = None
) -> list[Text]:
    """A line of headers and one of each row. `marks`: what is put behind a header; `chosen`: the row that is lit."""
    marks = marks or {}
    heads = [column.header + marks.get(column.header, "") for column in columns]
    cells = [[printable(column.mark(row) + column.show(getattr(row, column.field))) for row in rows] for column in columns]
    wanted = [max(map(cell_len, [head, *texts])) for head, texts in zip(heads, cells, strict=True)]
    placed = fitting(columns, wanted, width, kept=list(marks))
    lines = [Text((" " * GAP).join(fit(heads[at], size, right=columns[at].right) for at, size in placed), style="bold")]
    for number, row in enumerate(rows):
        line = Text(style="reverse" if number == chosen else "")
        for place, (at, size) in enumerate(placed):
            line.append(" " * GAP if place else "")
            line.append(fit(cells[at][number], size, right=columns[at].right), style=columns[at].style(row))
        line.append(" " * max(0, width - cell_len(line.plain)))
        lines.append(line)
    return [cut(line, width) for line in lines]


def cut(line: Text, width: int) -> Text:
    """Not wider than this: a terminal may be narrower than the names of the columns that must be there."""
    if cell_len(line.plain) > width:
        line.truncate(width, overflow="ellipsis")
    return line
