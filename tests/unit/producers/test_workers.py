"""Who may take a worker: a sick target harms only itself."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.producers.schedule import JobKey
from pganalytics.producers.workers import SLOW_S, Candidate, Workers, quarter


def candidate(collector: str, metric: str = "statements", *, critical: bool = False, most: int = 2) -> Candidate:
    return Candidate(JobKey(collector, metric), critical, most)


def trusting(count: int, *collectors: str, isolate: bool = True) -> Workers:
    return Workers(count, isolate=isolate, trusted=set(collectors), answering=set(collectors))


def hearing(count: int, *names: str) -> Workers:
    """Nobody is proven yet; these answer at their doors."""
    workers = Workers(count)
    workers.to_ask([candidate(name) for name in names])
    for name in names:
        workers.heard(name, answers=True)
    return workers


def test_nobody_gets_a_worker_before_somebody_answered_at_its_address() -> None:
    workers = Workers(8)
    waiting = [candidate(name, metric) for name in ("silent", "well") for metric in ("statements", "database")]
    asked = workers.to_ask(waiting)
    assert sorted(key.collector for key in asked) == ["silent", "well"]
    assert workers.to_ask(waiting) == [], "one question at a time"
    assert workers.admit(waiting) == []
    workers.heard("well", answers=True)
    assert [one.key.collector for one in workers.admit(waiting)] == ["well"]
    workers.heard("silent", answers=False)
    assert [key.collector for key in workers.to_ask(waiting)] == ["silent"], "it is asked again at its next try"


def test_a_healthy_newcomer_behind_a_thousand_silent_ones_is_read_as_soon_as_it_answers() -> None:
    """Time is counted in answers: none of the silent ones has come to an end."""
    workers = Workers(8)
    waiting = [candidate(f"silent{number}") for number in range(1000)] + [candidate("well")]
    assert len(workers.to_ask(waiting)) == 1001
    workers.heard("well", answers=True)
    assert workers.admit(waiting) == [candidate("well")]


def test_what_is_read_of_the_machine_itself_needs_no_answer() -> None:
    """Nor does it tell anything about the server on it."""
    workers = Workers(8)
    host = Candidate(JobKey("down", "host"), critical=False, most_per_target=2, asks=False)
    assert workers.to_ask([host]) == []
    assert workers.admit([host]) == [host]
    workers.finished(host.key, well=None, elapsed_s=0.01)
    assert workers.trusted == set()


def test_newcomers_leave_a_quarter_to_proven_ones_in_each_class_and_run_one_job_each() -> None:
    names = [f"new{number}" for number in range(10)]
    workers = hearing(8, *names)
    waiting = [candidate(name, metric) for name in names for metric in ("statements", "database")]
    assert [one.key.collector for one in workers.admit(waiting)] == names[:4]
    beats = [candidate(name, "heartbeat", critical=True) for name in names]
    assert [one.key.collector for one in workers.admit(beats)] == names[4:6]
    workers.trusted.add("well")
    wanted = [candidate("well"), candidate("well", "heartbeat", critical=True)]
    assert sorted(workers.admit(wanted), key=lambda one: one.critical) == wanted


def test_suspects_share_a_quarter_one_job_each() -> None:
    names = [f"sick{number}" for number in range(5)]
    workers = hearing(8, *names)
    workers.suspects.update(names)
    waiting = [candidate(name, metric) for name in names for metric in ("statements", "database")]
    assert [one.key.collector for one in workers.admit(waiting)] == ["sick0", "sick1"]


def test_hung_targets_leave_the_others_their_workers() -> None:
    """Twenty targets that answer at the door and then never again hold two of eight workers; a healthy one gets one at once."""
    sick = [f"hung{number}" for number in range(20)]
    workers = hearing(8, *sick, "well")
    workers.suspects.update(sick)
    workers.trusted.add("well")
    assert len(workers.admit([candidate(one) for one in sick])) == 2
    assert workers.admit([candidate("well")]) == [candidate("well")]


def test_control_without_isolation_the_hung_targets_take_all() -> None:
    workers = trusting(8, "well", isolate=False)
    workers.admit([candidate(f"hung{number}") for number in range(20)])
    assert workers.admit([candidate("well")]) == []


def test_critical_jobs_have_workers_of_their_own() -> None:
    names = [f"well{number}" for number in range(20)]
    workers = trusting(8, *names)
    assert len(workers.admit([candidate(name) for name in names])) == 6
    beat = candidate("well19", "heartbeat", critical=True)
    assert workers.admit([beat]) == [beat]


def test_critical_jobs_come_first() -> None:
    workers = trusting(1, "a", "b")
    started = workers.admit([candidate("a"), candidate("b", "heartbeat", critical=True)])
    assert [one.key.metric for one in started] == ["heartbeat"]


def test_no_target_has_more_jobs_than_connections() -> None:
    workers = trusting(8, "a")
    waiting = [candidate("a", metric, most=2) for metric in ("database", "statements", "other")]
    assert len(workers.admit(waiting)) == 2


def test_slow_and_failing_targets_lose_trust_and_quick_ones_gain_it() -> None:
    workers = trusting(8, "a")
    job = candidate("a")
    for well, elapsed_s, trusted, suspects, answering in (
        (True, SLOW_S + 1, set(), {"a"}, {"a"}),
        (True, 0.1, {"a"}, set(), {"a"}),
        (None, 0.1, {"a"}, set(), {"a"}),
        (False, 0.1, set(), {"a"}, set()),
    ):
        workers.admit([job])
        workers.finished(job.key, well=well, elapsed_s=elapsed_s)
        assert (workers.trusted, workers.suspects, workers.answering) == (trusted, suspects, answering)
    assert workers.admit([job]) == [], "it has to answer again first"


def test_with_two_workers_a_sick_target_never_blocks_normal_jobs() -> None:
    workers = trusting(2, "well")
    workers.answering.add("sick")
    assert workers.admit([candidate("sick")]) == []
    assert workers.admit([candidate("sick", "heartbeat", critical=True), candidate("well")]) == [
        candidate("sick", "heartbeat", critical=True),
        candidate("well"),
    ]


def test_one_worker_serves_everybody() -> None:
    assert len(hearing(1, "new").admit([candidate("new")])) == 1


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
    workers.admit([candidate(str(target), metric, critical=metric == "heartbeat") for target, metric in wanted])
    running = list(workers.running)
    unproven = [key.collector for key in running if key.collector not in workers.trusted]
    assert len(running) <= count
    assert sum(one in workers.suspects for one in unproven) <= quarter(count)
    assert len(unproven) <= max(1, count - quarter(count))
    assert len(unproven) == len(set(unproven))
    assert max((sum(key.collector == other.collector for other in running) for key in running), default=0) <= 2
    if count > 1:
        assert sum(key.metric != "heartbeat" for key in running) <= count - quarter(count)
