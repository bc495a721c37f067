"""No topic starves, none takes more than it has, and the heavy ones come first."""

from hypothesis import example, given
from hypothesis import strategies as st

from pganalytics.schemas.identity import Lane
from pganalytics.schemas.topics import Topics
from pganalytics.sink.shares import shares, weights

TOPICS = Topics("t", 4)
WEIGHTS = weights(TOPICS)


@given(st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.integers(1, 5000)), st.integers(0, 2000))
@example({"t.admitted.bulk": 1, "t.admitted.critical": 2, "t.admitted.deferred": 1}, 3)
def test_all_room_is_used_and_nobody_starves(waiting: dict[str, int], room: int) -> None:
    given_ = shares(waiting, room, WEIGHTS)
    assert sum(given_.values()) == min(room, sum(waiting.values()))
    assert all(0 <= given_[topic] <= waiting[topic] for topic in waiting)
    if room >= len(waiting):
        assert all(given_[topic] >= 1 for topic in waiting)


def test_a_backlog_everywhere_is_drained_by_weight() -> None:
    given_ = shares(dict.fromkeys(WEIGHTS, 10_000), 1000, WEIGHTS)
    critical, normal, bulk = (given_[TOPICS.admitted(lane)] for lane in Lane)
    assert critical / normal == 16 / 6 or abs(critical * 6 - normal * 16) <= 32
    assert abs(critical - bulk * 8) <= 16
    assert given_[TOPICS.deferred] >= 20


def test_what_one_lane_leaves_goes_to_the_others() -> None:
    assert shares({TOPICS.admitted(Lane.CRITICAL): 3, TOPICS.admitted(Lane.BULK): 5000}, 1000, WEIGHTS) == {
        TOPICS.admitted(Lane.CRITICAL): 3,
        TOPICS.admitted(Lane.BULK): 997,
    }


def test_too_little_room_goes_to_the_heaviest() -> None:
    waiting = dict.fromkeys(WEIGHTS, 1)
    assert shares(waiting, 1, WEIGHTS)[TOPICS.admitted(Lane.CRITICAL)] == 1
