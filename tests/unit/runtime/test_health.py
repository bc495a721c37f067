"""Each way in which a service is stuck, or lacks something, is a line that says so; what others owe us is no death."""

from dataclasses import replace

import pytest

from pganalytics.producers import health as collect
from pganalytics.runtime.health import LOOK_S, STUCK_S, Look, look_after, stuck, unseen
from pganalytics.sink import health as sink
from pganalytics.streams import health as streams

NOW = 10_000.0
HERE, THERE = ("t", 0), ("t", 1)
AGENT = collect.Signs(
    scheduler_at=NOW,
    heartbeats_at=NOW,
    sender_at=NOW,
    spool_busy_since=None,
    jobs_ended_at=NOW,
    jobs_open=0,
    longest_job_s=30,
    flying_since=None,
    untaken_since=None,
    read_targets=1,
    targets=2,
    refusal=None,
    settings_refused=False,
)
WELL = Look(NOW, {HERE: 5}, NOW, 0, True)
STUCK = Look(NOW, {HERE: 5}, NOW - STUCK_S - 1, 7, True)
MOVES = replace(STUCK, moved_at=NOW - STUCK_S)


@pytest.mark.parametrize(
    ("change", "dead", "unready"),
    [
        ({}, "", ""),
        ({"scheduler_at": NOW - 60}, "", ""),
        ({"scheduler_at": NOW - 61}, "the scheduler has not come round for 61 s", ""),
        ({"heartbeats_at": NOW - 121}, "the thread of heartbeats has not come round for 121 s", ""),
        ({"sender_at": NOW - 121}, "the sender has not come round for 121 s", ""),
        ({"spool_busy_since": NOW - 60}, "", ""),
        ({"spool_busy_since": NOW - 61}, "the spool has not answered for 61 s", ""),
        ({"jobs_open": 3, "jobs_ended_at": NOW - 330}, "", ""),
        ({"jobs_open": 3, "jobs_ended_at": NOW - 331}, "3 jobs are due or running and none has ended for 331 s", ""),
        ({"jobs_open": 0, "jobs_ended_at": NOW - 9999}, "", ""),
        ({"flying_since": NOW - 180}, "", ""),
        ({"flying_since": NOW - 181}, "records are on their way and nothing was reported of them for 181 s", ""),
        ({"untaken_since": NOW - 20}, "", ""),
        ({"untaken_since": NOW - 7200}, "", "kafka has taken nothing for 7200 s"),
        ({"read_targets": 0}, "", "none of 2 targets has been read yet"),
        ({"read_targets": 0, "targets": 0}, "", ""),
        ({"refusal": "disk"}, "", "the spool takes no records: disk"),
        ({"settings_refused": True}, "", "the settings file cannot be used: older settings are in force"),
    ],
)
def test_an_agent(change: dict[str, object], dead: str, unready: str) -> None:
    signs = replace(AGENT, **change)  # type: ignore[arg-type]
    assert "\n".join(collect.alive(signs, NOW)) == dead
    assert "\n".join(collect.ready(signs, NOW)) == unready


@pytest.mark.parametrize(
    ("look", "turned_at", "dead", "unready"),
    [
        (WELL, NOW, "", ""),
        (WELL, NOW - 61, "the event loop has not come round for 61 s", ""),
        (MOVES, NOW, "", ""),
        (STUCK, NOW, "7 records wait and none was processed for 181 s", ""),
        (
            replace(STUCK, assigned=False),
            NOW,
            "7 records wait and none was processed, by nobody of the group, for 181 s",
            "no partitions are assigned to this process",
        ),
        (replace(WELL, assigned=False), NOW, "", "no partitions are assigned to this process"),
        (None, NOW, "", "kafka does not answer"),
        (replace(WELL, looked_at=NOW - LOOK_S - 1), NOW, "", "kafka has not answered for 21 s"),
    ],
)
def test_streams(look: Look | None, turned_at: float, dead: str, unready: str) -> None:
    signs = streams.Signs(look, turned_at)
    assert "\n".join(streams.alive(signs, NOW)) == dead
    assert "\n".join(streams.ready(signs, NOW)) == unready


@pytest.mark.parametrize(
    ("signs", "dead", "unready"),
    [
        (sink.Signs(WELL, NOW, "", 0), "", ""),
        (sink.Signs(STUCK, NOW, "", 0), "7 records wait and none was stored for 181 s", ""),
        (sink.Signs(STUCK, NOW, "store", 0), "", "the sink waits for store"),
        (sink.Signs(STUCK, NOW, "", NOW - STUCK_S), "", ""),
        (sink.Signs(WELL, NOW - 901, "", 0), "the sink's thread has not come round for 901 s", ""),
        (sink.Signs(None, NOW, "kafka", 0), "", "the sink waits for kafka\nkafka does not answer"),
    ],
)
def test_a_sink(signs: sink.Signs, dead: str, unready: str) -> None:
    assert "\n".join(sink.alive(signs, NOW)) == dead
    assert "\n".join(sink.ready(signs, NOW)) == unready


def looks(*each: tuple[float, dict[tuple[str, int], int], dict[tuple[str, int], int], set[tuple[str, int]]]) -> Look | None:
    """What is known after these looks: when, ends, done, our own partitions."""
    look = None
    for now, ends, done, own in each:
        look = look_after(look, ends, done, own=frozenset(own), now=now)
    return look


def moved_at(look: Look | None) -> float:
    assert look is not None
    return look.moved_at


def test_what_has_nothing_before_it_begins_to_wait_when_something_comes() -> None:
    assert moved_at(looks((1, {HERE: 5}, {HERE: 5}, {HERE}), (90, {HERE: 6}, {HERE: 5}, {HERE}))) == 90


def test_what_stays_where_it_is_waits_since_the_first_look() -> None:
    assert moved_at(looks((1, {HERE: 6}, {HERE: 5}, {HERE}), (90, {HERE: 9}, {HERE: 5}, {HERE}))) == 1


def test_one_that_goes_on_does_not_wait() -> None:
    assert moved_at(looks((1, {HERE: 6}, {HERE: 4}, {HERE}), (90, {HERE: 9}, {HERE: 5}, {HERE}))) == 90


def test_what_others_read_is_theirs_while_we_have_something() -> None:
    look = looks((1, {HERE: 5, THERE: 9}, {HERE: 5, THERE: 1}, {HERE}), (90, {HERE: 5, THERE: 9}, {HERE: 5, THERE: 1}, {HERE}))
    assert look is not None
    assert (look.behind, stuck(look, "stored", NOW)) == (0, [])


def test_without_partitions_the_group_must_go_on() -> None:
    stands = looks((1, {HERE: 9}, {HERE: 1}, set()), (90, {HERE: 9}, {HERE: 1}, set()))
    goes_on = looks((1, {HERE: 9}, {HERE: 1}, set()), (90, {HERE: 9}, {HERE: 2}, set()))
    assert (moved_at(stands), moved_at(goes_on)) == (1, 90)


def test_an_assignment_gives_time_anew() -> None:
    assert moved_at(looks((1, {HERE: 9}, {HERE: 1}, set()), (90, {HERE: 9}, {HERE: 1}, {HERE}))) == 90
    assert unseen(looks((1, {HERE: 9}, {HERE: 1}, set())), 1) == ["no partitions are assigned to this process"]
