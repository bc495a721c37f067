"""Whether limits and intervals of the settings fit what was measured. Pure."""

import math
from collections.abc import Iterator, Sequence

from pganalytics.producers.collectors import Job
from pganalytics.producers.findings import Finding, Level, TargetReport
from pganalytics.producers.pooling import Pooling
from pganalytics.producers.psql import identifier
from pganalytics.producers.server_look import ServerLook
from pganalytics.producers.snapshot import COVERAGE_WANTED
from pganalytics.producers.tables import Table
from pganalytics.runtime.settings import Settings, Target

TOO_LONG = 0.5
"""Share of an interval, or of a timeout, above which a reading takes too long."""


def records_per_minute(jobs: Sequence[Job], databases: int) -> float:
    """At most: metrics that are sent when they have rows or change count as if they had, each time."""
    return sum(60 / job.interval_s * (databases if job.is_template else 1) for job in jobs)


def busy_share(jobs: Sequence[Job], took_s: dict[str, float]) -> float:
    """Workers that the readings of a target keep busy. `took_s`: by metric, over all databases."""
    return sum(took_s.get(job.key.metric, 0.0) / job.interval_s for job in jobs)


def time_problem(job: Job, *, longest_s: float, total_s: float) -> tuple[str, str] | None:
    """(reason, cure) when a metric's readings take too long; over all databases `pool_max` of them run at once."""
    name = job.key.metric
    if longest_s > TOO_LONG * job.timeout_s:
        cure = f"[metrics.{name}] timeout_s = {math.ceil(4 * longest_s)}"
        return f"{longest_s:.1f} s of its timeout of {job.timeout_s:g} s", cure
    wall_s = total_s / job.target.pool_max
    if wall_s > TOO_LONG * job.interval_s:
        return f"{wall_s:.1f} s of its interval of {job.interval_s:g} s", f"[metrics.{name}] interval_s = {math.ceil(4 * wall_s)}"
    return None


def limit_problem(job: Job, table: Table) -> tuple[str, str] | None:
    """(reason, cure) when the rows in detail would cover too little, going by the totals so far."""
    rank_by = job.schema.rank_by
    if job.limit is None or rank_by not in table.names or len(table.rows) <= job.limit:
        return None
    place = table.names.index(rank_by)
    values = sorted((row[place] or 0 for row in table.rows), reverse=True)
    total = sum(values)
    if total <= 0 or sum(values[: job.limit]) >= COVERAGE_WANTED * total:
        return None
    share = sum(values[: job.limit]) / total
    return (
        f"{job.limit} rows cover {share:.0%} of {rank_by}; there are {len(values)}",
        f"[metrics.{job.key.metric}] limit = {min(10_000, max(100, _rows_for(values, COVERAGE_WANTED * total)))}",
    )


def _rows_for(values: Sequence[float], wanted: float) -> int:
    reached = 0.0
    for count, value in enumerate(values, 1):
        reached += value
        if reached >= wanted:
            return count
    return len(values)


def connections_kept(target: Target, jobs: Sequence[Job], databases: int) -> int:
    """What a target's readings hold open between them."""
    return 1 + (min(target.hold_databases, databases) if any(job.is_template for job in jobs) else 0)


def connection_hints(target: Target, jobs: Sequence[Job], databases: int, look: ServerLook) -> Iterator[Finding]:
    """Whether the server has room for what the agent may open there."""
    most = connections_kept(target, jobs, databases) + target.pool_max
    free = look.max_connections - look.connections
    if most > free:
        yield Finding(
            Level.WARNING,
            "connections",
            f"up to {most} of ours, {look.connections} of others now, {look.max_connections} in all",
            "lower pool_max or hold_databases of the target, or raise max_connections",
            f"ALTER SYSTEM SET max_connections = {look.max_connections + most + 10};\n-- then restart the server",
        )
    if 0 <= look.role_limit < most:
        yield Finding(
            Level.WARNING,
            "connections",
            f"up to {most} of ours, and role {look.role} may have {look.role_limit}",
            "raise the role's limit",
            f"ALTER ROLE {identifier(look.role)} CONNECTION LIMIT {most};",
        )


def pooler_lines(target: Target, jobs: Sequence[Job], databases: int, pooling: Pooling) -> Iterator[Finding]:
    """How a pooler lends its connections, what that means for our readings, and what to do."""
    most = connections_kept(target, jobs, databases) + target.pool_max
    cure = (
        f"pool_mode = transaction for {target.user} at the pooler, or a pool_size of at least {most}; its SHOW POOLS is certain"
    )
    match pooling:
        case Pooling.TRANSACTION:
            reason = "lends by transaction: ours set their limits each, hold no server connection between, leave nothing behind"
            yield Finding(Level.OK, "pooler", reason)
        case Pooling.SESSION:
            reason = (
                f"lends by session, as it seems: up to {most} of its server connections are ours alone while we are connected"
            )
            yield Finding(Level.WARNING, "pooler", reason, cure)
        case Pooling.FULL:
            reason = f"lends by session, and had none left for a second connection of ours; we want up to {most}: readings wait"
            yield Finding(Level.WARNING, "pooler", reason, cure)
        case Pooling.UNKNOWN:
            reason = "lends by session or by transaction: a second connection, which would tell, was refused"
            yield Finding(Level.WARNING, "pooler", reason, "let SHOW POOLS at the pooler tell; by session, " + cure)


def fleet_findings(settings: Settings, targets: Sequence[TargetReport], kept: int) -> Iterator[Finding]:
    """What concerns all targets: quota, connections, workers. `kept`: connections that readings hold open between them."""
    quota = settings.streams.quota.records_per_s * 60
    for target in targets:
        if target.records_per_minute > quota:
            yield Finding(
                Level.WARNING,
                "quota",
                f"{target.collector}: up to {target.records_per_minute:.0f} records a minute, the quota is {quota:.0f}",
                f"[streams.quota] records_per_s = {math.ceil(target.records_per_minute / 60 * 1.5)}",
            )
    if kept > settings.collect.connections:
        yield Finding(
            Level.WARNING,
            "connections",
            f"{kept} would be kept for {len(targets)} targets, collect.connections is {settings.collect.connections}: "
            "readings close and open them all the time",
            f"[collect] connections = {kept}, or spread the targets over more agents",
        )
    busy = sum(target.busy_share for target in targets)
    if busy > TOO_LONG * settings.collect.workers:
        yield Finding(
            Level.WARNING,
            "workers",
            f"readings keep {busy:.1f} of {settings.collect.workers} workers busy",
            f"[collect] workers = {min(64, math.ceil(2 * busy))}, or spread the targets over more agents",
        )
