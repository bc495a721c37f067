"""How often a collector may read: one controller per collector. Pure; time is the broker's append time.

The controller has one number, its pressure, from 1 (nothing is asked of the agent). Up to `most_stretch` it is the factor by
which intervals become longer; what goes beyond lowers the most rows in detail, from their largest setting on. So with twice the
pressure a collector sends half as much or, where part of it does not yield (critical records, a limit that is low already),
more than half, but never less than half. On this everything rests: the load times the pressure never falls when the pressure
rises, so going straight to the pressure that the load calls for, `pressure * load / TARGET`, approaches it from one side and
cannot swing over.

Up: at once to what the load calls for, but only of a collector that was over its quota, and deferred, at several looks on end.
Down: after several calm looks, by at most a quarter of the way from `most_stretch` to 1 at a time, and never below what the load
calls for. After each change a look is passed over, as agents need time to follow. Between lies a band where nothing happens.

The sink's lag is a floor below the pressure: beyond half of the retention every collector is asked to read less often, the less
time is left the less often, and it holds until the lag is well below the half.
"""

from dataclasses import dataclass, replace

from pganalytics.schemas.control import LEAST_ROWS, MOST_ROWS, Control, Reason

TARGET = 0.8
"""Share of its quota that a slowed collector is to use."""
BAND = 0.1
"""A load that calls for less than this share more or less does not move the pressure."""
OVER_DEFERRED = 0.1
"""Share of its records that must be deferred before a collector counts as over its quota."""
OVER_LOOKS = 2
CALM_LOOKS = 2
STEPS = 4
LAG_HIGH, LAG_LOW = 0.5, 0.4
"""Shares of the retention where the sink's lag begins to count, and where it ends."""
LAG_WORST = 0.9
RENEWED_AFTER = 1 / 3
"""Share of an order's time to live after which it is given again."""
MOST_PRESSURE_BEYOND = MOST_ROWS / LEAST_ROWS


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings."""

    interval_us: int
    most_stretch: float
    ttl_s: float

    @property
    def most_pressure(self) -> float:
        """Where intervals are longest and rows fewest."""
        return self.most_stretch * MOST_PRESSURE_BEYOND if self.most_stretch > 1 else 1.0

    @property
    def step(self) -> float:
        """How far the pressure falls at a time."""
        return (self.most_stretch - 1) / STEPS


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a collector since the last look. `load`: its pace as a multiple of its quota. `deferred`: share of its
    records. `lag`: the sink's, as a share of the retention."""

    at_us: int
    load: float
    deferred: float
    lag: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """One collector. `version` and `told_us`: of the last order; 0 before the first."""

    pressure: float = 1.0
    version: int = 0
    told_us: int = 0
    over: int = 0
    calm: int = 0
    settling: bool = False
    lagging: bool = False
    reason: Reason = Reason.CALM


def restored(control: Control, appended_us: int) -> State:
    """The state that an order was made of, as a restart finds it on the topic."""
    return State(
        pressure=control.pressure,
        version=control.version,
        told_us=appended_us,
        settling=True,
        lagging=control.reason is Reason.LAG,
        reason=control.reason,
    )


def look_at(state: State, look: Look, policy: Policy) -> tuple[State, Control | None]:
    """The next state, and the order that goes out with it; None when the old one still holds."""
    before = state.pressure
    if before > 1 and look.at_us - state.told_us >= policy.ttl_s * 1_000_000:
        state = State(version=state.version)  # the agent has long returned to its settings
    state = replace(
        state,
        pressure=min(state.pressure, policy.most_pressure),
        lagging=look.lag >= LAG_HIGH or (state.lagging and look.lag >= LAG_LOW),
    )
    state = _raised_by_lag(_moved_by_load(state, look, policy), look, policy)
    renewed = state.pressure > 1 and look.at_us - state.told_us >= policy.ttl_s * 1_000_000 * RENEWED_AFTER
    if state.pressure == before and not renewed:
        return state, None
    state = replace(state, version=max(state.version + 1, look.at_us), told_us=look.at_us)
    return state, order(state, policy)


def order(state: State, policy: Policy) -> Control:
    """What the agent is told."""
    stretch = min(state.pressure, policy.most_stretch)
    rows = 0
    if state.pressure > policy.most_stretch:
        rows = max(LEAST_ROWS, min(MOST_ROWS, int(MOST_ROWS * policy.most_stretch / state.pressure)))
    return Control(
        version=state.version,
        ttl_s=policy.ttl_s,
        normal=stretch,
        bulk=stretch,
        rows=rows,
        pressure=state.pressure,
        reason=state.reason,
    )


def _moved_by_load(state: State, look: Look, policy: Policy) -> State:
    if state.settling:
        return replace(state, settling=False)
    wanted = min(max(1.0, state.pressure * look.load / TARGET), policy.most_pressure)
    over = look.load > 1 and look.deferred > OVER_DEFERRED
    calm = not state.lagging and (wanted < state.pressure * (1 - BAND) or wanted == 1.0 < state.pressure)
    state = replace(state, over=state.over + 1 if over else 0, calm=state.calm + 1 if calm else 0)
    if state.over >= OVER_LOOKS and wanted > state.pressure * (1 + BAND):
        return _moved(state, wanted, Reason.QUOTA)
    if state.calm >= CALM_LOOKS:
        lowest = policy.most_stretch if state.pressure > policy.most_stretch else state.pressure - policy.step
        lower = max(wanted, lowest)
        return replace(_moved(state, lower, state.reason if lower > 1 else Reason.CALM), calm=CALM_LOOKS)
    return state


def _raised_by_lag(state: State, look: Look, policy: Policy) -> State:
    if look.lag < LAG_HIGH:
        return state
    steepness = min(1.0, (look.lag - LAG_HIGH) / (LAG_WORST - LAG_HIGH))
    floor = min(policy.most_stretch, 2.0 + steepness * (policy.most_stretch - 2.0))
    return _moved(state, floor, Reason.LAG) if floor > state.pressure * (1 + BAND) else state


def _moved(state: State, pressure: float, reason: Reason) -> State:
    return replace(state, pressure=pressure, reason=reason, over=0, calm=0, settling=True)
