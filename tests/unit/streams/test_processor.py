"""What becomes of a batch: every record goes on exactly once, and events name exact ranges."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.events import Event, EventKind, decode_event
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.ranges import Ranges
from pganalytics.streams.lanes import Destination
from pganalytics.streams.processor import Decided, Processor, event_record
from pganalytics.streams.quota import Verdict
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.records import Arrival, Outgoing
from pganalytics.streams.rules import Rule, Rules
from unit.streams.arrivals import START_US, TERMS, TOPICS, arrival
from unit.streams.quota_model import Quota

AMPLE = Quotas(Quota(records_per_s=1000, rows_per_s=10**6, bytes_per_s=10**8))
TIGHT = Quotas(Quota(1, 10**6, 10**8, burst_s=3, critical_burst_s=3600, ceiling_s=86400))
NARROW = Quotas(Quota(1, 10**6, 10**8, burst_s=3, critical_burst_s=5, ceiling_s=4))


def split(decided: Decided) -> tuple[list[Outgoing], list[Event]]:
    """The records that are sent, and the events as they are read."""
    sent = [event_record(TOPICS, event) for event in decided.events]
    assert {each.topic for each in sent} <= {TOPICS.events}
    return [record for record in decided.records if record is not None], [decode_event(each.value or b"") for each in sent]


def test_a_record_goes_on_unchanged_with_our_two_headers() -> None:
    came = arrival(3, offset=17)
    [sent], events = split(Processor(TOPICS, AMPLE, TERMS).process([came]))
    assert (sent.topic, sent.partition, sent.key, sent.value) == ("pga.admitted.normal", 0, b"db1", b"body")
    assert list(sent.headers) == [*came.headers, ("appended_at", str(START_US).encode()), ("src_offset", b"17")]
    assert events == []


@pytest.mark.parametrize("lane", LANES)
def test_a_record_keeps_its_lane(lane: Lane) -> None:
    [sent], _ = split(Processor(TOPICS, AMPLE, TERMS).process([arrival(lane=lane)]))
    assert sent.topic == TOPICS.admitted(lane)


def test_what_a_sender_wrote_under_our_names_is_replaced() -> None:
    came = arrival(1, offset=17)
    forged = replace(came, headers=[*came.headers, ("src_offset", b"999"), ("appended_at", b"1")])
    [sent], _ = split(Processor(TOPICS, AMPLE, TERMS).process([forged]))
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
    processor = Processor(TOPICS, TIGHT, TERMS)
    sent, events = split(processor.process([came] * 50))
    assert {(each.topic, each.key, each.value, tuple(each.headers)) for each in sent} == {
        ("pga.admitted.bulk", came.key, came.value, tuple(came.headers))
    }
    assert (len(sent), events) == (50, [])


def test_over_quota_is_deferred_and_named_in_one_event_per_run() -> None:
    batch = [arrival(seq) for seq in range(1, 11)]
    sent, events = split(Processor(TOPICS, TIGHT, TERMS).process(batch))
    assert [each.topic for each in sent] == ["pga.admitted.normal"] * 3 + ["pga.admitted.deferred"] * 7
    assert [(each.kind, str(each.ranges), each.detail, each.offset) for each in events] == [
        (EventKind.DEFERRED, "4-10", "over quota", 3)
    ]


def test_critical_records_and_heartbeats_always_pass() -> None:
    batch = [arrival(seq, lane=Lane.CRITICAL, metric="blocking") for seq in range(1, 50)]
    batch += [arrival(seq, metric="heartbeat", at_us=START_US + seq * 10_000_000) for seq in range(1, 50)]
    sent, events = split(Processor(TOPICS, TIGHT, TERMS).process(batch))
    assert {each.topic for each in sent} == {"pga.admitted.critical", "pga.admitted.normal"}
    assert events == []


def test_beyond_the_ceiling_records_are_shed_and_named_in_one_event_per_run() -> None:
    """They go nowhere; a dictionary's record in between is deferred, and it ends no run but its own seq's."""
    batch = [arrival(seq, metric="query_text" if seq == 12 else "database") for seq in range(1, 21)]
    decided = Processor(TOPICS, NARROW, TERMS).process(batch)
    assert [number + 1 for number, record in enumerate(decided.records) if record is None] == [8, 9, 10, 11, *range(13, 21)]
    assert [record.topic for record in decided.records if record is not None][3:] == [TOPICS.deferred] * 5
    _, events = split(decided)
    assert [(each.kind, str(each.ranges), each.detail, each.offset) for each in events] == [
        (EventKind.DEFERRED, "4-7", "over quota", 3),
        (EventKind.DEFERRED, "12", "over quota", 11),
        (EventKind.SHED, "8-11", "beyond the ceiling of its quota", 7),
        (EventKind.SHED, "13-20", "beyond the ceiling of its quota", 12),
    ]


def test_lanes_and_collectors_that_interleave_do_not_cut_runs() -> None:
    batch = [
        arrival(seq, collector=collector, lane=lane)
        for seq in range(1, 101)
        for collector in "ab"
        for lane in (Lane.NORMAL, Lane.BULK)
    ]
    _, events = split(Processor(TOPICS, NARROW, TERMS).process(batch))
    shed = [(each.collector, each.lane, str(each.ranges)) for each in events if each.kind is EventKind.SHED]
    assert len(shed) == 4
    assert all(ranges.endswith("-100") for _, _, ranges in shed)


def test_critical_records_beyond_their_own_limit_are_deferred_and_then_shed() -> None:
    """But for heartbeats, three at once."""
    batch = [arrival(seq, lane=Lane.CRITICAL, metric="blocking") for seq in range(1, 21)]
    batch += [arrival(seq, lane=Lane.CRITICAL, metric="heartbeat") for seq in range(21, 25)]
    decided = Processor(TOPICS, NARROW, TERMS).process(batch)
    topics = [record.topic if record else None for record in decided.records]
    assert topics == [*["pga.admitted.critical"] * 5, *[TOPICS.deferred] * 2, *[None] * 13, *["pga.admitted.critical"] * 3, None]
    assert [str(each.ranges) for each in decided.events if each.kind is EventKind.SHED] == ["8-20", "24"]


def test_rows_that_cannot_be_in_a_body_are_not_believed() -> None:
    quotas = Quotas(Quota(1000, rows_per_s=10, bytes_per_s=10**8))
    batch = [
        arrival(1, rows=2**62),
        arrival(2),
        arrival(3, rows=2**62, value=None),
        arrival(4, rows=200, value=b"b" * 200),
        arrival(5),
    ]
    sent, _ = split(Processor(TOPICS, quotas, TERMS).process(batch))
    assert [each.topic == TOPICS.deferred for each in sent] == [False] * 4 + [True]


def test_one_collector_over_quota_does_not_touch_another() -> None:
    processor = Processor(TOPICS, TIGHT, TERMS)
    processor.process([arrival(seq, collector="noisy") for seq in range(1, 100)])
    [sent], events = split(processor.process([arrival(1, collector="quiet")]))
    assert (sent.topic, events) == ("pga.admitted.normal", [])


def test_a_hole_is_an_event_and_so_is_its_end() -> None:
    processor = Processor(TOPICS, AMPLE, TERMS)
    _, events = split(processor.process([arrival(1), arrival(4), arrival(2)]))
    assert [(each.kind, str(each.ranges)) for each in events] == [(EventKind.GAP, "2-3"), (EventKind.GAP_FILLED, "2")]


def test_epochs_and_lanes_are_sequences_of_their_own() -> None:
    processor = Processor(TOPICS, AMPLE, TERMS)
    batch = [arrival(1), arrival(9, epoch=2048), arrival(5, lane=Lane.BULK), arrival(2), arrival(10, epoch=2048)]
    assert split(processor.process(batch))[1] == []


def test_the_same_batch_makes_the_same_events() -> None:
    """A restart repeats what was not committed; the events' ids must not change, or people see them twice."""
    batch = [arrival(seq, offset=seq) for seq in (1, 5, *range(6, 20))]
    once = split(Processor(TOPICS, TIGHT, TERMS).process(batch))[1]
    again = split(Processor(TOPICS, TIGHT, TERMS).process(batch))[1]
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
    processor = Processor(TOPICS, TIGHT, TERMS, rules=rules)
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
    processor = Processor(TOPICS, AMPLE, TERMS, rules=rules)
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
def test_every_record_goes_on_once_or_is_shed_and_ranges_are_exactly_the_records_of_their_fate(
    deliveries: list[tuple[str, Lane, int, int]], size: int
) -> None:
    """Also with redeliveries and any order: the ledger takes the union of the ranges, and it must not cover an admitted seq
    that was never deferred or shed."""
    processor = Processor(TOPICS, NARROW, TERMS)
    came = [
        arrival(seq, collector=collector, lane=lane, offset=offset, at_us=START_US + at_s * 1_000_000)
        for offset, (collector, lane, seq, at_s) in enumerate(deliveries)
    ]
    sent: list[Outgoing | None] = []
    events: list[Event] = []
    for first in range(0, len(came), size):
        decided = processor.process(came[first : first + size])
        sent += decided.records
        events += split(decided)[1]
    fates: dict[EventKind, set[Identity]] = {EventKind.DEFERRED: set(), EventKind.SHED: set()}
    for each, record in zip(came, sent, strict=True):
        who = Headers.decode(each.headers).identity
        if record is None:
            fates[EventKind.SHED].add(who)
        else:
            assert (record.key, record.value) == (each.key, each.value)
            if record.topic == TOPICS.deferred:
                fates[EventKind.DEFERRED].add(who)
    for kind, identities in fates.items():
        told = [event for event in events if event.kind is kind]
        named = {Identity(one.collector, one.epoch, one.lane, seq) for one in told if one.lane for seq in one.ranges}
        assert named == identities
        assert all(one.ranges == Ranges.of(one.ranges.spans) for one in told)
