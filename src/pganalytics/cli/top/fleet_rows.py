"""Targets and their databases as rows, and in which state a target is. Pure."""

from collections.abc import Sequence
from typing import Any

from pganalytics.cli.top.fleet import Fleet, Kept, Target
from pganalytics.cli.top.readings import Database, Sessions
from pganalytics.cli.top.rows import DatabaseRow, FleetRow, rate, ratio, seconds, targets_of

CLIENT = "client backend"
TEMPLATES = ("template0", "template1")
"""Never read one by one, so their sizes are not known."""
STATES = ("down", "silent", "?", "up", "ended")
"""The worst first. `?`: no heartbeat was seen yet, or nothing comes from anybody, so that nobody knows."""


def state_of(fleet: Fleet, target: Target, now_us: int) -> tuple[str, str]:
    """One of STATES, and the kind of the error."""
    beat = target.heartbeat
    if beat is None:
        return "?", ""
    if beat.value.final:
        return "ended", ""
    if target.fresh(beat, now_us) is None:
        return ("?" if fleet.is_quiet(now_us) else "silent"), ""
    return ("up", "") if beat.value.up else ("down", beat.value.error)


def fleet_rows(fleet: Fleet, now_us: int) -> list[FleetRow]:
    """One of each target."""
    return [_fleet_row(fleet, target, now_us) for target in fleet.targets.values()]


def _fleet_row(fleet: Fleet, target: Target, now_us: int) -> FleetRow:
    state, error = state_of(fleet, target, now_us)
    known = target.heartbeat.value if target.heartbeat is not None else None
    beat = known if state == "up" else None
    databases = target.fresh(target.database, now_us)
    activity = target.fresh(target.activity, now_us)
    blocking = target.fresh(target.blocking, now_us)
    sums = _sums(databases)
    clients = [one for one in activity.value if one.backend == CLIENT] if activity is not None else None
    senders = target.fresh(target.replication, now_us)
    receivers = target.fresh(target.wal_receiver, now_us)
    standbys = [one for kept in (senders, receivers) if kept is not None for one in kept.value]
    sizes = _sizes(target, databases)
    return FleetRow(
        target=target.name,
        state=state,
        error=error,
        heartbeat_age_s=target.age_s(target.heartbeat, now_us) if target.heartbeat is not None else None,
        role=known.role or None if known else None,
        server_version=known.version if known else None,
        **sums,
        active=_count(clients, "active"),
        waiting=_count_waiting(clients),
        idle_in_transaction=_count(clients, "idle in transaction", "idle in transaction (aborted)"),
        connections=beat.connections if beat else None,
        max_connections=beat.max_connections if beat else None,
        blocked=blocking.value.waiters if blocking is not None else _count_waiting(clients, "Lock"),
        oldest_transaction_s=seconds(beat.oldest_transaction_us) if beat else None,
        lag_s=max((one.lag_us / 1e6 for one in standbys if one.lag_us is not None), default=None),
        lag_bytes=max((one.lag_bytes for one in standbys if one.lag_bytes is not None), default=None),
        size_bytes=sum(sizes.values()) if sizes else None,
        size_is_whole=databases is not None and all(one.name in sizes for one in databases.value if _is_own(one)),
    )


def _sizes(target: Target, databases: Kept[tuple[Database, ...]] | None) -> dict[str, int]:
    """Bytes of the databases that there are; of all that were seen while nobody knows which there are."""
    names = target.sizes if databases is None else {one.name for one in databases.value}
    return {name: kept.value for name, kept in target.sizes.items() if name in names}


def _is_own(one: Database) -> bool:
    return one.oid != 0 and one.name not in TEMPLATES


def _sums(kept: Kept[tuple[Database, ...]] | None) -> dict[str, Any]:
    """The fields of a FleetRow that are sums over databases."""
    found = kept.value if kept is not None else ()
    interval_s = kept.interval_s if kept is not None else 0.0
    commits, rollbacks = sum(one.commits for one in found), sum(one.rollbacks for one in found)
    hit, read = sum(one.hit for one in found), sum(one.read for one in found)
    return {
        "transactions_per_s": rate(commits + rollbacks, interval_s),
        "rollback_ratio": ratio(rollbacks, commits + rollbacks),
        "hit_ratio": ratio(hit, hit + read),
        "databases": sum(one.oid != 0 for one in found) if kept is not None else None,
        "rows_read_per_s": rate(sum(one.rows_read for one in found), interval_s),
        "rows_written_per_s": rate(sum(one.rows_written for one in found), interval_s),
        "temp_bytes_per_s": rate(sum(one.temp_bytes for one in found), interval_s),
        "deadlocks": sum(one.deadlocks for one in found) if kept is not None else None,
    }


def database_rows(fleet: Fleet, now_us: int, chosen: str | None) -> list[DatabaseRow]:
    """One of each database."""
    return [
        _database_row(target, kept.interval_s, one)
        for target in targets_of(fleet, chosen)
        if (kept := target.fresh(target.database, now_us)) is not None
        for one in kept.value
        if one.oid != 0
    ]


def _database_row(target: Target, interval_s: float, one: Database) -> DatabaseRow:
    size = target.sizes.get(one.name)
    return DatabaseRow(
        target=target.name,
        database=one.name,
        transactions_per_s=rate(one.commits + one.rollbacks, interval_s),
        rollback_ratio=ratio(one.rollbacks, one.commits + one.rollbacks),
        hit_ratio=ratio(one.hit, one.hit + one.read),
        backends=one.backends,
        size_bytes=size.value if size is not None else None,
        rows_read_per_s=rate(one.rows_read, interval_s),
        rows_written_per_s=rate(one.rows_written, interval_s),
        temp_bytes_per_s=rate(one.temp_bytes, interval_s),
        deadlocks=one.deadlocks,
        xid_age=one.xid_age,
    )


def _count(clients: Sequence[Sessions] | None, *states: str) -> int | None:
    return None if clients is None else sum(one.count for one in clients if one.state in states)


def _count_waiting(clients: Sequence[Sessions] | None, kind: str | None = None) -> int | None:
    """Clients that wait, or wait for this type of thing. Of blocking there is no record while nobody waits: activity knows."""
    if clients is None:
        return None
    return sum(one.count for one in clients if one.state == "active" and one.wait_type and kind in (None, one.wait_type))
