"""Who may take a worker: a sick target harms only itself."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.producers.schedule import JobKey
from pganalytics.producers.workers import FIRST_S, FRESH_S, PATIENCE_S, SLOW_S, Candidate, Workers, quarter


def candidate(collector: str, metric: str = "statements", *, critical: bool = False, most: int = 2) -> Candidate:
    return Candidate(JobKey(collector, metric), critical, most)


def trusting(count: int, *collectors: str, isolate: bool = True) -> Workers:
    return Workers(count, isolate=isolate, trusted=set(collectors), answered=dict.fromkeys(collectors, 0.0))


def hearing(count: int, *names: str) -> Workers:
    """Nobody is proven yet; these answer at their doors."""
    workers = Workers(count)
    workers.to_ask([candidate(name) for name in names], 0.0)
    for name in names:
        workers.heard(name, 0.0, answers=True)
    return workers


def test_nobody_gets_a_worker_before_somebody_answered_at_its_address() -> None:
    workers = Workers(8)
    waiting = [candidate(name, metric) for name in ("silent", "well") for metric in ("statements", "database")]
    asked = workers.to_ask(waiting, 0.0)
    assert sorted(key.collector for key in asked) == ["silent", "well"]
    assert workers.to_ask(waiting, 0.0) == [], "one question at a time"
    assert workers.admit(waiting, 0.0) == []
    workers.heard("well", 0.0, answers=True)
    assert [one.key.collector for one in workers.admit(waiting, 0.0)] == ["well"]
    workers.heard("silent", 0.0, answers=False)
    assert [key.collector for key in workers.to_ask(waiting, 0.0)] == ["silent"], "it is asked again at its next try"


def test_a_healthy_newcomer_behind_a_thousand_silent_ones_is_read_as_soon_as_it_answers() -> None:
    """Time is counted in answers: none of the silent ones has come to an end."""
    workers = Workers(8)
    waiting = [candidate(f"silent{number}") for number in range(1000)] + [candidate("well")]
    assert len(workers.to_ask(waiting, 0.0)) == 1001
    workers.heard("well", 0.0, answers=True)
    assert workers.admit(waiting, 0.0) == [candidate("well")]


def test_what_is_read_of_the_machine_itself_needs_no_answer() -> None:
    """Nor does it tell anything about the server on it."""
    workers = Workers(8)
    host = Candidate(JobKey("down", "host"), critical=False, most_per_target=2, asks=False)
    assert workers.to_ask([host], 0.0) == []
    assert workers.admit([host], 0.0) == [host]
    workers.finished(host.key, 0.01, well=None, elapsed_s=0.01)
    assert workers.trusted == set()


def test_newcomers_leave_a_quarter_to_proven_ones_in_each_class_and_run_one_job_each() -> None:
    names = [f"new{number}" for number in range(10)]
    workers = hearing(8, *names)
    waiting = [candidate(name, metric) for name in names for metric in ("statements", "database")]
    assert [one.key.collector for one in workers.admit(waiting, 0.0)] == names[:4]
    beats = [candidate(name, "heartbeat", critical=True) for name in names]
    assert [one.key.collector for one in workers.admit(beats, 0.0)] == names[4:6]
    workers.trusted.add("well")
    workers.heard("well", 0.0, answers=True)
    wanted = [candidate("well"), candidate("well", "heartbeat", critical=True)]
    assert sorted(workers.admit(wanted, 0.0), key=lambda one: one.critical) == wanted


def test_suspects_share_a_quarter_one_job_each() -> None:
    names = [f"sick{number}" for number in range(5)]
    workers = hearing(8, *names)
    workers.suspects.update(names)
    waiting = [candidate(name, metric) for name in names for metric in ("statements", "database")]
    assert [one.key.collector for one in workers.admit(waiting, 0.0)] == ["sick0", "sick1"]


def test_hung_targets_leave_the_others_their_workers() -> None:
    """Twenty targets that answer at the door and then never again hold two of eight workers; a healthy one gets one at once."""
    sick = [f"hung{number}" for number in range(20)]
    workers = hearing(8, *sick, "well")
    workers.suspects.update(sick)
    workers.trusted.add("well")
    assert len(workers.admit([candidate(one) for one in sick], 0.0)) == 2
    assert workers.admit([candidate("well")], 0.0) == [candidate("well")]


def test_control_without_isolation_the_hung_targets_take_all() -> None:
    workers = trusting(8, "well", isolate=False)
    workers.admit([candidate(f"hung{number}") for number in range(20)], 0.0)
    assert workers.admit([candidate("well")], 0.0) == []


def test_critical_jobs_have_workers_of_their_own() -> None:
    names = [f"well{number}" for number in range(20)]
    workers = trusting(8, *names)
    assert len(workers.admit([candidate(name) for name in names], 0.0)) == 6
    beat = candidate("well19", "heartbeat", critical=True)
    assert workers.admit([beat], 0.0) == [beat]


def test_critical_jobs_come_first() -> None:
    workers = trusting(1, "a", "b")
    started = workers.admit([candidate("a"), candidate("b", "heartbeat", critical=True)], 0.0)
    assert [one.key.metric for one in started] == ["heartbeat"]


def test_no_target_has_more_jobs_than_connections() -> None:
    workers = trusting(8, "a")
    waiting = [candidate("a", metric, most=2) for metric in ("database", "statements", "other")]
    assert len(workers.admit(waiting, 0.0)) == 2


def test_slow_and_failing_targets_lose_trust_and_quick_ones_gain_it() -> None:
    workers = trusting(8, "a")
    job = candidate("a")
    for well, elapsed_s, trusted, suspects, answering in (
        (True, SLOW_S + 1, set(), {"a"}, {"a"}),
        (True, 0.1, {"a"}, set(), {"a"}),
        (None, 0.1, {"a"}, set(), {"a"}),
        (False, 0.1, set(), {"a"}, set()),
    ):
        workers.admit([job], 0.0)
        workers.finished(job.key, 0.0, well=well, elapsed_s=elapsed_s)
        assert (workers.trusted, workers.suspects, set(workers.answered)) == (trusted, suspects, answering)
    assert workers.admit([job], 0.0) == [], "it has to answer again first"


def test_with_two_workers_a_sick_target_never_blocks_normal_jobs() -> None:
    workers = trusting(2, "well")
    workers.answered["sick"] = 0.0
    assert workers.admit([candidate("sick")], 0.0) == []
    assert workers.admit([candidate("sick", "heartbeat", critical=True), candidate("well")], 0.0) == [
        candidate("sick", "heartbeat", critical=True),
        candidate("well"),
    ]


def test_one_worker_serves_everybody() -> None:
    assert len(hearing(1, "new").admit([candidate("new")], 0.0)) == 1


def beat(collector: str) -> Candidate:
    return candidate(collector, "heartbeat", critical=True)


def begun(workers: Workers, names: list[str], now: float, *, took_s: float = 0.01) -> None:
    """All were read well before, and now a reading of each is under way."""
    workers.trusted.update(names)
    workers.answered |= dict.fromkeys(names, now)
    workers.took_s |= {(name, "heartbeat"): took_s for name in names}
    assert len(workers.admit([beat(name) for name in names], now)) == len(names)


def test_a_reading_that_is_overdue_leaves_its_place_to_others() -> None:
    """Eight targets that were well hang at once: all workers are held, for as long as it takes to see that something is wrong."""
    workers = trusting(8, "well")
    hung = [f"hung{number}" for number in range(8)]
    begun(workers, hung, 0.0)
    assert workers.admit([candidate("well")], PATIENCE_S) == []
    now = 0.01 + PATIENCE_S
    workers.answered["well"] = now
    assert workers.admit([candidate(name) for name in hung] + [candidate("well")], now) == [candidate("well")]
    assert len(workers.running) <= workers.threads


def test_control_without_isolation_they_hold_all_until_they_end() -> None:
    workers = trusting(8, "well", isolate=False)
    begun(workers, [f"hung{number}" for number in range(8)], 0.0)
    assert workers.admit([candidate("well")], 60.0) == []
    assert workers.threads == 8


def test_what_always_takes_long_is_not_overdue() -> None:
    """Servers far away are no reason for more threads, nor for questions at doors."""
    workers = trusting(8, "well")
    begun(workers, [f"far{number}" for number in range(8)], 0.0, took_s=0.6)
    assert workers.admit([beat("well")], 1.1) == []
    assert workers.to_ask([beat("well")], 1.1) == []
    assert workers.admit([beat("well")], 1.3) == []
    assert workers.to_ask([beat("well")], 1.3) == [beat("well").key]


def test_nobody_knows_yet_how_long_the_first_reading_takes() -> None:
    workers = hearing(8, *(f"new{number}" for number in range(7)))
    beats = [beat(f"new{number}") for number in range(7)]
    assert workers.admit(beats, 0.0) == beats[:6]
    assert workers.admit(beats[6:], FIRST_S) == []
    workers.heard("new6", FIRST_S, answers=True)
    assert workers.admit(beats[6:], FIRST_S + 0.1) == beats[6:]


def test_when_many_hang_everybody_has_to_answer_first() -> None:
    """A whole rack goes: those of it that have not been noticed yet fail at the door, and take no stand-in."""
    workers = trusting(8, "well", "hung5")
    begun(workers, [f"hung{number}" for number in range(4)], 10.0)
    now = 10.0 + 2 * PATIENCE_S
    waiting = [candidate("hung5"), candidate("well")]
    assert workers.admit(waiting, now) == []
    assert [key.collector for key in workers.to_ask(waiting, now)] == ["hung5", "well"]
    workers.heard("well", now, answers=True)
    assert workers.admit(waiting, now) == [candidate("well")]
    workers.heard("hung5", now + 5, answers=False)
    assert "hung5" in workers.suspects
    assert workers.to_ask([beat("well")], now + FRESH_S / 2) == [], "it has just answered"


def test_a_stand_in_stays_when_the_target_is_found_silent_meanwhile() -> None:
    """Its other job fails at the door and makes it a suspect, while the hung one still runs."""
    workers = trusting(4, "well")
    hung = [f"hung{number}" for number in range(4)]
    begun(workers, hung, 0.0)
    now = 2 * PATIENCE_S
    for name in hung:
        workers.heard(name, now, answers=False)
    workers.heard("well", now, answers=True)
    assert workers.admit([candidate("well")], now) == [candidate("well")]


def test_a_suspect_gets_no_stand_in() -> None:
    names = ["sick0", "sick1", "sick2"]
    workers = hearing(8, *names)
    workers.suspects.update(names)
    assert len(workers.admit([candidate(name) for name in names], 0.0)) == 2
    assert workers.admit([candidate("sick2")], 60.0) == []


def test_a_target_begins_nothing_beside_a_reading_that_is_overdue() -> None:
    workers = trusting(8)
    begun(workers, ["a"], 0.0)
    assert workers.admit([candidate("a")], 0.1) == [candidate("a")]
    assert workers.admit([candidate("a", "database", most=3)], 0.1 + PATIENCE_S) == []


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["heartbeat", "database", "statements"])), max_size=100),
    st.sets(st.integers(0, 30)),
    st.sets(st.integers(0, 30)),
)
def test_the_rules_hold_for_any_crowd(
    count: int, wanted: list[tuple[int, str]], trusted: set[int], failed_before: set[int]
) -> None:
    workers = hearing(count, *(str(one) for one in range(31)))
    workers.trusted.update(str(one) for one in trusted)
    workers.suspects.update(str(one) for one in failed_before - trusted)
    workers.admit([candidate(str(target), metric, critical=metric == "heartbeat") for target, metric in wanted], 0.0)
    running = list(workers.running)
    unproven = [key.collector for key in running if key.collector not in workers.trusted]
    assert len(running) <= count
    assert sum(one in workers.suspects for one in unproven) <= quarter(count)
    assert len(unproven) <= max(1, count - quarter(count))
    assert len(unproven) == len(set(unproven))
    assert max((sum(key.collector == other.collector for other in running) for key in running), default=0) <= 2
    if count > 1:
        assert sum(key.metric != "heartbeat" for key in running) <= count - quarter(count)


@given(st.integers(1, 16), st.lists(st.tuples(st.integers(0, 12), st.floats(0, 0.5), st.booleans()), max_size=150))
def test_never_more_threads_than_there_are_whoever_hangs(count: int, steps: list[tuple[int, float, bool]]) -> None:
    """At each step one more reading is wanted, time goes on, and perhaps one that runs ends."""
    workers, now = trusting(count, *(str(one) for one in range(8))), 0.0
    for number, (target, passed_s, ends) in enumerate(steps):
        now += passed_s
        wanted = [candidate(str(target), f"m{number}", critical=number % 3 == 0)]
        for key in workers.to_ask(wanted, now):
            workers.heard(key.collector, now, answers=target % 4 != 3)
        workers.admit(wanted, now)
        assert len(workers.running) <= workers.threads
        if ends and workers.running:
            key = next(iter(workers.running))
            workers.finished(key, now, well=target % 4 != 2, elapsed_s=passed_s)
        assert not workers.trusted & workers.suspects


def test_each_database_of_a_turn_has_the_time_of_a_reading() -> None:
    """Twenty databases, each as quick as ever, are not one slow reading; one of them that hangs is seen as soon as ever."""
    workers = trusting(2, "many", "other")
    workers.took_s["many", "statements"] = 0.05
    (first,) = workers.admit([candidate("many")], 0.0)
    for number in range(20):
        workers.moved(first.key, 0.1 * number)
    others = [candidate("other", metric, critical=True) for metric in ("heartbeat", "blocking")]
    assert len(workers.admit(others, 2.05)) == 1, "its place is taken"
    workers.heard("other", 2.2, answers=True)
    assert len(workers.admit(others, 2.0 + PATIENCE_S + 0.1)) == 1, "a stand-in's"
    workers.finished(first.key, 2.5, well=True, elapsed_s=0.1)
    workers.moved(first.key, 3.0)
    assert first.key not in workers.began


def test_who_is_forgotten_is_new_again() -> None:
    workers = trusting(8, "a", "b")
    assert workers.admit([candidate("a")], 0.0)
    workers.finished(JobKey("a", "statements"), 0.1, well=True, elapsed_s=0.1)
    workers.forget("a")
    assert workers.admit([candidate("a")], 0.2) == [], "it has to answer first"
    assert [key.collector for key in workers.to_ask([candidate("a"), candidate("b")], 0.2)] == ["a"]
    workers.forget("a")
    assert [key.collector for key in workers.to_ask([candidate("a")], 0.3)] == ["a"], (
        "the answer to the old question is not awaited"
    )
    assert (workers.trusted, workers.took_s) == ({"b"}, {})
