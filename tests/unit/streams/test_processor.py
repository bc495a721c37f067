"""What becomes of a batch: every record goes on exactly once, and events name exact ranges."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.events import Event, EventKind, decode_event
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.schemas.ranges import Ranges
from pganalytics.streams.lanes import Destination
from pganalytics.streams.processor import Decided, Processor, event_record
from pganalytics.streams.quota import Limits, Verdict
from pganalytics.streams.records import Arrival, Outgoing
from pganalytics.streams.rules import Rule, Rules
from unit.streams.arrivals import START_US, TOPICS, arrival
from unit.streams.test_quota import Quota

AMPLE = Limits.of(Quota(records_per_s=1000, rows_per_s=10**6, bytes_per_s=10**8))
TIGHT = Limits.of(Quota(records_per_s=1, rows_per_s=10**6, bytes_per_s=10**8, burst_s=3))


def split(decided: Decided) -> tuple[list[Outgoing], list[Event]]:
    """The records, and the events as they are read."""
    sent = [event_record(TOPICS, event) for event in decided.events]
    assert {each.topic for each in sent} <= {TOPICS.events}
    return decided.records, [decode_event(each.value or b"") for each in sent]


def test_a_record_goes_on_unchanged_with_our_two_headers() -> None:
    came = arrival(3, offset=17)
    [sent], events = split(Processor(TOPICS, AMPLE).process([came]))
    assert (sent.topic, sent.partition, sent.key, sent.value) == ("pga.admitted.normal", 0, b"db1", b"body")
    assert list(sent.headers) == [*came.headers, ("appended_at", str(START_US).encode()), ("src_offset", b"17")]
    assert events == []


@pytest.mark.parametrize("lane", LANES)
def test_a_record_keeps_its_lane(lane: Lane) -> None:
    [sent], _ = split(Processor(TOPICS, AMPLE).process([arrival(lane=lane)]))
    assert sent.topic == TOPICS.admitted(lane)


def test_what_a_sender_wrote_under_our_names_is_replaced() -> None:
    came = arrival(1, offset=17)
    forged = replace(came, headers=[*came.headers, ("src_offset", b"999"), ("appended_at", b"1")])
    [sent], _ = split(Processor(TOPICS, AMPLE).process([forged]))
    assert Headers.decode(sent.headers).src_offset == 17
    assert Headers.decode(sent.headers).appended_at_us == START_US


def broken(**changes: Any) -> Arrival:
    return replace(arrival(lane=Lane.BULK), **changes)


@pytest.mark.parametrize(
    "came",
    [
        broken(headers=()),
        broken(headers=[("seq", b"1")]),
        broken(headers=[*arrival(lane=Lane.BULK).headers, ("seq", b"2")]),
        broken(headers=[("collector", None), *arrival(lane=Lane.BULK).headers[1:]]),
        broken(key=b"another"),
        broken(key=None),
        broken(headers=arrival(lane=Lane.CRITICAL).headers),
        broken(key=b"\xff\x00", headers=[("\u202e", b"\xff")], value=None),
    ],
    ids=["none", "absent", "doubled", "null", "other key", "no key", "other lane", "odd"],
)
def test_a_record_that_cannot_be_trusted_goes_on_as_it_came(came: Arrival) -> None:
    """To the topic of the lane that it came in: the sink dead-letters it with its bytes. It moves no quota and no gap."""
    processor = Processor(TOPICS, TIGHT)
    sent, events = split(processor.process([came] * 50))
    assert {(each.topic, each.key, each.value, tuple(each.headers)) for each in sent} == {
        ("pga.admitted.bulk", came.key, came.value, tuple(came.headers))
    }
    assert (len(sent), events) == (50, [])


def test_over_quota_is_deferred_and_named_in_one_event_per_run() -> None:
    batch = [arrival(seq) for seq in range(1, 11)]
    sent, events = split(Processor(TOPICS, TIGHT).process(batch))
    assert [each.topic for each in sent] == ["pga.admitted.normal"] * 3 + ["pga.admitted.deferred"] * 7
    assert [(each.kind, str(each.ranges), each.detail, each.offset) for each in events] == [
        (EventKind.DEFERRED, "4-10", "over quota", 3)
    ]


def test_critical_records_and_heartbeats_always_pass() -> None:
    batch = [arrival(seq, lane=Lane.CRITICAL, metric="blocking") for seq in range(1, 50)]
    batch += [arrival(seq, metric="heartbeat") for seq in range(1, 50)]
    sent, events = split(Processor(TOPICS, TIGHT).process(batch))
    assert {each.topic for each in sent} == {"pga.admitted.critical", "pga.admitted.normal"}
    assert events == []


def test_one_collector_over_quota_does_not_touch_another() -> None:
    processor = Processor(TOPICS, TIGHT)
    processor.process([arrival(seq, collector="noisy") for seq in range(1, 100)])
    [sent], events = split(processor.process([arrival(1, collector="quiet")]))
    assert (sent.topic, events) == ("pga.admitted.normal", [])


def test_a_hole_is_an_event_and_so_is_its_end() -> None:
    processor = Processor(TOPICS, AMPLE)
    _, events = split(processor.process([arrival(1), arrival(4), arrival(2)]))
    assert [(each.kind, str(each.ranges)) for each in events] == [(EventKind.GAP, "2-3"), (EventKind.GAP_FILLED, "2")]


def test_epochs_and_lanes_are_sequences_of_their_own() -> None:
    processor = Processor(TOPICS, AMPLE)
    batch = [arrival(1), arrival(9, epoch=2048), arrival(5, lane=Lane.BULK), arrival(2), arrival(10, epoch=2048)]
    assert split(processor.process(batch))[1] == []


def test_the_same_batch_makes_the_same_events() -> None:
    """A restart repeats what was not committed; the events' ids must not change, or people see them twice."""
    batch = [arrival(seq, offset=seq) for seq in (1, 5, *range(6, 20))]
    once = split(Processor(TOPICS, TIGHT).process(batch))[1]
    again = split(Processor(TOPICS, TIGHT).process(batch))[1]
    assert [each.id for each in once] == [each.id for each in again]
    assert len({each.id for each in once}) == len(once) == 2


def test_what_a_rule_sends_to_the_deferred_topic_is_named_as_deferred_and_what_it_takes_from_there_is_not() -> None:
    """The ledger believes the ranges: a deferred seq is waited for in that topic alone."""
    rules = Rules(
        [
            Rule(Destination.DEFERRED, metric="database", collector="slow"),
            Rule(Destination.BULK, metric="tables", verdict=Verdict.DEFERRED),
        ]
    )
    processor = Processor(TOPICS, TIGHT, rules=rules)
    batch = [arrival(seq, collector="slow") for seq in (1, 2, 3, 4, 5)]
    batch += [arrival(seq, collector="other", metric="tables") for seq in range(1, 7)]
    sent, events = split(processor.process(batch))
    assert [each.topic.rpartition(".")[2] for each in sent] == ["deferred"] * 5 + ["normal"] * 3 + ["bulk"] * 3
    assert [(each.collector, str(each.ranges), each.detail) for each in events] == [
        ("slow", "1-3", "a rule defers it"),
        ("slow", "4-5", "over quota"),
    ]


def test_rules_know_of_silence_and_of_holes() -> None:
    rules = Rules([Rule(Destination.BULK, state="silent"), Rule(Destination.CRITICAL, state="open_gap")])
    processor = Processor(TOPICS, AMPLE, rules=rules)
    second = 1_000_000
    batch = [
        arrival(1, metric="heartbeat", lane=Lane.CRITICAL),
        arrival(1),
        arrival(4, at_us=START_US + 90 * second),
        arrival(5, at_us=START_US + 91 * second),
        arrival(1, collector="never heard", at_us=START_US + 91 * second),
        arrival(2, metric="heartbeat", lane=Lane.CRITICAL, at_us=START_US + 92 * second),
        arrival(2, at_us=START_US + 93 * second),
        arrival(3, at_us=START_US + 93 * second),
        arrival(6, at_us=START_US + 93 * second),
    ]
    sent, _ = split(processor.process(batch))
    went = [each.topic.rpartition(".")[2] for each in sent]
    assert went == ["critical", "normal", "critical", "bulk", "normal", "critical", "critical", "normal", "normal"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(LANES), st.integers(1, 30), st.integers(0, 60)),
        max_size=80,
    ),
    st.integers(1, 9),
)
def test_every_record_goes_on_once_and_deferred_ranges_are_exactly_the_deferred_records(
    deliveries: list[tuple[str, Lane, int, int]], size: int
) -> None:
    """Also with redeliveries and any order: the ledger takes the union of the ranges, and it must not cover an admitted seq
    that was never deferred."""
    processor = Processor(TOPICS, TIGHT)
    came = [
        arrival(seq, collector=collector, lane=lane, offset=offset, at_us=START_US + at_s * 1_000_000)
        for offset, (collector, lane, seq, at_s) in enumerate(deliveries)
    ]
    sent: list[Outgoing] = []
    events: list[Event] = []
    for first in range(0, len(came), size):
        records, told = split(processor.process(came[first : first + size]))
        sent += records
        events += told
    assert [(each.key, each.value) for each in sent] == [(each.key, each.value) for each in came]
    deferred = {
        (who.stream, who.seq) for each in sent if each.topic == TOPICS.deferred for who in [Headers.decode(each.headers).identity]
    }
    named = {
        (each.collector, each.epoch, each.lane, seq) for each in events if each.kind is EventKind.DEFERRED for seq in each.ranges
    }
    assert named == {(stream.collector, stream.epoch, stream.lane, seq) for stream, seq in deferred}
    assert all(each.ranges == Ranges.of(each.ranges.spans) for each in events)
