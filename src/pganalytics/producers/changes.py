"""Rows of the metric `change`: what was made, dropped or altered between two readings of a tracked metric. Pure.

The reading before is the one that was sent last, whichever agent sent it: what changed while no agent ran is noticed by the next
one, once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pganalytics.producers.contents import Cells, Delta
from pganalytics.producers.reading import Key
from pganalytics.schemas.metric import Field, FieldRole

CHANGE = "change"
NOTHING = ("", "\0", 0)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tracked:
    """A metric whose changes are told: its name, the database of the reading, and its columns."""

    metric: str
    database: str
    keys: Sequence[Field]
    others: Sequence[Field]


def changes(tracked: Tracked, before: Mapping[Key, Cells], now: Mapping[Key, Cells], delta: Delta) -> list[Row]:
    """One row per item that came or went, and per label of an item that differs. Rows that are only sent again give none."""
    nothing = [""] * len(tracked.others)
    labels = [place for place, field in enumerate(tracked.others) if field.role is FieldRole.LABEL]
    named = next((place for place, field in enumerate(tracked.others) if field.name.endswith("name")), None)

    def item(key: Key, cells: Cells) -> str:
        """The name where a row has one beside its key, then the key without what is 0 or empty."""
        name = [] if named is None else [cells[named]]
        return " ".join(_text(part) for part in (*name, *key) if part not in NOTHING)

    found = [_row(tracked, item(key, before.get(key, nothing)), "dropped") for key in delta.gone]
    for key in delta.send:
        if key not in before:
            found.append(_row(tracked, item(key, now[key]), "created"))
            continue
        for place in labels:
            old, new = before[key][place], now[key][place]
            if old != new:
                found.append(_row(tracked, item(key, now[key]), "altered", tracked.others[place].name, _text(old), _text(new)))
    return found


def as_columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows as the columns of a record."""
    names = ("item", "kind", "database", "action", "attribute", "old", "new")
    return {name: [row[name] for row in rows] for name in names}


def _row(tracked: Tracked, item: str, action: str, attribute: str = "", old: str = "\0", new: str = "\0") -> Row:
    names: Row = {"item": item, "kind": tracked.metric, "database": tracked.database, "action": action}
    return names | {"attribute": attribute, "old": old, "new": new}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
