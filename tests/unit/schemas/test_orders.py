"""Orders to agents travel as they are, and nothing else is taken for one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.schemas.control import LEAST_ROWS, MOST_ROWS, MOST_STRETCH, Control, Reason, decode_control
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.identity import MAX_LONG, Lane

ORDER = Control(version=7, ttl_s=600.0, normal=2.5, bulk=4.0, rows=0, pressure=2.5, reason=Reason.QUOTA)
orders = st.builds(
    Control,
    st.integers(1, MAX_LONG),
    st.floats(0.001, 86400),
    st.floats(1, MOST_STRETCH),
    st.floats(1, MOST_STRETCH),
    st.just(0) | st.integers(LEAST_ROWS, MOST_ROWS),
    st.floats(1, 1e6),
    st.sampled_from(Reason),
)


@given(orders)
def test_an_order_travels_as_it_is(order: Control) -> None:
    assert decode_control(order.encode()) == order


def test_critical_metrics_keep_their_intervals() -> None:
    assert [ORDER.stretch(lane) for lane in Lane] == [1.0, 2.5, 4.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 0},
        {"ttl_s": 0.0},
        {"ttl_s": 1e9},
        {"normal": 0.5},
        {"normal": float("nan")},
        {"bulk": 101.0},
        {"rows": 99},
        {"rows": -1},
        {"rows": 10_001},
        {"pressure": float("inf")},
    ],
)
def test_an_order_out_of_bounds_is_none(wrong: dict[str, float]) -> None:
    with pytest.raises(BodyError, match=f"control: {next(iter(wrong))} is out of bounds"):
        decode_control(replace(ORDER, **wrong).encode())  # type: ignore[arg-type]


@given(st.binary(max_size=80))
def test_anything_else_is_none(body: bytes) -> None:
    for each in (body, ORDER.encode()[:10] + body, ORDER.encode() + b"x", ORDER.encode().replace(b"quota", b"quoth")):
        with pytest.raises(BodyError):
            decode_control(each)
