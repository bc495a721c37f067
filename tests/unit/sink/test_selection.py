"""What a replay takes and where each record goes."""

import dataclasses
from typing import Any

import pytest

from integration.sink_feed import EPOCH, Record, record
from pganalytics.runtime.errors import SettingsError
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.sink.letters import dead_letter
from pganalytics.sink.records import Message, Place, Poison, Reason
from pganalytics.sink.selection import Candidate, ReplaySource, Selection, Skip, candidate_of, parse_seqs
from unit.sink.sink_records import message

TOPICS = Topics("t", 4)
NAMELESS = Record(None, b"x", [])
BULK = record("c", 5, lane=Lane.BULK)


def dead(got: Record, topic: str) -> Candidate:
    letter = dead_letter(TOPICS, Poison(message(got, topic=topic, at_us=50), Reason.DAMAGED, ""))
    headers = tuple((name, value.encode() if isinstance(value, str) else value) for name, value in letter.headers)
    found = candidate_of(Message(Place("t.dead-letter", 0, 0, 60), letter.key, letter.value, headers), DEAD, TOPICS)
    assert found is not None
    return found


DEAD, ADMITTED = ReplaySource.DEAD_LETTERS, ReplaySource.ADMITTED


@pytest.mark.parametrize(
    ("got", "lay_in", "goes_to", "hindrance"),
    [
        (BULK, "t.admitted.critical", "t.admitted.bulk", None),
        (BULK, "t.admitted.deferred", "t.admitted.bulk", None),
        (NAMELESS, "t.admitted.critical", "t.admitted.critical", None),
        (NAMELESS, "t.events", "t.events", None),
        (BULK, "t.events", "t.events", None),
        (BULK, "other.admitted.bulk", None, Skip.FOREIGN),
        (NAMELESS, "t.collected.bulk", None, Skip.FOREIGN),
    ],
)
def test_where_dead_letters_go(got: Record, lay_in: str, goes_to: str | None, hindrance: Skip | None) -> None:
    found = dead(got, lay_in)
    assert (found.topic, found.hindrance) == (goes_to, hindrance)
    if hindrance is None:
        assert (found.letter.key, found.letter.value, found.letter.headers) == (got.key, got.value, got.headers)


def test_a_record_that_names_nobody_is_not_taken_from_the_admitted() -> None:
    found = candidate_of(message(NAMELESS), ADMITTED, TOPICS)
    assert found is not None
    assert found.hindrance is Skip.UNATTRIBUTED
    good = candidate_of(message(BULK, topic="t.admitted.deferred"), ADMITTED, TOPICS)
    assert good is not None
    assert good.letter.topic == "t.admitted.bulk"


@pytest.mark.parametrize(
    ("filters", "named", "nameless"),
    [
        ({}, True, True),
        ({"collector": "c"}, True, False),
        ({"collector": "d"}, False, False),
        ({"epoch": EPOCH, "lane": Lane.BULK, "seqs": Ranges.numbers([5]), "metric": "database"}, True, False),
        ({"epoch": 7}, False, False),
        ({"lane": Lane.NORMAL}, False, False),
        ({"seqs": Ranges.numbers([4, 6])}, False, False),
        ({"metric": "statements"}, False, False),
        ({"reason": Reason.DAMAGED}, True, True),
        ({"reason": Reason.FUTURE}, False, False),
        ({"since_us": 60, "until_us": 61}, True, True),
        ({"since_us": 61}, False, False),
        ({"until_us": 60}, False, False),
    ],
)
def test_filters(filters: dict[str, Any], named: bool, nameless: bool) -> None:
    chosen = Selection(**filters)
    assert chosen.takes(dead(BULK, "t.admitted.bulk")) is named
    assert chosen.takes(dead(NAMELESS, "t.admitted.bulk")) is nameless
    assert chosen.is_any is not bool(filters)


def test_one_that_dies_again_is_the_same() -> None:
    once, again = dead(BULK, "t.admitted.bulk"), dead(BULK, "t.admitted.critical")
    assert once.digest == again.digest
    assert once.digest != dead(dataclasses.replace(BULK, value=b"x"), "t.admitted.bulk").digest


def test_an_unreadable_event_is_an_event() -> None:
    assert dead(BULK, "t.events").identity is None


@pytest.mark.parametrize(("text", "shown"), [("5-9,12", "5-9,12"), ("3", "3"), ("4, 1-2,3", "1-4")])
def test_seqs(text: str, shown: str) -> None:
    assert str(parse_seqs(text)) == shown


@pytest.mark.parametrize("text", ["", "0", "9-5", "1-", "-1", "a", "1,,2", "1-2-3", "1" * 19, "١"])
def test_seqs_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="--seqs"):
        parse_seqs(text)
