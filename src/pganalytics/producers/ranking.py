"""Which changed rows a snapshot shows in detail. Pure, and the same for every metric that has `rank_by`."""

from dataclasses import dataclass

from pganalytics.producers.diff import Difference
from pganalytics.producers.reading import Layout, Reading


@dataclass(frozen=True, slots=True)
class Ranking:
    """Row indexes: `detail` in order of rank, `rest` to be summed. The coverages are ratios, 1 when there is nothing to cover."""

    detail: list[int]
    rest: list[int]
    coverage_rows: float
    coverage_rank: float


def rank(layout: Layout, reading: Reading, difference: Difference, limit: int) -> Ranking:
    """The `limit` changed rows that moved `rank_by` most in this interval; ties by calls, then by key, so that it never depends
    on the order of reading."""
    names = [field.name for field in layout.longs]
    changed = difference.changed.tolist()
    moved = difference.longs[:, names.index(layout.schema.rank_by or names[0])].tolist()
    calls = difference.longs[:, names.index("calls")].tolist() if "calls" in names else moved
    order = sorted(changed, key=lambda row: (-moved[row], -calls[row], reading.keys[row]))
    detail, rest = order[:limit], order[limit:]
    in_detail, in_all = (sum(moved[row] for row in rows) for rows in (detail, order))
    return Ranking(
        detail=detail,
        rest=rest,
        coverage_rows=len(detail) / len(order) if order else 1.0,
        coverage_rank=in_detail / in_all if in_all else 1.0,
    )
