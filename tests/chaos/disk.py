"""A disk that may become full, and forgets at a power cut what was not fsynced. The real files hold exactly what is durable.

Writes and truncations wait, visible to whoever reads through this disk, until their file is synced. `power_cut` ends them: each
sector that waits is kept or forgotten as `keeps` says, across all files and in any order, as disks write between two syncs. A
sector is never torn, and of a sector that is written in part the rest stays what it was, which SQLite is told of real disks too
(powersafe overwrite). That a file is made or deleted is durable at once: SQLite syncs the folder after it has made a log.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
UNCUT = ("nothing", "")
"""In place of the operation in which the power went and its file: it went in none."""
_Change = tuple[int, bytes | None]
"""A write as (offset, data), or a truncation as (size, None)."""


class PowerIsOff(OSError):
    """Nothing can be read or written any more."""


@dataclass
class DiskFile:
    """A file that is open. Without a path it is a temporary one, which nobody expects back."""

    disk: "Disk"
    path: Path | None
    visible: bytearray
    waiting: list[_Change] = field(default_factory=list)

    def read(self, size: int, offset: int) -> bytes:
        """As much as there is."""
        self.disk.require_power()
        return bytes(self.visible[offset : offset + size])

    def write(self, data: bytes, offset: int) -> None:
        """Visible at once, durable after `sync`; when the power goes just now, it may be there in part."""
        self._change(offset, data)
        self.disk.step("write", self.path)

    def truncate(self, size: int) -> None:
        """Like a write."""
        self._change(size, None)
        self.disk.step("truncate", self.path)

    def sync(self) -> None:
        """When it returns, all is durable."""
        self.disk.step("sync", self.path)
        self.harden(self.waiting)

    def harden(self, changes: list[_Change]) -> None:
        """Make these durable, and let nothing wait."""
        if self.path is not None and self.path.exists():
            with self.path.open("r+b") as durable:
                for at, data in changes:
                    if data is None:
                        durable.truncate(at)
                    else:
                        durable.seek(at)
                        durable.write(data)
        self.waiting = []

    def _change(self, at: int, data: bytes | None) -> None:
        self.disk.require_power()
        if self.path is not None:
            self.disk.require_room(at + len(data or b"") - len(self.visible))
        _apply(self.visible, (at, data))
        self.waiting.append((at, data))


class Disk:
    """One machine's disk, for one thread at a time.

    The power goes by `power_cut`, or in the `cut_at`-th operation (its name, its file's name) for which `counts` is true.
    """

    def __init__(
        self, keeps: Callable[[], bool], cut_at: int | None = None, counts: Callable[[str, str], bool] = lambda *_: True
    ) -> None:
        self.is_on = True
        self.capacity: int | None = None
        """Bytes of all its files together; endless when it is None."""
        self.cut_in = UNCUT
        """The operation in which the power went, and its file's name."""
        self._keeps = keeps
        self._left = cut_at
        self._counts = counts
        self._open: dict[Path, DiskFile] = {}

    def open(self, path: Path | None) -> DiskFile:
        """Open or make a file; one that is open is shared."""
        self.require_power()
        if path is None:
            return DiskFile(self, None, bytearray())
        if path not in self._open or not path.exists():
            path.touch()
            self._open[path] = DiskFile(self, path, bytearray(path.read_bytes()))
        return self._open[path]

    def delete(self, path: Path) -> None:
        """Durable at once."""
        self.step("delete", path)
        self._open.pop(path, None)
        path.unlink(missing_ok=True)

    def power_cut(self) -> None:
        """Forget what is not durable, but for what is kept; from now on everything fails."""
        self.is_on = False
        for file in self._open.values():
            file.harden([part for change in file.waiting for part in _sectors(change) if self._keeps()])

    def free(self) -> int:
        """How many bytes can be added. Only with a capacity."""
        assert self.capacity is not None
        return max(0, self.capacity - sum(len(file.visible) for file in self._open.values()))

    def require_room(self, more: int) -> None:
        """Raises OSError as a file system does that is full."""
        if self.capacity is not None and more > self.free():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def require_power(self) -> None:
        """Raises PowerIsOff."""
        if not self.is_on:
            raise PowerIsOff("the power is off")

    def step(self, operation: str, path: Path | None) -> None:
        """One operation that changes a file, unless that is a temporary one: the power may go in it."""
        self.require_power()
        if path is None or self._left is None or not self._counts(operation, path.name):
            return
        self._left -= 1
        if not self._left:
            self.cut_in = operation, path.name
            self.power_cut()
            self.require_power()


def _apply(content: bytearray, change: _Change) -> None:
    at, data = change
    content.extend(bytes(max(0, at - len(content))))
    if data is None:
        del content[at:]
    else:
        content[at : at + len(data)] = data


def _sectors(change: _Change) -> Iterator[_Change]:
    at, data = change
    if data is None:
        yield change
        return
    begin = 0
    while begin < len(data):
        end = begin + SECTOR - (at + begin) % SECTOR
        yield at + begin, data[begin:end]
        begin = end
