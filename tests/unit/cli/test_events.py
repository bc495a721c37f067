"""Events for people: alike ones are one line, and no text does anything to a terminal. And the ranges of gaps by fate."""

from dataclasses import replace

from pganalytics.cli.events import as_json, cells_of, merged
from pganalytics.cli.gaps import fates
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.event_reader import Chosen
from pganalytics.sink.holes import Hole

MINUTE = 60_000_000
ONE = Event(
    kind=EventKind.DEFERRED,
    source=Source.STREAMS,
    at_us=1_000_000,
    collector="db1",
    epoch=5,
    lane=Lane.NORMAL,
    ranges=Ranges(((1, 3),)),
    topic="t",
    partition=0,
    offset=9,
    detail="over quota",
)


def texts(*events: Event) -> list[str]:
    return [" ".join(cells_of(line)) for line in merged(events)]


def test_events_alike_are_one_line_with_their_union() -> None:
    later = replace(ONE, at_us=ONE.at_us + MINUTE, ranges=Ranges(((4, 6), (9, 9))))
    wanted = "1970-01-01 00:01:01 deferred db1 normal seq 1-6,9: over quota (2 times since 1970-01-01 00:00:01)"
    assert texts(ONE, later) == [wanted]


def test_a_pause_or_another_fact_begins_a_line() -> None:
    paused = replace(ONE, at_us=ONE.at_us + MINUTE + 1)
    assert len(texts(ONE, paused)) == 2
    for change in ({"collector": "db2"}, {"epoch": 6}, {"lane": Lane.BULK}, {"kind": EventKind.SHED}, {"detail": "x"}):
        assert len(texts(ONE, replace(ONE, **change))) == 2


def test_lines_come_in_the_order_of_their_ends() -> None:
    other = replace(ONE, collector="db2", at_us=ONE.at_us + 1)
    again = replace(ONE, at_us=ONE.at_us + 2_000_000)
    assert [line.first.collector for line in merged([ONE, other, again])] == ["db2", "db1"]


def test_hostile_texts_are_escaped() -> None:
    text = texts(replace(ONE, collector="a\u202eb", detail="x\x1b[2J\n"))[0]
    assert text.isprintable()
    assert "a\\u202eb" in text


def test_an_event_for_programs_has_all_its_facts() -> None:
    found = as_json(ONE)
    assert (found["id"], found["at"], found["seqs"], found["offset"]) == (ONE.id, "1970-01-01T00:00:01+00:00", "1-3", 9)


def test_events_are_chosen_by_kind_and_collector() -> None:
    assert Chosen().takes(ONE)
    assert Chosen("deferred", "db1").takes(ONE)
    assert not Chosen("shed").takes(ONE)
    assert not Chosen(None, "db2").takes(ONE)


def test_each_seq_of_a_gap_has_one_fate() -> None:
    hole = Hole(Stream("a", 1, Lane.BULK), Ranges(((1, 9),)), Ranges(((2, 3),)), Ranges(((5, 5),)), None, None)
    assert {what: str(seqs) for what, seqs in fates(hole).items()} == {"missing": "2-3", "deferred": "5", "on its way": "1,4,6-9"}
