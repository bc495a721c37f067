"""Statements of the newest interval as rows. Pure."""

from collections.abc import Iterator

from pganalytics.cli.top.fleet import Fleet, Kept, Target
from pganalytics.cli.top.readings import NO_ID, Statements
from pganalytics.cli.top.rows import StatementRow, ratio, targets_of

OTHERS, HIDDEN = "(all others)", "(a text that the role may not see)"
MOST_OF_EACH = 25
"""Of a fleet so many statements of each target are shown, those with the most time, and no sums of all others."""


def statement_rows(fleet: Fleet, now_us: int, chosen: str | None) -> list[StatementRow]:
    """Of one target all, and one row for what those not in detail are together; of a fleet those that matter most."""
    found = [
        (target, kept)
        for target in targets_of(fleet, chosen)
        if (kept := target.fresh(target.statements, now_us)) is not None and kept.interval_s > 0
    ]
    total = sum(sum(kept.value.time_ns) / kept.interval_s for _, kept in found) / 1e9
    return [row for target, kept in found for row in _rows(fleet, target, kept, total, alone=chosen is not None)]


def _rows(fleet: Fleet, target: Target, kept: Kept[Statements], total: float, *, alone: bool) -> Iterator[StatementRow]:
    names = {one.oid: one.name for one in target.database.value} if target.database is not None else {}
    seconds, all_of = kept.interval_s, kept.value
    last = len(all_of) - 1 if all_of.has_remainder else len(all_of)
    for row in range(len(all_of) if alone else min(last, MOST_OF_EACH)):
        queryid = all_of.queryid[row]
        calls, load, dbid = all_of.calls[row], all_of.time_ns[row] / 1e9 / seconds, all_of.dbid[row]
        text = OTHERS if row == last else HIDDEN if queryid == NO_ID else fleet.text(target.name, queryid)
        yield StatementRow(
            target=target.name,
            database="" if row == last else names.get(dbid, str(dbid)),
            queryid=None if queryid == NO_ID else queryid,
            text=f"queryid {queryid}" if text is None else text,
            share=load / total if total > 0 else 0.0,
            load=load,
            calls_per_s=calls / seconds,
            ms_per_call=all_of.time_ns[row] / calls / 1e6 if calls else None,
            rows_per_s=all_of.rows[row] / seconds,
            hit_ratio=ratio(all_of.hit[row], all_of.hit[row] + all_of.read[row]),
            blocks_read_per_s=all_of.read[row] / seconds,
        )
