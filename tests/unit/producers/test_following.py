"""What an agent does with orders: it follows the newest, for a while, within its own bounds, and nothing there stops it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from pganalytics.producers.control import Controls, Following, Received
from pganalytics.producers.listening import Listening
from pganalytics.producers.meters import Meters
from pganalytics.runtime.compacted import Entry
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.schemas.control import Control, Reason
from pganalytics.schemas.identity import Lane
from unit.producers.test_meters import read

ORDER = Control(version=7, ttl_s=60.0, normal=4.0, bulk=8.0, rows=500, pressure=4.0, reason=Reason.QUOTA)
AT_US = 1_800_000_000_000_000
SECOND = 1_000_000


def test_an_order_holds_for_its_time_after_it_was_received() -> None:
    following = Following().take(ORDER, 0.0, 1000.0)
    assert following.at(1059.9).order == ORDER
    assert following.at(1060.0) == Following(7)
    assert following.at(1060.0).take(ORDER, 0.0, 1060.0).order is None, "it stays on the topic, and is not followed twice"


def test_the_newest_version_counts_whatever_comes_after_it() -> None:
    following = Following().take(ORDER, 0.0, 0.0).take(replace(ORDER, version=6, normal=9.0), 0.0, 1.0)
    assert following.order == ORDER
    newer = following.take(replace(ORDER, version=8, normal=1.0), 0.0, 2.0)
    assert (newer.order and newer.order.normal, newer.until_s) == (1.0, 62.0)


def test_an_order_that_is_known_to_be_old_is_followed_for_the_rest_of_its_time() -> None:
    assert Following().take(ORDER, 45.0, 1000.0).until_s == 1015.0
    assert Following().take(ORDER, 60.0, 1000.0) == Following(7)


def followed(order: Control = ORDER, *, age_s: int = 0, most: float = 16.0, now_s: float = 5.0) -> Controls:
    controls = Controls(["a", "b"], most)
    controls.take({"a": Received(order, AT_US - age_s * SECOND)}, AT_US, now_s)
    return controls


def test_each_lane_is_stretched_as_ordered_and_critical_never() -> None:
    controls = followed()
    assert [controls.stretch("a", lane) for lane in Lane] == [1.0, 4.0, 8.0]
    assert [controls.stretch("b", lane) for lane in Lane] == [1.0, 1.0, 1.0]
    assert (controls.version("a"), controls.version("b"), controls.version("unknown")) == (7, 0, 0)


def test_the_agents_own_bounds_win() -> None:
    assert [followed(most=5.0).stretch("a", lane) for lane in Lane] == [1.0, 4.0, 5.0]
    assert [followed().rows("a", limit) for limit in (None, 100, 1000)] == [None, 100, 500]
    assert followed(replace(ORDER, rows=0)).rows("a", 1000) == 1000
    assert followed().rows("b", 1000) == 1000


def test_the_newest_order_of_all_tells_how_old_the_others_are() -> None:
    assert followed(age_s=61).version("a") == 0
    controls = followed(age_s=50)
    assert controls.version("a") == 7
    assert controls.expire(14.9) == []
    assert controls.expire(15.0) == ["a"]
    assert controls.version("a") == 0


def test_who_asks_is_told_once_what_has_changed() -> None:
    controls = followed()
    assert controls.take_changed() == {"a"}
    assert controls.take_changed() == set()
    again = {"a": Received(replace(ORDER, version=8), AT_US + SECOND)}
    assert controls.take(again, AT_US + SECOND, 6.0) == [], "the same again is no change"
    assert controls.version("a") == 8
    assert controls.take({}, 0, 7.0) == ["a"], "a deleted order ends at once"
    assert controls.take_changed() == {"a"}
    assert controls.stretch("a", Lane.BULK) == 1.0


def test_what_is_followed_is_served() -> None:
    measurements = build_measurements(Service.COLLECT)
    Meters(measurements).read_controls(followed(), lambda: ["a", "b"])
    assert read(measurements, "pganalytics_collect_control_version") == {("a",): 7, ("b",): 0}
    stretch = read(measurements, "pganalytics_collect_stretch_ratio")
    assert (stretch["a", "bulk"], stretch["a", "critical"], stretch["b", "bulk"]) == (8, 1, 1)


class Topic:
    """The topic `control`."""

    def __init__(self, **values: bytes) -> None:
        self.answer: Mapping[bytes, Entry] | Exception = {}
        self.put(AT_US, **values)

    def put(self, at_us: int, /, **values: bytes) -> None:
        self.answer = {key.encode(): Entry(value, at_us) for key, value in values.items()}

    def read_entries(self, timeout_s: float) -> Mapping[bytes, Entry]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        pass


def texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def test_what_is_no_order_is_told_once_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    controls = Controls(["a", "b"], 16.0)
    topic = Topic(a=b"junk", b=ORDER.encode(), c=b"somebody else's")
    listening = Listening(topic, controls)
    for _ in range(3):
        listening.listen(lambda: 5.0)
    assert texts(caplog) == ["an order of the streams is ignored"]
    assert (controls.version("a"), controls.version("b")) == (0, 7)


@pytest.mark.parametrize(
    "error", [Unreachable("topic p.control: its end cannot be asked"), KafkaException(KafkaError(KafkaError._TRANSPORT))]
)
def test_while_the_broker_is_away_orders_hold_and_end(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    controls, topic = Controls(["b"], 16.0), Topic(b=ORDER.encode())
    listening = Listening(topic, controls)
    listening.listen(lambda: 5.0)
    topic.answer = error
    listening.listen(lambda: 64.0)
    assert controls.version("b") == 7
    listening.listen(lambda: 65.0)
    assert controls.version("b") == 0
    assert texts(caplog) == ["orders of the streams cannot be read"]
    topic.put(AT_US + 61 * SECOND, b=replace(ORDER, version=9).encode())
    listening.listen(lambda: 66.0)
    assert controls.version("b") == 9


def test_an_order_out_of_bounds_is_none() -> None:
    wrong: Any = replace(ORDER, normal=0.0)
    controls = Controls(["b"], 16.0)
    Listening(Topic(b=wrong.encode()), controls).listen(lambda: 5.0)
    assert controls.stretch("b", Lane.NORMAL) == 1.0


def test_who_comes_follows_too_and_who_goes_is_asked_no_more() -> None:
    controls = followed()
    assert controls.take_changed() == {"a"}
    controls.follow(["a", "c"])
    assert (controls.version("a"), sorted(controls.collectors())) == (7, ["a", "c"])
    Listening(Topic(b=ORDER.encode(), c=ORDER.encode()), controls).listen(lambda: 5.0)
    assert (controls.version("b"), controls.version("c")) == (0, 7)
