"""Who waits for whom, as rows: after each session those that wait for it. Pure."""

from collections.abc import Iterator

from pganalytics.cli.top.fleet import Fleet, Kept
from pganalytics.cli.top.readings import Blocking, Edge
from pganalytics.cli.top.rows import BlockRow, seconds, targets_of

Who = int | str
"""A process id, or the name of a prepared transaction."""


def blocking_rows(fleet: Fleet, now_us: int, chosen: str | None) -> list[BlockRow]:
    """Chain after chain."""
    return [
        row
        for target in targets_of(fleet, chosen)
        if (kept := target.fresh(target.blocking, now_us)) is not None
        for row in _chains(target.name, kept)
    ]


def _chains(target: str, kept: Kept[Blocking]) -> Iterator[BlockRow]:
    """Each waiter once, under the blocker that is nearest to a root; a circle begins at one of those in it."""
    nearest: dict[Who, Edge] = {}
    counts: dict[Who, int] = {}
    for edge in kept.value.edges:
        counts[edge.blocker] = counts.get(edge.blocker, 0) + 1
        if edge.waiter not in nearest or _depth(edge) < _depth(nearest[edge.waiter]):
            nearest[edge.waiter] = edge
    below: dict[Who, list[Edge]] = {}
    for edge in nearest.values():
        below.setdefault(edge.blocker, []).append(edge)
    told: set[Who] = set()
    for start in [*(blocker for blocker in below if blocker not in nearest), *nearest]:
        if start in told:
            continue
        top = _top(start, nearest)
        told.add(top)
        yield _waiter_row(target, nearest[top], 0, counts) if top in nearest else _root_row(target, below[top][0], counts, kept)
        yield from _below(target, top, below, counts, told)


def _top(start: Who, nearest: dict[Who, Edge]) -> Who:
    """The root above it, or one of the circle above it."""
    passed = set()
    while start in nearest and start not in passed:
        passed.add(start)
        start = nearest[start].blocker
    return start


def _below(target: str, top: Who, below: dict[Who, list[Edge]], counts: dict[Who, int], told: set[Who]) -> Iterator[BlockRow]:
    stack = [(edge, 1) for edge in reversed(below.get(top, []))]
    while stack:
        edge, level = stack.pop()
        if edge.waiter not in told:
            told.add(edge.waiter)
            yield _waiter_row(target, edge, level, counts)
            stack += [(one, level + 1) for one in reversed(below.get(edge.waiter, []))]


def _depth(edge: Edge) -> float:
    return float("inf") if edge.depth is None else edge.depth


def _root_row(target: str, edge: Edge, counts: dict[Who, int], kept: Kept[Blocking]) -> BlockRow:
    start_us = edge.blocker_xact_start_us
    return BlockRow(
        target=target,
        level=0,
        pid=str(edge.blocker),
        waited_s=None if start_us is None else max(0, kept.collected_at_us - start_us) / 1e6,
        blocks=counts.get(edge.blocker, 0),
        what=edge.blocker_state,
        who=edge.blocker_who,
        query=edge.blocker_query,
    )


def _waiter_row(target: str, edge: Edge, level: int, counts: dict[Who, int]) -> BlockRow:
    return BlockRow(
        target=target,
        level=level,
        pid=str(edge.waiter),
        waited_s=seconds(edge.waited_us),
        blocks=counts.get(edge.waiter, 0),
        what=edge.lock + (" (deadlock)" if edge.depth is None else ""),
        who=edge.waiter_who,
        query=edge.waiter_query,
    )
