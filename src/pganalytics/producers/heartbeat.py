"""The heartbeat record. Pure: built from what the spool says inside its transaction and from the last reading of the target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pganalytics.producers.records import EpochState, SpoolState
from pganalytics.producers.target_state import LastReading
from pganalytics.schemas.codec import elide
from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.metric import MetricSchema

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PoolNumbers:
    """Connections to one target, jobs that wait for one, and the agent's connections to all targets."""

    connections: int
    waiting: int
    agent_connections: int


@dataclass(frozen=True, slots=True)
class Pulse:
    """What is known when a heartbeat is made, beside the spool's own facts."""

    agent: str
    now_us: int
    last: LastReading
    counts: Mapping[str, int]
    pool: PoolNumbers
    control_version: int = 0


def heartbeat(schema: MetricSchema, pulse: Pulse, state: SpoolState, *, final: bool) -> tuple[dict[str, Any], HeartbeatFacts]:
    """The record's fields after the identity, and its headers.

    An old epoch of which nothing is unsent is final; it stays listed so until a heartbeat that says it is acknowledged.
    """
    over = [one.epoch for one in state.old if one.all_sent]
    facts = HeartbeatFacts(
        emitted=state.own.emitted,
        epochs=tuple(one.epoch for one in state.old),
        final=tuple(over + [state.own.epoch] * final),
        up=pulse.last.up,
        control=pulse.control_version,
    )
    values = _target_fields(schema, pulse.last) | {
        "collected_at": pulse.now_us,
        "since": pulse.now_us,
        "part": 1,
        "parts": 1,
        "agent": pulse.agent,
        "spool_id": state.spool_id,
        "final": final,
        "control_version": pulse.control_version,
        "spool_records": state.records,
        "spool_bytes": state.size,
        "pool_connections": pulse.pool.connections,
        "pool_waiting": pulse.pool.waiting,
        "agent_connections": pulse.pool.agent_connections,
        "epochs_total": state.old_total,
    }
    values |= {f"emitted_{lane}": state.own.emitted[lane] for lane in LANES}
    groups: dict[str, list[Row]] = {
        "epochs": [_old_row(one) for one in state.old],
        "unsent": [row for one in (state.own, *state.old) for row in _unsent_rows(one)],
        "counts": [{"count_name": name, "count": count} for name, count in pulse.counts.items()],
    }
    for group, rows in groups.items():
        columns = schema.groups[group]
        values |= elide(columns, {column.name: [row[column.name] for row in rows] for column in columns})
    return values, facts


def _target_fields(schema: MetricSchema, last: LastReading) -> dict[str, Any]:
    """Fields that the target's own answer fills; NULL or empty while it never answered."""
    nothing = {field.name: "" if field.null is None else field.null for field in schema.scalars}
    got = {name: value for name, value in last.values.items() if value is not None}
    known = {"up": last.up, "error": last.error}
    if last.reading_at_us is not None:
        known["reading_at"] = last.reading_at_us
    return nothing | got | known


def _old_row(epoch: EpochState) -> Row:
    return {f"old_emitted_{lane}": epoch.emitted[lane] for lane in LANES} | {
        "old_epoch": epoch.epoch,
        "old_final": epoch.all_sent,
    }


def _unsent_rows(epoch: EpochState) -> list[Row]:
    return [
        {"unsent_epoch": epoch.epoch, "unsent_lane": lane.value, "unsent_low": low, "unsent_high": high}
        for lane in LANES
        for low, high in epoch.unsent[lane].spans
    ]
