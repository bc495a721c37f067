"""What is due when: a bounded queue of deadlines by key, of which the last one given counts. Pure."""

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Key = TypeVar("Key")

NEVER = 2**63
SLACK = 64


class Deadlines(Generic[Key]):
    """At most `most` keys, whatever a hostile sender makes up: the one that was put longest ago is forgotten.

    Moving a deadline on costs no place in the queue: it is found out when the earlier one comes up. So a collector that is alive
    costs one operation of the queue per deadline, not per heartbeat.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._due: OrderedDict[Key, int] = OrderedDict()
        self._queued: dict[Key, int] = {}
        self._heap: list[tuple[int, int, Key]] = []
        self._pushed = 0

    @property
    def first_us(self) -> int:
        """No deadline is earlier than this."""
        return self._heap[0][0] if self._heap else NEVER

    def put(self, key: Key, due_us: int) -> None:
        """Set the deadline of a key."""
        self._due[key] = due_us
        self._due.move_to_end(key)
        if due_us < self._queued.get(key, NEVER):
            self._push(key, due_us)
        if len(self._due) > self.most:
            oldest, _ = self._due.popitem(last=False)
            del self._queued[oldest]
        if len(self._heap) > 2 * len(self._queued) + SLACK:
            self._heap = [each for each in self._heap if self._queued.get(each[2]) == each[0]]
            heapify(self._heap)

    def take(self, now_us: int) -> list[Key]:
        """The keys whose deadline is reached, earliest first; they are in the queue no more."""
        taken = []
        while self._heap and self._heap[0][0] <= now_us:
            queued_us, _, key = heappop(self._heap)
            if self._queued.get(key) != queued_us:
                continue
            if self._due[key] > now_us:
                self._push(key, self._due[key])
            else:
                del self._due[key], self._queued[key]
                taken.append(key)
        return taken

    def clear(self) -> None:
        """Forget all."""
        self._due.clear()
        self._queued.clear()
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._due)

    def _push(self, key: Key, due_us: int) -> None:
        self._queued[key] = due_us
        self._pushed += 1
        heappush(self._heap, (due_us, self._pushed, key))
