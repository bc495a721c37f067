"""What a heartbeat says, in its body and in its headers."""

from typing import Any

from pganalytics.producers.heartbeat import PoolNumbers, Pulse, heartbeat
from pganalytics.producers.records import EpochState, SpoolState
from pganalytics.producers.target_state import NOT_READ, LastReading, TargetState
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.ranges import Ranges

SCHEMA = builtin_schemas()["heartbeat"]
NULL = -(2**63)


def epoch(number: int, emitted: tuple[int, int, int], **unsent: list[tuple[int, int]]) -> EpochState:
    ranges = {lane: Ranges.of(unsent.get(lane.value, [])) for lane in LANES}
    return EpochState(number, dict(zip(LANES, emitted, strict=True)), ranges)


def made(state: TargetState, own: EpochState, old: tuple[EpochState, ...] = (), *, final: bool = False) -> Any:
    last, counts = state.seen()
    pulse = Pulse("machine:1", 1000, last, counts, PoolNumbers(1, 2, 3), control_version=11)
    values, facts = heartbeat(SCHEMA, pulse, SpoolState("abc", 4, 5000, own, old, len(old) + 7), final=final)
    codec = RecordCodec(SCHEMA)
    record = codec.decode(
        codec.assemble(Identity("a", own.epoch, Lane.CRITICAL, own.emitted[Lane.CRITICAL]), codec.encode_rest(values))
    )
    for columns in SCHEMA.groups.values():
        record |= fill(columns, record)
    return record, facts


def test_before_the_first_reading_it_says_so() -> None:
    record, facts = made(TargetState(), epoch(9, (1, 0, 0)))
    assert (record["up"], record["error"], record["reading_at"], record["role"]) == (False, NOT_READ, NULL, "")
    assert record["connections"] == NULL
    assert facts == HeartbeatFacts({Lane.CRITICAL: 1, Lane.NORMAL: 0, Lane.BULK: 0}, (), (), up=False, control=11)
    assert record["control_version"] == 11


def test_a_target_that_fails_leaves_its_last_reading_with_its_age() -> None:
    state = TargetState()
    state.answered(500, {"role": "primary", "connections": 12, "oldest_xmin_age": None})
    state.failed("refused")
    record, facts = made(state, epoch(9, (3, 5, 0)))
    assert (record["up"], record["error"], record["reading_at"]) == (False, "refused", 500)
    assert (record["role"], record["connections"], record["oldest_xmin_age"]) == ("primary", 12, NULL)
    assert not facts.up
    assert state.seen()[0] == LastReading(False, "refused", 500, {"role": "primary", "connections": 12, "oldest_xmin_age": None})


def test_it_lists_old_epochs_and_what_is_unsent() -> None:
    state = TargetState()
    state.count("skipped.running")
    state.count("skipped.running")
    old = (epoch(5, (7, 0, 0)), epoch(6, (8, 9, 0), normal=[(2, 3), (9, 9)]))
    record, facts = made(state, epoch(9, (4, 6, 0), normal=[(6, 6)]), old)
    assert (facts.epochs, facts.final) == ((5, 6), (5,))
    assert (record["old_epoch"], record["old_final"], record["old_emitted_normal"]) == ([5, 6], [True, False], [0, 9])
    unsent = list(zip(record["unsent_epoch"], record["unsent_lane"], record["unsent_low"], record["unsent_high"], strict=True))
    assert unsent == [(9, "normal", 6, 6), (6, "normal", 2, 3), (6, "normal", 9, 9)]
    assert (record["count_name"], record["count"]) == (["skipped.running"], [2])
    assert (record["epochs_total"], record["spool_id"], record["spool_records"], record["spool_bytes"]) == (9, "abc", 4, 5000)
    assert (record["pool_connections"], record["pool_waiting"], record["agent_connections"]) == (1, 2, 3)


def test_the_last_one_calls_its_own_epoch_final() -> None:
    record, facts = made(TargetState(), epoch(9, (4, 6, 0)), (epoch(5, (7, 0, 0)),), final=True)
    assert record["final"]
    assert facts.final == (5, 9)
