"""Rows as a target gives them, before anything is known of what they mean."""

from dataclasses import dataclass
from typing import Any

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Table:
    """What one statement gave: names of the columns, and the rows."""

    names: list[str]
    rows: Rows
