"""Who may take a worker: a sick target harms only itself."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.producers.schedule import JobKey
from pganalytics.producers.workers import SLOW_S, Candidate, Workers, quarter


def candidate(collector: str, metric: str = "statements", *, critical: bool = False, most: int = 2) -> Candidate:
    return Candidate(JobKey(collector, metric), critical, most)


def trusting(count: int, *collectors: str, isolate: bool = True) -> Workers:
    return Workers(count, isolate=isolate, trusted=set(collectors))


def test_new_targets_share_a_quarter_one_job_each() -> None:
    workers = Workers(8)
    waiting = [candidate(f"new{number}", metric) for number in range(5) for metric in ("statements", "database")]
    assert [one.key.collector for one in workers.admit(waiting)] == ["new0", "new1"]


def test_hung_targets_leave_the_others_their_workers() -> None:
    """Twenty targets that never answer hold two of eight workers; a healthy one gets one at once."""
    workers = trusting(8, "well")
    workers.admit([candidate(f"hung{number}") for number in range(20)])
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
    workers.admit([job])
    workers.finished(job.key, well=True, elapsed_s=SLOW_S + 1)
    assert workers.trusted == set()
    workers.admit([job])
    workers.finished(job.key, well=True, elapsed_s=0.1)
    assert workers.trusted == {"a"}
    workers.admit([job])
    workers.finished(job.key, well=False, elapsed_s=0.1)
    assert workers.trusted == set()


def test_with_two_workers_a_sick_target_never_blocks_normal_jobs() -> None:
    workers = trusting(2, "well")
    assert workers.admit([candidate("sick")]) == []
    assert workers.admit([candidate("sick", "heartbeat", critical=True), candidate("well")]) == [
        candidate("sick", "heartbeat", critical=True),
        candidate("well"),
    ]


def test_one_worker_serves_everybody() -> None:
    assert len(Workers(1).admit([candidate("new")])) == 1


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["heartbeat", "database", "statements"])), max_size=100),
    st.sets(st.integers(0, 30)),
)
def test_the_rules_hold_for_any_crowd(count: int, wanted: list[tuple[int, str]], trusted: set[int]) -> None:
    workers = trusting(count, *(str(one) for one in trusted))
    workers.admit([candidate(str(target), metric, critical=metric == "heartbeat") for target, metric in wanted])
    running = list(workers.running)
    suspects = [key.collector for key in running if key.collector not in workers.trusted]
    assert len(running) <= count
    assert len(suspects) <= quarter(count)
    assert len(suspects) == len(set(suspects))
    assert max((sum(key.collector == other.collector for other in running) for key in running), default=0) <= 2
    if count > 1:
        assert sum(key.metric != "heartbeat" for key in running) <= count - quarter(count)
