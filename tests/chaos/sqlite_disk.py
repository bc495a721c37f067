"""SQLite on a `Disk`: a file layer (VFS) in the very SQLite that Python's `sqlite3` uses, so that the spool runs unchanged.

Made with ctypes: another binding, like apsw, would bring its own SQLite and test that one. A database here belongs to one
connection, as the spool's does: locks are granted unasked, and there is no shared memory.
"""

import _sqlite3
import contextlib
import ctypes
import errno
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any

from chaos.disk import Disk, DiskFile

OK, IOERR, NOTFOUND = 0, sqlite3.SQLITE_IOERR, 12
IOERR_SHORT_READ = IOERR | 2 << 8
POWERSAFE_OVERWRITE = 0x1000
"""What SQLite's own file layer says of every disk."""
SECTOR_SIZE = 4096
_numbers = itertools.count(1)
_still_open: list[Any] = []

_METHODS: dict[str, tuple[Any, ...]] = {
    "close": (),
    "read": (c_void_p, c_int, c_int64),
    "write": (c_void_p, c_int, c_int64),
    "truncate": (c_int64,),
    "sync": (c_int,),
    "file_size": (POINTER(c_int64),),
    "lock": (c_int,),
    "unlock": (c_int,),
    "check_reserved_lock": (POINTER(c_int),),
    "file_control": (c_int, c_void_p),
    "sector_size": (),
    "device_characteristics": (),
}
"""Of `sqlite3_io_methods`, version 1, in its order; each has the file as its first argument."""
_TYPES = {name: ctypes.CFUNCTYPE(c_int, c_void_p, *arguments) for name, arguments in _METHODS.items()}
_OPEN = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p, c_int, POINTER(c_int))
_DELETE = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)


class _IoMethods(ctypes.Structure):
    _fields_ = [("version", c_int), *_TYPES.items()]


class _File(ctypes.Structure):
    _fields_ = [("methods", c_void_p), ("number", c_int64)]


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", c_int),
        ("file_bytes", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", _OPEN),
        ("delete", _DELETE),
        ("rest", c_void_p * 14),
    ]
    """`rest`: access, full_pathname, loading, randomness, sleep, time and system calls, as in `sqlite3_vfs` version 3."""


class FileLayer:
    """The functions that SQLite calls, for one disk."""

    def __init__(self, disk: Disk) -> None:
        self.files: dict[int, DiskFile] = {}
        self._disk = disk
        bound = {name: kind(self._guarded(getattr(self, f"_{name}"))) for name, kind in _TYPES.items()}
        self._methods = _IoMethods(1, *bound.values())
        self._functions = _OPEN(self._guarded(self._open)), _DELETE(self._guarded(self._delete))

    def vfs(self, name: str, model: _Vfs) -> _Vfs:
        """To be registered; what is no file operation stays as in the model, of which a copy is made."""
        made = _Vfs.from_buffer_copy(model)
        made.name, made.file_bytes, made.next = name.encode(), ctypes.sizeof(_File), None
        made.open, made.delete = self._functions
        return made

    def _guarded(self, call: Callable[..., int]) -> Callable[..., int]:
        def guarded(*arguments: Any) -> int:
            try:
                return call(*arguments)
            except OSError as error:
                return sqlite3.SQLITE_FULL if error.errno == errno.ENOSPC else IOERR

        return guarded

    def _open(self, vfs: int, name: bytes | None, address: int, flags: int, out_flags: Any) -> int:
        made = _File.from_address(address)
        made.methods = None
        file = self._disk.open(Path(name.decode()) if name is not None else None)
        made.number = next(_numbers)
        self.files[made.number] = file
        made.methods = ctypes.addressof(self._methods)
        if out_flags:
            out_flags[0] = flags
        return OK

    def _delete(self, vfs: int, name: bytes, sync_folder: int) -> int:
        self._disk.delete(Path(name.decode()))
        return OK

    def _at(self, address: int) -> DiskFile:
        return self.files[_File.from_address(address).number]

    def _close(self, address: int) -> int:
        del self.files[_File.from_address(address).number]
        return OK

    def _read(self, address: int, target: int, size: int, offset: int) -> int:
        data = self._at(address).read(size, offset)
        ctypes.memmove(target, data.ljust(size, b"\0"), size)
        return OK if len(data) == size else IOERR_SHORT_READ

    def _write(self, address: int, source: int, size: int, offset: int) -> int:
        self._at(address).write(ctypes.string_at(source, size), offset)
        return OK

    def _truncate(self, address: int, size: int) -> int:
        self._at(address).truncate(size)
        return OK

    def _sync(self, address: int, flags: int) -> int:
        self._at(address).sync()
        return OK

    def _file_size(self, address: int, size: Any) -> int:
        size[0] = len(self._at(address).visible)
        return OK

    def _lock(self, address: int, level: int) -> int:
        return OK

    _unlock = _lock

    def _check_reserved_lock(self, address: int, held: Any) -> int:
        held[0] = 0
        return OK

    def _file_control(self, address: int, what: int, argument: int | None) -> int:
        return NOTFOUND

    def _sector_size(self, address: int) -> int:
        return SECTOR_SIZE

    def _device_characteristics(self, address: int) -> int:
        return POWERSAFE_OVERWRITE


@contextlib.contextmanager
def mounted(disk: Disk) -> Iterator[str]:
    """The name under which `sqlite3.connect("file:PATH?vfs=NAME", uri=True)` finds the disk. Connections end before this does."""
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))  # or it is a part of the interpreter
    library.sqlite3_vfs_find.restype = POINTER(_Vfs)
    layer, name = FileLayer(disk), f"disk{next(_numbers)}"
    vfs = layer.vfs(name, library.sqlite3_vfs_find(None).contents)
    assert library.sqlite3_vfs_register(byref(vfs), 0) == OK
    try:
        yield name
    finally:
        library.sqlite3_vfs_unregister(byref(vfs))
        if layer.files:
            _still_open.append((layer, vfs))  # SQLite would call what is gone
            raise AssertionError("a connection to the disk is still open")
