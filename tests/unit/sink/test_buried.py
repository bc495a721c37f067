"""A dead letter gives back the record as it was, whatever its sender has put into it; and harms no terminal."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.sink_feed import EPOCH, record
from pganalytics.cli.dead_letters import DUMPED_BYTES, lines
from pganalytics.runtime.errors import SettingsError
from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.topics import Topics
from pganalytics.sink.buried import attributed, exhume
from pganalytics.sink.dead_letter_search import decode, parse_wanted
from pganalytics.sink.letters import dead_letter, stub
from pganalytics.sink.records import Message, Place, Poison, Reason
from unit.sink.sink_records import KNOWN, message

TOPICS = Topics("t", 4)
COPY = Place(TOPICS.dead_letter, 3, 9, 77)
NAMES = st.sampled_from(["collector", "__connect.errors.topic", "__connect.errors.exception.message", "body_left_out", "x"])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=5)), max_size=8).map(tuple)


def buried(was: Message, *, without_body: bool = False) -> Message:
    letter = dead_letter(TOPICS, Poison(was, Reason.DAMAGED, "detail\x1b[2J"))
    letter = stub(letter) if without_body else letter
    headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in letter.headers]
    return Message(COPY, letter.key, letter.value, tuple(headers))


@given(st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=9), HEADERS, st.booleans())
def test_what_was_buried_comes_back_byte_for_byte(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...], cut: bool
) -> None:
    was = Message(Place("t.admitted.normal", 2, 5, 1), key, value, headers)
    got = exhume(buried(was, without_body=cut))
    assert got is not None
    assert got.original == replace(was, place=COPY, value=None if cut else value)
    assert (got.source.topic, got.source.partition, got.source.offset) == ("t.admitted.normal", 2, 5)
    assert (got.reason, got.left_out) == ("damaged", cut)


@given(HEADERS)
def test_what_the_sink_has_not_buried_is_nothing(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    assert exhume(Message(COPY, b"k", b"v", headers)) is None


@pytest.mark.parametrize("offset", [b"", b"-1", b"x", b"9" * 20, "٣".encode()])
def test_a_place_that_is_none(offset: bytes) -> None:
    was = buried(message(record("c", 1)))
    forged = tuple((name, offset if name.endswith(".offset") else value) for name, value in was.headers)
    assert exhume(replace(was, headers=forged)) is None


def test_only_headers_and_key_together_name_a_record() -> None:
    assert attributed(message(record("c", 1))) is not None
    for other in (message(record("c", 1), key=b"d"), message(record("c", 2**48 + 1)), message()):
        assert attributed(other) is None


def test_what_can_be_asked_for() -> None:
    assert parse_wanted("t.admitted.normal/3/17") == ("t.admitted.normal", 3, 17)
    assert parse_wanted("a/b:5432/9/bulk/4") == Identity("a/b:5432", 9, Lane.BULK, 4)
    for text in ("", "/1/2", "t/1", "t/1/x", "t/-1/2", "c/0/other/x"):
        with pytest.raises(SettingsError):
            parse_wanted(text)


@pytest.mark.parametrize(
    "body",
    [b"junk\x1b[2J\x07" * 200, "\u202e\u0000\u009b".encode(), None, record("c", 1).value],
    ids=["junk", "controls", "none", "record"],
)
def test_nothing_hostile_reaches_a_terminal(body: bytes | None) -> None:
    hostile = (("schema\u202e", b"\x1b]0;x\x07"), *record("c", 1, datname=["\x1b[2J", "\u202e"]).headers)
    was = exhume(buried(Message(Place("t\x1b.x", 0, 1, 1), b"\x1b[2J", body, hostile)))
    assert was is not None
    shown = lines(decode(was, KNOWN))
    assert all(line.isprintable() for line in shown)
    assert len(shown) < 60 + DUMPED_BYTES // 16


def test_a_body_of_a_known_schema_is_decoded() -> None:
    was = exhume(buried(message(record("c", 7).header("rows", b"9"))))
    assert was is not None
    found = decode(was, KNOWN)
    assert found.body is not None
    assert (found.body["seq"], found.body["epoch"]) == (7, EPOCH)
    assert any(line.startswith("body       datname: ['a', ") for line in lines(found))
