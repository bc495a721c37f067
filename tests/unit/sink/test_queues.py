"""Queues are bounded by records and by bytes, and always give at least one record."""

from pganalytics.sink.queues import QUEUE_BYTES, TopicQueue
from pganalytics.sink.records import Message
from unit.sink.sink_records import message


def big(size: int) -> Message:
    small = message()
    return Message(small.place, None, b"x" * size, ())


def test_full_and_half_empty_leave_room_between() -> None:
    queue = TopicQueue(most=10)
    for _ in range(10):
        queue.push(message())
    assert queue.is_full
    queue.take(4, 10**9)
    assert not queue.is_full
    assert not queue.is_half_empty
    queue.take(1, 10**9)
    assert queue.is_half_empty


def test_bytes_fill_it_too() -> None:
    queue = TopicQueue(most=1000)
    queue.push(big(QUEUE_BYTES))
    assert queue.is_full
    assert len(queue.take(10, 0)) == 1
    assert queue.is_half_empty


def test_a_batch_ends_with_the_record_that_reaches_its_size() -> None:
    queue = TopicQueue(most=1000)
    for _ in range(5):
        queue.push(big(1000))
    assert len(queue.take(5, 2000)) == 2
    assert len(queue) == 3


def test_order_is_kept() -> None:
    queue = TopicQueue(most=10)
    for offset in range(5):
        queue.push(message(offset=offset))
    assert [each.place.offset for each in queue.take(2, 10**9) + queue.take(9, 10**9)] == [0, 1, 2, 3, 4]
