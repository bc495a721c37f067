"""What is wrong, and what to type. Pure: the screen shows these, and the exit code follows from them."""

from collections.abc import Iterator
from dataclasses import dataclass

from pganalytics.cli.status.facts import Facts, KafkaSide, LaneLag
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import Lane
from pganalytics.sink.overview import Collector, Overview

BEHIND_S = 300.0
"""Lanes other than `deferred`, which waits on purpose: five minutes are ten default intervals of a heartbeat. `critical`
is drained first and carries the heartbeats: it is behind when it is late by as many of them as make a collector silent."""
SILENT_BEATS = 3
LEAST_COVERAGE = 0.95
OVER_QUOTA = {"deferred": "over its quota", "shed": "beyond the ceiling of its quota: records are lost"}


@dataclass(frozen=True, slots=True)
class Problem:
    """`about`: a collector, a service or a thing. `todo`: a command or a sentence."""

    about: str
    what: str
    todo: str


def problems(facts: Facts, *, beat_s: float) -> list[Problem]:
    """All of them, the pipeline's first. `beat_s`: how often an agent with these settings tells that it lives."""
    found: list[Problem] = []
    if facts.kafka is not None:
        found += _of_kafka(facts.kafka, SILENT_BEATS * beat_s)
    if facts.store is not None:
        found += _of_audit(facts.store)
        found += _of_events(facts.store)
        late_s = None if facts.kafka is None else pipeline_s(facts.kafka)
        for collector in facts.store.collectors:
            found += _of_collector(collector, late_s, SILENT_BEATS * beat_s)
        if not facts.store.collectors and facts.kafka is not None:
            found.append(Problem("collect", "no heartbeat was ever stored", "pganalytics collect"))
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


def _of_kafka(kafka: KafkaSide, critical_s: float) -> Iterator[Problem]:
    for text in kafka.problems:
        what, _, todo = text.rpartition(": ")
        yield Problem("kafka", what, todo)
    for group in kafka.groups:
        if group.members == ():
            yield Problem(group.service, "no process runs", f"pganalytics {group.service}")
    for lag in kafka.lags:
        yield from _of_lag(lag, critical_s if lag.lane == Lane.CRITICAL else BEHIND_S)
    for name, why in kafka.quotas.ignored.items():
        yield Problem(name, f"its quota is ignored: {why}", "pganalytics quota list")


def _of_lag(lag: LaneLag, behind_s: float) -> Iterator[Problem]:
    if lag.seconds is None:
        return
    half_s = lag.retention_s / 2
    if half_s and lag.seconds > half_s:
        what = f"lane {lag.lane} is behind by more than half of what Kafka keeps: records will be lost"
        yield Problem(lag.service, what, f"start more of it: pganalytics {lag.service}")
    elif lag.seconds > behind_s and lag.lane != "deferred":
        todo = "its /livez and log say why, and whether more processes help"
        yield Problem(lag.service, f"lane {lag.lane} is behind by {lag.seconds:.0f} s", todo)


def _of_audit(store: Overview) -> Iterator[Problem]:
    total = store.audit.total
    if total.missing:
        yield Problem("audit", f"{total.missing} records are missing", "pganalytics audit")
    if total.dead:
        yield Problem("audit", f"{total.dead} records could not be stored", "pganalytics dead-letters list")
    if total.duplicates or store.audit.unbalanced:
        yield Problem("audit", "the counts do not add up", "pganalytics audit --deep")
    for odd in store.audit.epochs:
        if odd.what == "orphaned":
            name = odd.who.collector
            yield Problem(name, f"the spool of epoch {odd.who.epoch} is gone", f"pganalytics retire {name}")


def _of_events(store: Overview) -> Iterator[Problem]:
    """A dead letter that cannot be said to be of a collector is in no count of the audit: its event is all there is."""
    for one in store.events:
        if one.kind == EventKind.DEAD_LETTERED and one.collector not in store.audit.collectors:
            what = f"records that name no sender could not be stored, {one.last_age_s:.0f} s ago"
            yield Problem("sink", what, "pganalytics dead-letters list")
        if one.kind in OVER_QUOTA:
            yield Problem(one.collector, f"{OVER_QUOTA[one.kind]}, {one.last_age_s:.0f} s ago", "pganalytics quota set NAME")


def _of_collector(one: Collector, late_s: float | None, limit_s: float) -> Iterator[Problem]:
    if (silent_s := silent_for(one, late_s, limit_s)) is not None:
        yield Problem(one.name, f"no heartbeat for {silent_s:.0f} s", f"look at its agent {one.agent}: pganalytics collect")
        return
    if one.ended:
        return
    if one.up is False:
        yield Problem(one.name, f"the target does not answer: {one.error}", f"pganalytics check --target {one.name}")
    if one.unreadable:
        what = f"{one.unreadable} metric{'s' if one.unreadable > 1 else ''} cannot be read: {one.reason}"
        yield Problem(one.name, what, f"pganalytics check --target {one.name}")
    if one.coverage is not None and one.coverage < LEAST_COVERAGE:
        what = f"statements in detail cover {one.coverage:.0%} of their time"
        yield Problem(one.name, what, "raise limit of [metrics.statements]")
