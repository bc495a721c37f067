"""A mapping that holds a limited number of entries and forgets those that were written longest ago."""

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Bounded(Generic[Key, Value]):
    """At most `most` entries, whatever keys a hostile sender makes up. What is forgotten is seen anew."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """The entry; None when it was never put or is forgotten."""
        return self._entries.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Write an entry; when there are too many, the one written longest ago is forgotten."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self.most:
            self._entries.popitem(last=False)

    def values(self) -> list[Value]:
        """All entries, those written longest ago first. Another thread may ask."""
        return list(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)
