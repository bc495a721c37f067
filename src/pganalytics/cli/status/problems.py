"""What is wrong, and what to type. Pure: the screen shows these, and the exit code follows from them."""

from collections.abc import Iterator
from dataclasses import dataclass

from pganalytics.cli.advice import Advice
from pganalytics.cli.status.facts import Facts, KafkaSide, LaneLag
from pganalytics.runtime.settings import Quota
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import Lane, is_collector_id
from pganalytics.sink.overview import Collector, Overview
from pganalytics.streams.quota_overrides import merged, override_of

BEHIND_S = 300.0
"""Lanes other than `deferred`, which waits on purpose: five minutes are ten default intervals of a heartbeat. `critical`
is drained first and carries the heartbeats: it is behind when it is late by as many of them as make a collector silent."""
SILENT_BEATS = 3
LEAST_COVERAGE = 0.95
OVER_QUOTA = {"deferred": "over its quota", "shed": "beyond the ceiling of its quota: records are lost"}


@dataclass(frozen=True, slots=True)
class Problem:
    """`about`: a collector, a service or a thing. `todo`: a command that can be pasted as it stands, or a sentence."""

    about: str
    what: str
    todo: str


def problems(facts: Facts, *, beat_s: float, quota: Quota, advice: Advice) -> list[Problem]:
    """All of them, the pipeline's first. `beat_s`: how often an agent with these settings tells that it lives; `quota` is the
    default."""
    found: list[Problem] = []
    if facts.kafka is not None:
        found += _of_kafka(facts.kafka, SILENT_BEATS * beat_s, advice)
    if facts.store is not None:
        found += _of_audit(facts.store, advice)
        found += _of_events(facts.store, facts.kafka, quota, advice)
        late_s = None if facts.kafka is None else pipeline_s(facts.kafka)
        for collector in facts.store.collectors:
            found += _of_collector(collector, late_s, SILENT_BEATS * beat_s, advice)
        if not facts.store.collectors and facts.kafka is not None:
            found.append(Problem("collect", "no heartbeat was ever stored", advice.command("collect")))
    return found


def pipeline_s(kafka: KafkaSide) -> float | None:
    """How old the newest stored heartbeat may be because of us; None when it is not known."""
    critical = [lag.seconds for lag in kafka.lags if lag.lane == Lane.CRITICAL]
    known = [seconds for seconds in critical if seconds is not None]
    return sum(known) if len(known) == len(critical) else None


def silent_for(collector: Collector, late_s: float | None, limit_s: float) -> float | None:
    """How long nothing was heard of it, when that is too long; never of one that ended, or while nobody knows how late we are."""
    if collector.ended or late_s is None or collector.heartbeat_age_s - late_s <= limit_s:
        return None
    return collector.heartbeat_age_s


def _of_kafka(kafka: KafkaSide, critical_s: float, advice: Advice) -> Iterator[Problem]:
    for text in kafka.problems:
        what, _, todo = text.rpartition(": ")
        yield Problem("kafka", what, advice.completed(todo))
    for group in kafka.groups:
        if group.members == ():
            yield Problem(group.service, "no process runs", advice.command(group.service))
    for lag in kafka.lags:
        yield from _of_lag(lag, critical_s if lag.lane == Lane.CRITICAL else BEHIND_S, advice)
    for name, why in kafka.quotas.ignored.items():
        yield Problem(name, f"its quota is ignored: {why}", advice.command("quota", "list"))


def _of_lag(lag: LaneLag, behind_s: float, advice: Advice) -> Iterator[Problem]:
    if lag.seconds is None:
        return
    half_s = lag.retention_s / 2
    if half_s and lag.seconds > half_s:
        what = f"lane {lag.lane} is behind by more than half of what Kafka keeps: records will be lost"
        what += "; start more of it (on one machine: with another http_port)"
        yield Problem(lag.service, what, advice.command(lag.service))
    elif lag.seconds > behind_s and lag.lane != "deferred":
        todo = "its /livez and log say why, and whether more processes help"
        yield Problem(lag.service, f"lane {lag.lane} is behind by {lag.seconds:.0f} s", todo)


def _of_audit(store: Overview, advice: Advice) -> Iterator[Problem]:
    total = store.audit.total
    if total.missing:
        yield Problem("audit", f"{total.missing} records are missing", advice.command("audit"))
    if total.dead:
        yield Problem("audit", f"{total.dead} records could not be stored", advice.command("dead-letters", "list"))
    if total.duplicates or store.audit.unbalanced:
        yield Problem("audit", "the counts do not add up", advice.command("audit", "--deep"))
    for odd in store.audit.epochs:
        if odd.what == "orphaned":
            name = odd.who.collector
            yield Problem(name, f"the spool of epoch {odd.who.epoch} is gone", advice.command("retire", name))


def _of_events(store: Overview, kafka: KafkaSide | None, quota: Quota, advice: Advice) -> Iterator[Problem]:
    """A dead letter that cannot be said to be of a collector is in no count of the audit: its event is all there is."""
    for one in store.events:
        if one.kind == EventKind.DEAD_LETTERED and one.collector not in store.audit.collectors:
            what = f"records that name no sender could not be stored, {one.last_age_s:.0f} s ago"
            yield Problem("sink", what, advice.command("dead-letters", "list"))
        if one.kind in OVER_QUOTA:
            words = ["list"]
            if kafka is not None and is_collector_id(one.collector):
                words = ["set", one.collector, *_doubled(one.collector, kafka, quota)]
            what = f"{OVER_QUOTA[one.kind]}, {one.last_age_s:.0f} s ago"
            yield Problem(one.collector, what, advice.command("quota", *words))


def _doubled(collector: str, kafka: KafkaSide, quota: Quota) -> list[str]:
    """Options that let a collector send twice as much as now. What is not given would be as in the settings."""
    override = override_of(collector, kafka.quotas.overrides)
    now = quota if override is None else merged(override, quota)
    wanted = {
        "--records-per-s": 2 * now.records_per_s,
        "--rows-per-s": 2 * now.rows_per_s,
        "--bytes-per-s": 2 * now.bytes_per_s,
    }
    if override is not None and override.burst_s is not None:
        wanted["--burst-s"] = override.burst_s
    return [word for option, value in wanted.items() for word in (option, f"{value:.12g}")]


def _of_collector(one: Collector, late_s: float | None, limit_s: float, advice: Advice) -> Iterator[Problem]:
    if (silent_s := silent_for(one, late_s, limit_s)) is not None:
        what = f"no heartbeat for {silent_s:.0f} s: does its agent run, {one.agent or 'which is not known'}?"
        yield Problem(one.name, what, advice.command("collect"))
        return
    if one.ended:
        return
    if one.up is False:
        yield Problem(one.name, f"the target does not answer: {one.error}", advice.command("check", "--target", one.name))
    if one.unreadable:
        what = f"{one.unreadable} metric{'s' if one.unreadable > 1 else ''} cannot be read: {one.reason}"
        yield Problem(one.name, what, advice.command("check", "--target", one.name))
    if one.coverage is not None and one.coverage < LEAST_COVERAGE:
        what = f"statements in detail cover {one.coverage:.0%} of their time"
        yield Problem(one.name, what, "raise limit of [metrics.statements]")
