"""Movement of the counters of which a record has one. Pure.

They come in parts, each of which is reset by itself: a field `<part>_stats_reset` says since when the counters `<part>_...`
count. A counter without such a field is a part of its own. The rules are those of rows (see `diff`): a part that began after the
baseline was read, or of which a counter went back, counts whole; one that is older than the baseline and not the baseline's is
another server's. A counter that the baseline does not have cannot have moved by a known amount: None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pganalytics.producers.reading import Context

MARK = "stats_reset"


@dataclass(frozen=True, slots=True)
class ScalarDeltas:
    """Deltas by name, None where unknown. `began`: a part began anew by itself."""

    values: Mapping[str, Any]
    began: bool


def scalar_deltas(names: Sequence[str], before: Context, now: Context, *, whole: bool) -> ScalarDeltas:
    """What moved between two readings. `whole`: all counters began anew."""
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(_mark_of(name, now), []).append(name)
    values: dict[str, Any] = {}
    began = False
    for mark, counters in parts.items():
        anew = _began_after(before, now, mark) or any(_went_back(before, now, name) for name in counters)
        began |= anew and mark not in counters
        values |= {name: _delta(before, now, name, anew=anew or whole) for name in counters}
    return ScalarDeltas(values, began and not whole)


def of_another_server(before: Context, now: Context) -> bool:
    """Whether a part counts since a time that is not the baseline's, and before the baseline was read."""
    return any(
        before.scalars.get(name) is not None
        and since is not None
        and since != before.scalars[name]
        and since <= before.server_time_us
        for name, since in now.scalars.items()
        if name.endswith(f"_{MARK}")
    )


def _mark_of(name: str, context: Context) -> str:
    """The field with the reset of a counter's part; the counter itself when it has none."""
    marks = [one for one in context.scalars if one.endswith(f"_{MARK}") and name.startswith(one.removesuffix(MARK))]
    return max(marks, key=len, default=name)


def _began_after(before: Context, now: Context, mark: str) -> bool:
    since = now.scalars.get(mark) if mark.endswith(f"_{MARK}") else None
    return since is not None and since != before.scalars.get(mark) and since > before.server_time_us


def _went_back(before: Context, now: Context, name: str) -> bool:
    value, earlier = now.scalars.get(name), before.scalars.get(name)
    return value is not None and earlier is not None and value < earlier


def _delta(before: Context, now: Context, name: str, *, anew: bool) -> Any:
    value, earlier = now.scalars.get(name), before.scalars.get(name)
    if value is None or anew:
        return value
    return None if earlier is None else value - earlier
