"""What the user looks at, and what a key does to that. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pganalytics.cli.top.views import TABLES, View, columns_of

MOST_TYPED = 100
VIEW_KEYS = {
    "f": View.FLEET,
    "t": View.TARGET,
    "d": View.DATABASES,
    "s": View.STATEMENTS,
    "w": View.WAITS,
    "b": View.BLOCKING,
}
HELP = (
    ("f", "fleet: one row per target"),
    ("t", "one target: the one that is lit or chosen"),
    ("s w b d", "statements, waits, blocking chains, databases: of it, or of all"),
    ("up down", "move the light; also k j, Page Up, Page Down, Home, End"),
    ("Enter", "choose the target that is lit"),
    ("a", "all targets again"),
    ("/", "filter: type a part of any cell; Enter keeps it, Esc takes it back"),
    ("< >", "sort by the column to the left or right; also the arrow keys"),
    ("r", "sort the other way round"),
    ("space", "pause: the picture stays, what comes meanwhile is not lost"),
    ("Esc", "back: filter, then target, then fleet"),
    ("h ?", "this help"),
    ("q", "quit"),
)


@dataclass(frozen=True, slots=True)
class Looking:
    """`target`: the chosen one, None is all. `sorts`: by view, the header of the column and whether it is turned round. `typing`:
    the filter is being typed. `lit`: the row that is lit, `lit_target`: its target."""

    view: View = View.FLEET
    target: str | None = None
    sorts: Mapping[View, tuple[str | None, bool]] = field(default_factory=dict)
    filter: str = ""
    typing: bool = False
    lit: int = 0
    lit_target: str | None = None
    paused: bool = False
    help: bool = False
    over: bool = False

    def sort(self, view: View) -> tuple[str | None, bool]:
        """Header of the column, and whether it is turned round."""
        return self.sorts.get(view, (TABLES[view].sort, False)) if view in TABLES else (None, False)


def lit_row(look: Looking, targets: Sequence[str]) -> int:
    """The row that is lit. In the fleet it stays with its target when the order changes."""
    if look.view is View.FLEET and look.lit_target in targets:
        return targets.index(look.lit_target)
    return max(0, min(look.lit, len(targets) - 1))


def press(look: Looking, key: str, targets: Sequence[str], page: int) -> Looking:
    """After a key. `targets`: of each row that is shown, in order; `page`: how many rows fit."""
    if look.typing:
        return _typed(look, key)
    if look.help:
        return replace(look, help=False, over=key == "q")
    if key in VIEW_KEYS:
        return _seen(look, VIEW_KEYS[key], targets)
    match key:
        case "q":
            return replace(look, over=True)
        case "h" | "?":
            return replace(look, help=True)
        case " ":
            return replace(look, paused=not look.paused)
        case "/":
            return replace(look, typing=True)
        case "enter":
            return _chosen(look, targets)
        case "a":
            return replace(look, target=None, view=View.FLEET if look.view is View.TARGET else look.view, lit=0)
        case "escape":
            return _back(look)
        case "r" | "<" | ">" | "left" | "right":
            return _sorted(look, key)
    return _moved(look, key, targets, page)


def _typed(look: Looking, key: str) -> Looking:
    if key in ("enter", "escape"):
        return replace(look, typing=False, filter=look.filter if key == "enter" else "")
    if key == "backspace":
        return replace(look, filter=look.filter[:-1])
    if len(key) == 1 and key.isprintable() and len(look.filter) < MOST_TYPED:
        return replace(look, filter=look.filter + key, lit=0)
    return look


def _seen(look: Looking, view: View, targets: Sequence[str]) -> Looking:
    if view is View.TARGET and look.target is None:
        return _chosen(look, targets)
    if view is View.FLEET:
        return replace(look, view=view, target=None, lit_target=look.target or look.lit_target)
    return replace(look, view=view, lit=0)


def _chosen(look: Looking, targets: Sequence[str]) -> Looking:
    if look.view is View.TARGET or not targets:
        return look
    name = targets[lit_row(look, targets)]
    return replace(look, view=View.TARGET, target=name, lit_target=name, filter="")


def _back(look: Looking) -> Looking:
    if look.filter:
        return replace(look, filter="")
    return _seen(look, View.FLEET if look.view is View.TARGET or look.target is None else View.TARGET, ())


def _sorted(look: Looking, key: str) -> Looking:
    header, turned = look.sort(look.view)
    if header is None:
        return look
    if key == "r":
        return replace(look, sorts={**look.sorts, look.view: (header, not turned)})
    headers = [column.header for column in columns_of(look.view, look.target)]
    at = headers.index(header) if header in headers else 0
    step = 1 if key in (">", "right") else -1
    return replace(look, sorts={**look.sorts, look.view: (headers[(at + step) % len(headers)], False)})


def _moved(look: Looking, key: str, targets: Sequence[str], page: int) -> Looking:
    steps = {
        "up": -1,
        "k": -1,
        "down": 1,
        "j": 1,
        "page up": -page,
        "page down": page,
        "home": -len(targets),
        "end": len(targets),
    }
    if key not in steps or not targets:
        return look
    at = max(0, min(lit_row(look, targets) + steps[key], len(targets) - 1))
    return replace(look, lit=at, lit_target=targets[at])
