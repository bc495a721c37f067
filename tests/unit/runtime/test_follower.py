"""What changes in a compacted topic is handed over once; an outage changes nothing."""

import threading
from collections.abc import Mapping

import pytest

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.follower import Follower
from waiting import until


class Topic:
    """Holds what a test puts there; while `away` it cannot be read."""

    topic = "t"

    def __init__(self) -> None:
        self.values: Mapping[bytes, bytes] = {}
        self.away = False
        self.reads = 0
        self.closed = False

    def read_to_end(self, timeout_s: float) -> Mapping[bytes, bytes]:
        self.reads += 1
        if self.away:
            raise Unreachable("away")
        return dict(self.values)

    def close(self) -> None:
        self.closed = True


class Following:
    """A follower at work in a thread, and what it handed over."""

    def __init__(self, topic: Topic) -> None:
        self.taken: list[Mapping[bytes, bytes]] = []
        self.follower = Follower(topic, self.taken.append, every_s=0.01)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: self.follower.run(self._stop), daemon=True)

    def __enter__(self) -> "Following":
        self.follower.read(1)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


def after_reads(topic: Topic, count: int) -> None:
    seen = topic.reads
    until(lambda: topic.reads >= seen + count, 10)


def test_the_first_reading_is_handed_over_also_when_it_is_empty() -> None:
    topic = Topic()
    taken: list[Mapping[bytes, bytes]] = []
    Follower(topic, taken.append).read(1)
    assert taken == [{}]


def test_the_first_reading_must_succeed() -> None:
    topic = Topic()
    topic.away = True
    with pytest.raises(Unreachable, match="away"):
        Follower(topic, lambda values: None).read(1)


def test_what_changes_is_handed_over_once() -> None:
    topic = Topic()
    with Following(topic) as following:
        after_reads(topic, 3)
        topic.values = {b"a": b"1"}
        after_reads(topic, 3)
        topic.values = {}
        after_reads(topic, 3)
        assert following.taken == [{}, {b"a": b"1"}, {}]
        assert not topic.closed
    assert topic.closed


def test_an_outage_is_told_when_it_begins_and_ends_and_what_is_known_stays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    topic = Topic()
    topic.values = {b"a": b"1"}
    with Following(topic) as following:
        topic.away = True
        after_reads(topic, 4)
        topic.values = {b"a": b"2"}
        assert following.taken == [{b"a": b"1"}]
        topic.away = False
        until(lambda: len(following.taken) == 2, 10)
        after_reads(topic, 2)
    assert following.taken == [{b"a": b"1"}, {b"a": b"2"}]
    assert [each.message for each in caplog.records] == [
        "topic cannot be read; what is known stays",
        "topic is read again",
    ]
