"""A round judges nothing before everything that lay on its way when it began has been read."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import Identity, Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.sink.records import Message, Partition, Place
from pganalytics.sink.repair import as_find
from pganalytics.sink.settling import Round, Stage, lanes_of, split, without

TOPICS = Topics("pga", 4)
NORMAL, BULK = Stream("db1", 1024, Lane.NORMAL), Stream("db1", 1024, Lane.BULK)
COLLECTED: Partition = (TOPICS.collected(Lane.NORMAL), 2)
DEFERRED: Partition = (TOPICS.deferred, 2)

ranges = st.builds(Ranges.numbers, st.sets(st.integers(1, 30)))


def seqs(*numbers: int) -> Ranges:
    return Ranges.numbers(numbers)


def test_an_end_is_passed_by_a_commit_or_when_nothing_lies_before_it() -> None:
    waiting = Round({NORMAL: seqs(1)}, Stage.STREAMS, {COLLECTED: 10})
    assert not waiting.passed({}, {COLLECTED: 0})
    assert not waiting.passed({COLLECTED: 9}, {COLLECTED: 0})
    assert waiting.passed({COLLECTED: 10}, {COLLECTED: 0})
    assert waiting.passed({COLLECTED: 11}, {COLLECTED: 0})
    assert waiting.passed({}, {COLLECTED: 10})
    assert waiting.passed({COLLECTED: 3}, {COLLECTED: 12}), "retention has removed what was waited for"


def test_every_end_counts() -> None:
    both = Round({NORMAL: seqs(1)}, Stage.SINK, {COLLECTED: 10, DEFERRED: 5})
    assert not both.passed({COLLECTED: 10, DEFERRED: 4}, {})
    assert both.passed({COLLECTED: 10, DEFERRED: 5}, {})


def test_what_came_after_the_round_began_is_not_judged() -> None:
    begun = Round({NORMAL: seqs(1, 2, 3)}, Stage.SINK)
    assert begun.holes({NORMAL: seqs(2, 3, 4, 5), BULK: seqs(1)}) == {NORMAL: seqs(2, 3)}
    assert begun.holes({}) == {}


def test_deferred_ones_are_judged_by_the_deferred_topic() -> None:
    first = Round({NORMAL: seqs(1, 2)}, Stage.STREAMS).for_sink({COLLECTED: 1}, {DEFERRED: 7})
    now, later = split(first.holes({NORMAL: seqs(1, 2)}), {NORMAL: seqs(2, 9)})
    assert (now, later) == ({NORMAL: seqs(1)}, {NORMAL: seqs(2)})
    second = first.for_deferred(later)
    assert second.of_deferred
    assert not second.passed({DEFERRED: 6}, {})
    assert second.passed({DEFERRED: 7}, {})


@given(ranges, ranges, ranges)
def test_nothing_is_judged_twice_or_forgotten(taken: Ranges, still_open: Ranges, deferred: Ranges) -> None:
    holes = Round({NORMAL: taken}, Stage.SINK).holes({NORMAL: still_open})
    now, later = split(holes, {NORMAL: deferred})
    one, two = now.get(NORMAL, Ranges()), later.get(NORMAL, Ranges())
    assert one | two == taken & still_open
    assert not one & two
    assert two == taken & still_open & deferred


@given(ranges, ranges)
def test_what_a_pass_did_not_find_is_lost(holes: Ranges, found: Ranges) -> None:
    lost = without({NORMAL: holes}, {NORMAL: found, BULK: found})
    assert lost == ({NORMAL: holes - found} if holes - found else {})


def test_lanes_with_holes() -> None:
    assert lanes_of({BULK: seqs(1), NORMAL: seqs(1)}) == [Lane.NORMAL, Lane.BULK]


def collected(seq: int, *, lane: Lane = Lane.NORMAL, key: bytes = b"db1") -> Message:
    headers = Headers(Identity("db1", 1024, lane, seq), "database", 1, 4, 1, "0123456789abcdef")
    wire = [*headers.encode(), ("src_offset", b"999")]
    return Message(Place(TOPICS.collected(Lane.NORMAL), 2, 17, 5_000), key, b"body", tuple(wire))


def test_a_find_is_what_the_streams_would_have_sent() -> None:
    find = as_find(collected(3), Lane.NORMAL, {NORMAL: seqs(3)}, TOPICS)
    assert find is not None
    assert find.identity == Identity("db1", 1024, Lane.NORMAL, 3)
    assert (find.letter.topic, find.letter.key, find.letter.value) == (TOPICS.admitted(Lane.NORMAL), b"db1", b"body")
    assert find.letter.headers[-2:] == [("appended_at", b"5000"), ("src_offset", b"17")]
    assert [name for name, _ in find.letter.headers].count("src_offset") == 1


def test_only_what_fills_a_hole_is_a_find() -> None:
    holes = {NORMAL: seqs(3), BULK: seqs(3)}
    assert as_find(collected(4), Lane.NORMAL, holes, TOPICS) is None
    assert as_find(collected(3, key=b"forger"), Lane.NORMAL, holes, TOPICS) is None
    assert as_find(collected(3, lane=Lane.BULK), Lane.NORMAL, holes, TOPICS) is None
    assert as_find(Message(Place("t", 0, 0, 0), b"db1", None, ()), Lane.NORMAL, holes, TOPICS) is None
