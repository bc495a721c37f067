"""A deadline comes up when it is reached, the last one given counts, and the queue is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from pganalytics.streams.deadlines import NEVER, SLACK, Deadlines

actions = st.lists(
    st.one_of(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60)), st.integers(0, 70)),
    max_size=120,
)


@given(actions)
def test_it_is_what_a_dict_would_say(history: list[tuple[str, int] | int]) -> None:
    deadlines: Deadlines[str] = Deadlines(100)
    model: dict[str, int] = {}
    for action in history:
        if isinstance(action, tuple):
            deadlines.put(*action)
            model[action[0]] = action[1]
        else:
            due = sorted(key for key, due_us in model.items() if due_us <= action)
            assert sorted(deadlines.take(action)) == due
            model = {key: due_us for key, due_us in model.items() if due_us > action}
        assert len(deadlines) == len(model)
        assert deadlines.first_us <= min(model.values(), default=NEVER)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10**6)), max_size=400))
def test_it_is_bounded_and_forgets_what_was_put_longest_ago(puts: list[tuple[int, int]]) -> None:
    deadlines: Deadlines[int] = Deadlines(8)
    for key, due_us in puts:
        deadlines.put(key, due_us)
        assert len(deadlines._heap) <= 2 * 8 + SLACK + 1
    kept = list(dict.fromkeys(key for key, _ in reversed(puts)))[:8]
    assert sorted(deadlines.take(NEVER)) == sorted(kept)


def test_a_deadline_that_always_moves_on_costs_no_place() -> None:
    deadlines: Deadlines[str] = Deadlines(8)
    for due_us in range(1000):
        deadlines.put("a", due_us)
    assert len(deadlines._heap) == 1
    assert deadlines.take(998) == []
    assert deadlines.take(999) == ["a"]


def test_clear() -> None:
    deadlines: Deadlines[str] = Deadlines(8)
    deadlines.put("a", 1)
    deadlines.clear()
    assert (deadlines.take(NEVER), deadlines.first_us, len(deadlines)) == ([], NEVER, 0)
