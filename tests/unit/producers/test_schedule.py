"""When jobs are due."""

import subprocess
import sys
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.producers.schedule import FIRST_WITHIN_S, GROUP, JobKey, Schedule, phase

KEYS = [JobKey(f"server{number}", metric) for number in range(50) for metric in ("heartbeat", "database", "statements")]


def test_the_first_runs_come_soon_and_not_at_once() -> None:
    schedule = Schedule.starting([(key, 60.0) for key in KEYS], now=1000.0)
    assert schedule.due(999.9) == []
    early = schedule.due(1000.0 + FIRST_WITHIN_S / 2)
    assert 0.3 * len(KEYS) < len(early) < 0.7 * len(KEYS)
    assert sorted(early + schedule.due(1000.0 + FIRST_WITHIN_S)) == sorted(KEYS)


def test_a_short_interval_bounds_the_first_run() -> None:
    schedule = Schedule.starting([(key, 0.5) for key in KEYS], now=0.0)
    assert sorted(schedule.due(0.5)) == sorted(KEYS)


def test_jobs_keep_their_pace_without_drift() -> None:
    key = KEYS[0]
    schedule = Schedule.starting([(key, 5.0)], now=0.0)
    runs = [now for now in range(1000) if schedule.due(now + phase(key) * FIRST_WITHIN_S)]
    assert runs == list(range(0, 1000, 5))


def test_a_machine_that_slept_runs_each_job_once() -> None:
    schedule = Schedule.starting([(KEYS[0], 5.0)], now=0.0)
    assert schedule.due(10_000.0) == [KEYS[0]]
    assert schedule.due(10_000.0) == []
    assert schedule.wait_s(10_000.0, 60.0) <= 5.0


@given(st.lists(st.floats(0, 30), max_size=30), st.floats(0.5, 20))
def test_a_job_runs_at_most_once_per_interval(steps: list[float], interval_s: float) -> None:
    schedule, now, runs = Schedule.starting([(KEYS[0], interval_s)], now=0.0), 0.0, 0
    for step in steps:
        now += step
        due = schedule.due(now)
        assert len(due) <= 1
        runs += len(due)
        assert 0.0 <= schedule.wait_s(now, 60.0) <= interval_s + 1e-6
    assert runs <= now / interval_s + 1


def runs(schedule: Schedule, begin: int, end: int) -> list[int]:
    """The seconds at which the first job runs."""
    first = phase(KEYS[0]) * FIRST_WITHIN_S
    return [now for now in range(begin, end) if schedule.due(now + first)]


def test_a_stretched_interval_counts_from_the_last_run_and_is_not_forgotten() -> None:
    """60 s, four times as long from second 70 on; from second 400 on as it was, when the next regular time is 420."""
    schedule = Schedule.starting([(KEYS[0], 60.0)], now=0.0)
    assert runs(schedule, 0, 70) == [0, 60]
    schedule.stretch({KEYS[0]: 4.0}, 70.0)
    assert runs(schedule, 70, 400) == [300]
    schedule.stretch({KEYS[0]: 1.0}, 400.0)
    assert runs(schedule, 400, 550) == [420, 480, 540]
    assert schedule.intervals == {KEYS[0]: 60.0}


def test_a_shorter_stretch_brings_the_next_run_forward_and_never_back() -> None:
    schedule = Schedule.starting([(KEYS[0], 60.0)], now=0.0)
    assert runs(schedule, 0, 10) == [0]
    schedule.stretch({KEYS[0]: 10.0}, 10.0)
    schedule.stretch({KEYS[0]: 7.0}, 590.0)
    assert runs(schedule, 590, 1500) == [600, 1020, 1440]


def test_the_first_run_is_not_put_off() -> None:
    schedule = Schedule.starting([(KEYS[0], 60.0)], now=0.0)
    schedule.stretch({KEYS[0]: 4.0}, 0.0)
    assert runs(schedule, 0, 300) == [0, 240]
    schedule.add([(KEYS[1], 60.0)], 300.0)
    schedule.stretch({KEYS[1]: 4.0}, 300.0)
    assert KEYS[1] in schedule.due(360.0)


def test_a_job_that_is_removed_and_comes_back_has_its_own_interval() -> None:
    schedule = Schedule.starting([(KEYS[0], 60.0)], now=0.0)
    schedule.due(10.0)
    schedule.stretch({KEYS[0]: 4.0}, 10.0)
    schedule.remove([KEYS[0]])
    schedule.add([(KEYS[0], 60.0)], 20.0)
    assert schedule.due(80.0) == [KEYS[0]]
    assert schedule.wait_s(80.0, 1000.0) <= 60.0


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from([1.0, 1.5, 4.0, 16.0])), max_size=30))
def test_whatever_is_asked_a_job_runs_no_more_often_than_set_and_goes_on(changes: list[tuple[float, float]]) -> None:
    schedule, now, count = Schedule.starting([(KEYS[0], 10.0)], now=0.0), 0.0, 0
    for step, factor in changes:
        now += step
        count += len(schedule.due(now))
        schedule.stretch({KEYS[0]: factor}, now)
        assert schedule.wait_s(now, 1000.0) <= 10.0 * factor + 1e-6
    assert count <= now / 10.0 + 1


def test_an_empty_schedule_waits() -> None:
    assert Schedule.starting([], 0.0).wait_s(0.0, 0.2) == 0.2


def test_phases_are_the_same_in_every_process() -> None:
    """Python's own hash differs from process to process: a restart would move every job."""
    code = "from pganalytics.producers.schedule import *; print(phase(JobKey('a', 'b')))"
    answers = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert answers == {f"{phase(JobKey('a', 'b'))}\n".encode()}


@given(st.integers(1, 200))
def test_databases_of_one_server_come_in_groups(count: int) -> None:
    """Evenly spread over the interval; metrics with multiples of the shortest interval come when that one comes."""
    names = [f"db{number}" for number in range(count)]
    schedule = Schedule.starting([], 0.0)
    intervals = {"tables": 300.0, "sizes": 1800.0, "bloat": 700.0}
    schedule.add(
        [(JobKey("one", metric, name), each) for name in names for metric, each in intervals.items()], 0.0, databases=count
    )
    first: dict[JobKey, float] = {}
    turns: dict[str, set[float]] = {}
    while (now := schedule.wait_s(0.0, 4000.0)) < 4000.0:
        for key in schedule.due(now):
            first.setdefault(key, now)
            if key.metric != "bloat":
                turns.setdefault(key.database, set()).add(round(now % 300.0, 6))
    assert all(at <= intervals[key.metric] for key, at in first.items())
    assert all(len(offsets) == 1 for offsets in turns.values())
    groups = sorted({offset for offsets in turns.values() for offset in offsets})
    assert len(groups) <= -(-count // GROUP)
    steps = [later - earlier for earlier, later in pairwise(groups)]
    assert all(step >= 300.0 / -(-count // GROUP) - 1e-3 for step in steps)


def test_single_databases_of_many_servers_do_not_come_at_once() -> None:
    phases = {phase(JobKey(f"server{number}", "tables", "shop")) for number in range(100)}
    assert len(phases) == 100
