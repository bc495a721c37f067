"""Records that are read and wait for their batch: one bounded queue per topic. No I/O."""

from collections import deque
from dataclasses import dataclass, field

from pganalytics.sink.records import Message

QUEUE_BYTES = 32 * 1024 * 1024
BATCH_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class TopicQueue:
    """Records of one topic in the order in which they came. `most`: how many make it full. `paused`: the reader's note."""

    most: int
    paused: bool = False
    _messages: deque[Message] = field(default_factory=deque)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether reading is to pause."""
        return len(self._messages) >= self.most or self._bytes >= QUEUE_BYTES

    @property
    def is_half_empty(self) -> bool:
        """Whether reading may go on."""
        return len(self._messages) <= self.most // 2 and self._bytes <= QUEUE_BYTES // 2

    def push(self, message: Message) -> None:
        """Add one at the end."""
        self._messages.append(message)
        self._bytes += message.size

    def take(self, count: int, size: int) -> list[Message]:
        """The first ones: at most `count`, and no more once they have `size` bytes; at least one when there is one."""
        taken: list[Message] = []
        while self._messages and len(taken) < count and size >= 0:
            message = self._messages.popleft()
            self._bytes -= message.size
            size -= message.size
            taken.append(message)
        return taken

    def clear(self) -> None:
        """Drop everything."""
        self._messages.clear()
        self._bytes = 0
        self.paused = False
