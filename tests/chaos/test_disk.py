"""The disk forgets and keeps what the power cuts in tests believe that it does."""

import errno
import itertools
from pathlib import Path

import pytest

from chaos.disk import SECTOR, Disk, PowerIsOff


def test_what_is_written_is_seen_at_once_and_there_after_a_cut_only_if_synced(tmp_path: Path) -> None:
    disk = Disk(lambda: False)
    file = disk.open(tmp_path / "file")
    file.write(b"synced", 0)
    file.sync()
    file.write(b"SYNC", 0)
    file.truncate(5)
    assert disk.open(tmp_path / "file").read(10, 0) == b"SYNCe"
    assert (tmp_path / "file").read_bytes() == b"synced"
    disk.power_cut()
    assert (tmp_path / "file").read_bytes() == b"synced"
    for call in (file.sync, lambda: file.read(1, 0), lambda: file.write(b"x", 0), lambda: disk.open(tmp_path / "other")):
        with pytest.raises(PowerIsOff):
            call()


def test_a_cut_keeps_sectors_whole_and_in_any_order(tmp_path: Path) -> None:
    answers = itertools.cycle([False, True])
    disk = Disk(lambda: next(answers))
    file = disk.open(tmp_path / "file")
    file.write(b"." * (4 * SECTOR), 0)
    file.sync()
    file.write(b"x" * (3 * SECTOR), 100)
    disk.power_cut()
    kept = (tmp_path / "file").read_bytes()
    assert kept == b"." * SECTOR + b"x" * SECTOR + b"." * SECTOR + b"x" * 100 + b"." * (SECTOR - 100)


def test_a_hole_in_what_is_kept_reads_as_zeros(tmp_path: Path) -> None:
    answers = iter([False, True])
    disk = Disk(lambda: next(answers))
    disk.open(tmp_path / "file").write(b"x" * (SECTOR + 1), 0)
    disk.power_cut()
    assert (tmp_path / "file").read_bytes() == bytes(SECTOR) + b"x"


def test_the_power_goes_in_the_chosen_operation(tmp_path: Path) -> None:
    disk = Disk(lambda: False, 2, lambda operation, _: operation == "sync")
    file = disk.open(tmp_path / "file")
    for content in (b"one", b"two"):
        file.write(content, 0)
        if content == b"one":
            file.sync()
    with pytest.raises(PowerIsOff):
        file.sync()
    assert (disk.cut_in, disk.is_on) == (("sync", "file"), False)
    assert (tmp_path / "file").read_bytes() == b"one"


def test_a_deleted_file_is_gone_at_once(tmp_path: Path) -> None:
    disk = Disk(lambda: True)
    disk.open(tmp_path / "file").write(b"x", 0)
    disk.delete(tmp_path / "file")
    disk.power_cut()
    assert not (tmp_path / "file").exists()


def test_a_full_disk_takes_no_more_and_lets_what_is_there_be_overwritten(tmp_path: Path) -> None:
    disk = Disk(lambda: True)
    disk.capacity = 10
    one, two = disk.open(tmp_path / "one"), disk.open(tmp_path / "two")
    one.write(b"123456", 0)
    with pytest.raises(OSError, match="space") as found:
        two.write(b"12345", 0)
    assert (found.value.errno, disk.free()) == (errno.ENOSPC, 4)
    one.write(b"654321", 0)
    two.write(b"1234", 0)
    one.truncate(3)
    assert disk.free() == 3
