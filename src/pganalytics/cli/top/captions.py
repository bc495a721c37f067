"""What stands above the tables: which interval they are of, and what a target is. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pganalytics.cli.top.amounts import age, share, short, size, span, whole
from pganalytics.cli.top.fleet import Fleet, Kept, Target
from pganalytics.cli.top.fleet_rows import fleet_rows
from pganalytics.cli.top.rows import FleetRow
from pganalytics.cli.top.views import View


def about(view: View, fleet: Fleet, now_us: int, chosen: str | None, *, cut_off: str = "") -> str:
    """What a table is of. `cut_off`: how much of it is not shown."""
    target = fleet.targets.get(chosen) if chosen is not None else None
    text = f"{view}{cut_off}"
    if view is View.FLEET:
        text += _sums(fleet_rows(fleet, now_us))
    elif target is not None:
        text += _of(view, target, now_us)
    else:
        text += " of all targets"
    return text


def _sums(rows: Sequence[FleetRow]) -> str:
    def total(field: str) -> Any:
        known = [value for row in rows if (value := getattr(row, field)) is not None]
        return sum(known) if known else None

    counts = [f"{whole(total(field))} {field}" for field in ("active", "waiting", "blocked")]
    return f": {short(total('transactions_per_s'))} tps, {', '.join(counts)}"


def _of(view: View, target: Target, now_us: int) -> str:
    metric = {View.DATABASES: "database", View.WAITS: "activity"}.get(view, str(view))
    kept: Kept[Any] | None = getattr(target, metric)
    if kept is None:
        return ""
    ago = f"{age(target.age_s(kept, now_us))} ago"
    stale = "" if target.fresh(kept, now_us) is not None else ", too old to be shown"
    if kept.interval_s <= 0:
        return f": as of {ago}{stale}"
    text = f": {kept.interval_s:.3g} s to {clock(kept.collected_at_us)} UTC, {ago}{stale}"
    if view is View.STATEMENTS:
        load = sum(kept.value.time_ns) / 1e9 / kept.interval_s
        text += f"; load {short(load)}, {kept.value.changed} of {kept.value.entries} ran"
        if kept.value.coverage_time is not None and kept.value.coverage_time < 1:
            text += f", detail {share(kept.value.coverage_time)}%"
    return text


def facts_of(row: FleetRow) -> list[str]:
    """Three lines about a target."""
    version = (
        f"PostgreSQL {row.server_version // 10000}.{row.server_version % 10000}" if row.server_version else "version not known"
    )
    seen = f"heartbeat {age(row.heartbeat_age_s)} ago" if row.heartbeat_age_s is not None else "no heartbeat yet"
    first = f"{row.standing}, {seen}, {row.role or 'role not known'}, {version}"
    counts = [
        f"{short(row.transactions_per_s)} tps",
        "hit -" if row.hit_ratio is None else f"hit {share(row.hit_ratio)}%",
        f"connections {whole(row.connections)} of {whole(row.max_connections)}",
        f"active {whole(row.active)}",
        f"waiting {whole(row.waiting)}",
        f"blocked {whole(row.blocked)}",
    ]
    ages = [f"oldest transaction {span(row.oldest_transaction_s)}"]
    if row.lag_s is not None or row.lag_bytes is not None:
        ages.append(f"standby behind {span(row.lag_s)}, {size(row.lag_bytes)}")
    return [first, ", ".join(counts), ", ".join(ages)]


def moment_of(at_us: int) -> datetime:
    """Of microseconds; what no calendar has becomes its end."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=max(0, min(at_us, 10**17)))


def clock(at_us: int) -> str:
    """Hours, minutes, seconds in UTC."""
    return moment_of(at_us).strftime("%H:%M:%S")
