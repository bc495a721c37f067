"""Every record is stored, noticed or dead, with its reason; and only headers that can be trusted name a culprit."""

import dataclasses
from typing import Any

import pytest

from integration.sink_feed import DAY_US, Record, event_record, heartbeat, now_us, record
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.intake import HOUR_US, read
from pganalytics.sink.layout import Conflict
from pganalytics.sink.records import Noticed, Poison, Reading, Reason, Row
from unit.sink.sink_records import KNOWN, message

NOW = now_us()
EVENTS = "t.events"


def judge(got: Record, *, at_us: int = NOW, topic: str = "t.admitted.normal", known: Any = KNOWN, **changes: Any) -> Reading:
    return read(message(got, at_us=at_us, topic=topic, **changes), known, events_topic=EVENTS, now_us=NOW)


def poison(got: Record, **options: Any) -> Poison:
    reading = judge(got, **options)
    assert isinstance(reading, Poison)
    return reading


def test_a_good_record_is_a_row() -> None:
    reading = judge(record("c", 3, collected_at=NOW))
    assert isinstance(reading, Row)
    assert (reading.identity.seq, reading.metric, reading.day, reading.beat) == (3, "database", NOW // DAY_US, None)


def test_a_heartbeat_carries_its_counts() -> None:
    reading = judge(heartbeat("c", 3, {Lane.BULK: 9}, collected_at=NOW))
    assert isinstance(reading, Row)
    assert reading.beat is not None


def swapped() -> Record:
    """The headers of one collector's record and the body of another's."""
    return dataclasses.replace(record("victim", 1), value=record("other", 1).value)


def stub(of: Record, error: bytes = b"MSG_SIZE_TOO_LARGE") -> Record:
    """What goes out in place of a body that Kafka refuses for good."""
    return dataclasses.replace(of, value=None, headers=[*of.headers, ("error", error)])


@pytest.mark.parametrize(
    ("got", "reason"),
    [
        (record("c", 1).header("seq", b"x"), Reason.HEADERS_UNREADABLE),
        (dataclasses.replace(record("c", 1), headers=[]), Reason.HEADERS_UNREADABLE),
        (dataclasses.replace(record("c", 1), key=b"other"), Reason.KEY_DISAGREES),
        (dataclasses.replace(record("c", 1), key=None), Reason.KEY_DISAGREES),
        (record("c", 2**48 + 1), Reason.IMPLAUSIBLE),
        (record("c", 1).header("schema", b"0" * 16), Reason.UNKNOWN_SCHEMA),
        (record("c", 1).header("schema", builtin_schemas()["heartbeat"].id.encode()), Reason.DAMAGED),
        (dataclasses.replace(record("c", 1), value=None), Reason.DAMAGED),
        (stub(record("c", 1)), Reason.STUB),
        (stub(record("c", 1), b"no code"), Reason.HEADERS_UNREADABLE),
        (dataclasses.replace(record("c", 1), value=b"\xc3\x01" + b"x" * 30), Reason.DAMAGED),
        (dataclasses.replace(record("c", 1), value=(record("c", 1).value or b"")[:-1]), Reason.DAMAGED),
        (swapped(), Reason.BODY_DISAGREES),
        (record("c", 1).header("seq", b"2"), Reason.BODY_DISAGREES),
        (record("c", 1).header("rows", b"7"), Reason.BODY_DISAGREES),
        (record("c", 1).header("bytes", b"7"), Reason.BODY_DISAGREES),
        (record("c", 1).header("collected_at", b"7"), Reason.BODY_DISAGREES),
        (record("c", 1).header("metric", b"other"), Reason.BODY_DISAGREES),
        (heartbeat("c", 1, {}).header("emitted", b"1,2,3"), Reason.BODY_DISAGREES),
        (record("c", 1, collected_at=NOW + HOUR_US + 1), Reason.FUTURE),
        (record("c", 1, collected_at=NOW - 31 * DAY_US), Reason.TOO_OLD),
        (record("c", 1, datname=["a\0b", "c"]), Reason.NOT_STORABLE),
        (record("c", 1, since=-(2**63)), Reason.NOT_STORABLE),
    ],
)
def test_reasons(got: Record, reason: Reason) -> None:
    assert poison(got).reason is reason


@pytest.mark.parametrize("collected_at", [NOW + HOUR_US, NOW, NOW - 29 * DAY_US], ids=["hour ahead", "now", "old"])
def test_times_within_the_bounds_are_stored(collected_at: int) -> None:
    assert isinstance(judge(record("c", 1, collected_at=collected_at)), Row)


def test_the_brokers_first_sight_counts_not_ours() -> None:
    """A record that waited two days in the admitted topic was appended two days ago."""
    late = record("c", 1, collected_at=NOW - DAY_US, appended_at_us=NOW - 2 * DAY_US)
    assert poison(late).reason is Reason.FUTURE


def test_a_forged_append_time_cannot_ask_for_partitions_of_the_next_century() -> None:
    far = NOW + 36_500 * DAY_US
    assert poison(record("c", 1, collected_at=far, appended_at_us=far)).reason is Reason.FUTURE


def test_only_agreement_of_headers_and_key_names_the_culprit() -> None:
    assert poison(dataclasses.replace(record("victim", 1), key=b"forger")).identity is None
    assert poison(record("c", 1).header("epoch", b"")).identity is None
    named = poison(swapped()).identity
    assert named is not None
    assert named.collector == "victim"


@pytest.mark.parametrize("collected_at", [NOW + 2 * HOUR_US, 0], ids=["ahead", "1970"])
def test_the_counts_of_a_heartbeat_hold_whatever_its_clock_says(collected_at: int) -> None:
    dead = poison(heartbeat("c", 1, {Lane.BULK: 9}, collected_at=collected_at))
    assert dead.beat is not None


def test_implausible_counts_are_not_applied() -> None:
    dead = poison(heartbeat("c", 1, {Lane.BULK: 2**60}))
    assert (dead.reason, dead.beat) == (Reason.IMPLAUSIBLE, None)


def test_a_refused_schema_says_why() -> None:
    known = {**KNOWN, builtin_schemas()["database"].id: Conflict("metric database: field x is twice")}
    dead = poison(record("c", 1), known=known)
    assert (dead.reason, dead.detail) == (Reason.REFUSED_SCHEMA, "metric database: field x is twice")


def event(**changes: Any) -> Event:
    facts: dict[str, Any] = {
        "kind": EventKind.SHED,
        "source": Source.STREAMS,
        "at_us": NOW,
        "collector": "c",
        "epoch": 1,
        "lane": Lane.NORMAL,
        "ranges": Ranges.numbers([1]),
        "topic": "t",
        "partition": 0,
        "offset": 0,
        "detail": "",
    }
    return Event(**facts | changes)


def test_an_event_is_noticed() -> None:
    assert isinstance(judge(event_record(event()), topic=EVENTS), Noticed)


@pytest.mark.parametrize(
    "got",
    [
        Record(b"c", b"junk", []),
        Record(b"c", None, []),
        Record(b"other", event().encode(), []),
        event_record(event(at_us=-1)),
        event_record(event(at_us=2**62)),
        event_record(event(detail="a\0b")),
        event_record(event(ranges=Ranges.numbers([2**60]))),
    ],
)
def test_an_event_that_cannot_be_kept_is_dead(got: Record) -> None:
    assert poison(got, topic=EVENTS).reason is Reason.EVENT_UNREADABLE
