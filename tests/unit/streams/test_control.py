"""A collector that stays over its quota reads less often, as much as is needed and no longer than that; nothing swings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pganalytics.schemas.control import LEAST_ROWS, MOST_ROWS, Control, Reason
from pganalytics.streams.control import Look, Policy, State, look_at, order, restored

SECOND = 1_000_000
INTERVAL_US = 30 * SECOND
POLICY = Policy(INTERVAL_US, most_stretch=16.0, ttl_s=600.0)
START_US = 1_800_000_000 * SECOND
BEGIN = State()


@dataclass
class Loop:
    """A controller with a collector at its other end, which follows orders one look later than they are given."""

    policy: Policy = POLICY
    state: State = BEGIN
    at_us: int = START_US

    def run(self, looks: int, load: Callable[[float, int], float], lag: float = 0.0) -> list[float]:
        """The pressure after each look. `load`: what the collector sends, given stretch and rows."""
        pressures, follows = [], order(self.state, self.policy)
        for _ in range(looks):
            self.at_us += self.policy.interval_us
            sent = load(follows.normal, follows.rows)
            follows = order(self.state, self.policy)
            look = Look(self.at_us, sent, max(0.0, 1 - 1 / sent) if sent else 0.0, lag)
            self.state, _ = look_at(self.state, look, self.policy)
            pressures.append(self.state.pressure)
        return pressures


def yielding(base: float) -> Callable[[float, int], float]:
    """All of the load follows the intervals."""
    return lambda stretch, rows: base / stretch


def turns(pressures: Sequence[float]) -> int:
    """How often the pressure changes its direction."""
    steps = [after - before for before, after in pairwise(pressures) if after != before]
    return sum((one > 0) != (other > 0) for one, other in pairwise(steps))


def test_a_step_of_load_settles_within_five_looks_and_returns_within_ten() -> None:
    """Five times the quota for an hour, then half of it."""
    loop = Loop()
    loaded = loop.run(120, yielding(5))
    assert loaded[4:] == [loaded[4]] * 116
    assert 5 <= loaded[4] <= 7
    after = loop.run(40, yielding(0.5))
    assert after[9:] == [1.0] * 31
    assert turns([1.0, *loaded, *after]) == 1


@pytest.mark.parametrize("base", [1.2, 2, 5, 12, 40])
@pytest.mark.parametrize("fixed", [0.0, 0.3, 0.9])
def test_a_load_that_yields_in_part_swings_neither(base: float, fixed: float) -> None:
    """Part of it is critical and keeps its pace."""
    loop = Loop()
    loaded = loop.run(200, lambda stretch, rows: fixed + base / stretch)
    assert turns([1.0, *loaded]) == 0
    assert loaded[-100:] == [loaded[-1]] * 100
    assert turns(loop.run(200, lambda stretch, rows: (fixed + base / stretch) / 20)) == 0


@pytest.mark.parametrize("limit", [100, 1000, 10_000])
@pytest.mark.parametrize("base", [20, 60, 400])
def test_fewer_rows_are_asked_for_only_where_intervals_do_not_suffice(limit: int, base: float) -> None:
    """Whatever the agent's own limit is, which the streams do not know, it settles."""

    def load(stretch: float, rows: int) -> float:
        return base / stretch * min(rows or limit, limit) / limit

    loop = Loop()
    loaded = loop.run(300, load)
    assert turns([1.0, *loaded]) == 0
    assert loaded[-100:] == [loaded[-1]] * 100
    least = base / 16 * LEAST_ROWS / limit
    assert load(16, order(loop.state, POLICY).rows) <= 1 or loaded[-1] == POLICY.most_pressure or least > 1
    assert turns([loaded[-1], *loop.run(60, lambda stretch, rows: load(stretch, rows) / base / 2)]) == 0
    assert loop.state.pressure == 1


def test_rows_fall_from_the_largest_setting_to_the_smallest() -> None:
    told = [order(State(pressure=pressure), POLICY) for pressure in (1, 16, 16.001, 160, 1600)]
    assert [(one.normal, one.bulk, one.rows) for one in told] == [
        (1, 1, 0), (16, 16, 0), (16, 16, 9999), (16, 16, 1000), (16, 16, LEAST_ROWS),
    ]  # fmt: skip


@pytest.mark.parametrize("load", [0.0, 0.5, 1.0, 1.05])
def test_who_keeps_to_his_quota_is_left_alone(load: float) -> None:
    assert Loop().run(100, lambda stretch, rows: load) == [1.0] * 100


def test_the_last_bit_of_a_stretch_is_given_up_too() -> None:
    """A load that would call for a little less than what is in force, and for nothing at all without it."""
    loop = Loop(state=State(pressure=1.05, version=1, told_us=START_US))
    assert loop.run(4, lambda stretch, rows: 0.76)[-1] == 1


def test_one_burst_is_no_reason() -> None:
    loop = Loop()
    for _ in range(20):
        loop.run(1, lambda stretch, rows: 50)
        loop.run(1, lambda stretch, rows: 0.5)
    assert loop.state.pressure == 1


def test_much_that_is_not_deferred_is_no_reason() -> None:
    """Within the burst."""
    state = State()
    for number in range(20):
        state, told = look_at(state, Look(START_US + number * INTERVAL_US, 3.0, 0.05), POLICY)
        assert told is None


def test_a_sink_that_is_far_behind_slows_everybody_until_it_has_caught_up() -> None:
    loop = Loop()
    rising = [loop.run(3, yielding(0.1), lag=share / 100)[-1] for share in range(40, 100, 5)]
    assert rising[:2] == [1.0, 1.0]
    assert rising[2] == 2.0
    assert rising == sorted(rising)
    assert rising[-1] == 16
    assert loop.state.reason is Reason.LAG
    assert set(loop.run(20, yielding(0.1), lag=0.45)) == {16.0}
    assert loop.run(12, yielding(0.1), lag=0.39)[-1] == 1.0


def test_an_order_is_given_again_before_it_ends_and_versions_rise() -> None:
    state, given_at, orders = State(), [], []
    for number in range(60):
        look = Look(START_US + number * INTERVAL_US, 5.0 if state.pressure == 1 else 0.8, 0.8)
        state, told = look_at(state, look, POLICY)
        if told is not None:
            given_at.append(number)
            orders.append(told)
    assert given_at == [1, 8, 15, 22, 29, 36, 43, 50, 57]
    assert len({one.normal for one in orders}) == 1
    versions = [one.version for one in orders]
    assert versions == sorted(set(versions))
    assert versions[0] == START_US + INTERVAL_US


def test_after_a_restart_it_goes_on_from_its_order() -> None:
    """The version rises although the clock may not, and a slowed collector is not slowed anew from 1."""
    loop = Loop()
    loop.run(10, yielding(5))
    told = order(loop.state, POLICY)
    again = Loop(state=restored(told, loop.at_us), at_us=loop.at_us)
    assert again.run(50, yielding(5)) == [loop.state.pressure] * 50
    behind = restored(replace(told, version=START_US * 2), loop.at_us)
    state, first = look_at(behind, Look(loop.at_us + 600 * SECOND, 0.8, 0.0), POLICY)
    assert first is not None
    assert first.version == state.version == START_US * 2 + 1


def test_an_order_that_has_ended_is_not_gone_on_from() -> None:
    """Nothing was heard for longer than it held: the agent reads as its settings say, and so does the controller begin."""
    loop = Loop()
    loop.run(10, yielding(5))
    state, told = look_at(loop.state, Look(loop.at_us + 601 * SECOND, 0.1, 0.0), POLICY)
    assert (state.pressure, told and told.reason) == (1.0, Reason.CALM)


def test_a_smaller_bound_in_the_settings_holds_at_once() -> None:
    loop = Loop()
    loop.run(10, yielding(12))
    smaller = replace(POLICY, most_stretch=4.0)
    state, told = look_at(loop.state, Look(loop.at_us + INTERVAL_US, 3.0, 0.7), replace(smaller, ttl_s=600.0))
    assert order(state, smaller).normal == 4.0
    assert told is None or told.normal == 4.0


looks = st.tuples(st.floats(0, 200), st.floats(0, 1), st.floats(0, 1.2), st.sampled_from([1, 1, 1, 2, 30]))
histories = st.lists(looks, max_size=60)


def judged(history: Sequence[tuple[float, float, float, int]]) -> tuple[State, int, list[Control]]:
    state, at_us, told = BEGIN, START_US, []
    for load, deferred, lag, intervals in history:
        at_us += intervals * INTERVAL_US
        state, given_order = look_at(state, Look(at_us, load, deferred, lag), POLICY)
        told += [given_order] if given_order is not None else []
    return state, at_us, told


@given(histories)
@example([(200.0, 1.0, 0.0, 1)] * 40)
def test_whatever_comes_orders_keep_their_bounds_and_calm_ends_them(
    history: list[tuple[float, float, float, int]],
) -> None:
    state, at_us, told = judged(history)
    for one in told:
        assert 1 <= one.normal == one.bulk <= POLICY.most_stretch
        assert one.rows == 0 or LEAST_ROWS <= one.rows <= MOST_ROWS
        assert (one.rows == 0) == (one.pressure <= POLICY.most_stretch)
    versions = [one.version for one in told]
    assert versions == sorted(set(versions))
    loop = Loop(state=state, at_us=at_us)
    calm = loop.run(14, lambda stretch, rows: 0.0)
    assert turns([state.pressure, *calm]) == 0
    assert calm[-1] == 1


@given(histories, looks, looks)
def test_more_load_never_means_less_pressure(
    history: list[tuple[float, float, float, int]],
    one: tuple[float, float, float, int],
    other: tuple[float, float, float, int],
) -> None:
    """From any state that can be reached, at the next look."""
    state, at_us, _ = judged(history)
    low, high = (
        Look(at_us + INTERVAL_US, pick(one[0], other[0]), pick(one[1], other[1]), pick(one[2], other[2])) for pick in (min, max)
    )
    assert look_at(state, low, POLICY)[0].pressure <= look_at(state, high, POLICY)[0].pressure


@given(st.floats(0, 60), st.floats(0, 60), st.floats(0, 2))
def test_more_load_settles_at_no_less_stretch(one: float, other: float, fixed: float) -> None:
    settled = [Loop().run(40, lambda stretch, rows, base=base: fixed + base / stretch) for base in sorted((one, other))]  # type: ignore[misc]
    assert settled[0][-1] <= settled[1][-1] * 1.1000001  # within the band nothing moves
    for pressures in settled:
        assert turns([1.0, *pressures]) == 0
