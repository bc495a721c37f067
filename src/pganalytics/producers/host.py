"""The agent's own machine, for a target that runs on it: an answer as a target gives, read by psutil."""

import time
from typing import Any

import psutil

from pganalytics.producers.answers import Answer
from pganalytics.producers.tables import Rows, Table

HOST = "host"
SECOND_US = 1_000_000
PSEUDO = frozenset("squashfs overlay tmpfs devtmpfs iso9660".split())
"""File systems that fill up by nature, or hold nothing."""
DEVICES = "kind name reads writes read_bytes write_bytes read_time write_time errors drops".split()
FILE_SYSTEMS = "mount_point device type size used available".split()


def read_host() -> Answer:
    """What the machine says now. A file system that does not answer is left out; statistics begin with the machine's start."""
    asked_us = time.time_ns() // 1000
    context = _context(asked_us)
    groups = {"rows": Table(DEVICES, [*_disks(), *_interfaces()]), "filesystems": Table(FILE_SYSTEMS, _file_systems())}
    return Answer(asked_us, time.time_ns() // 1000, context, groups, context)


def _context(now_us: int) -> Table:
    started_us = int(psutil.boot_time()) * SECOND_US
    values: dict[str, Any] = {
        "server_time": now_us,
        "system_identifier": "host",
        "postmaster_start": started_us,
        "lineage": started_us,
        "crash": None,
        **_cpu(),
        **_memory(),
    }
    return Table(list(values), [tuple(values.values())])


def _cpu() -> dict[str, Any]:
    times = psutil.cpu_times()._asdict()
    modes = {
        "cpu_user": ("user", "nice"),
        "cpu_system": ("system", "irq", "softirq"),
        "cpu_idle": ("idle",),
        "cpu_iowait": ("iowait",),
        "cpu_steal": ("steal",),
    }
    loads = dict(zip(("load_1", "load_5", "load_15"), psutil.getloadavg(), strict=True))
    summed = {name: round(sum(times.get(part, 0.0) for part in parts) * SECOND_US) for name, parts in modes.items()}
    return {"cpus": psutil.cpu_count() or 0, **summed, **loads}


def _memory() -> dict[str, int]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "memory_total": memory.total,
        "memory_available": memory.available,
        "memory_cached": getattr(memory, "cached", 0),
        "swap_total": swap.total,
        "swap_used": swap.used,
        "swap_in": swap.sin,
        "swap_out": swap.sout,
    }


def _disks() -> Rows:
    counters = psutil.disk_io_counters(perdisk=True) or {}
    return [
        ("disk", name, d.read_count, d.write_count, d.read_bytes, d.write_bytes, d.read_time * 1000, d.write_time * 1000, 0, 0)
        for name, d in sorted(counters.items())
    ]


def _interfaces() -> Rows:
    counters = psutil.net_io_counters(pernic=True)
    return [
        (
            "network",
            name,
            n.packets_recv,
            n.packets_sent,
            n.bytes_recv,
            n.bytes_sent,
            0,
            0,
            n.errin + n.errout,
            n.dropin + n.dropout,
        )
        for name, n in sorted(counters.items())
    ]


def _troubles(interface: Any) -> tuple[int, int]:
    """Errors and drops, in both directions."""
    return interface.errin + interface.errout, interface.dropin + interface.dropout


def _file_systems() -> Rows:
    found = {part.mountpoint: part for part in psutil.disk_partitions(all=False) if part.fstype not in PSEUDO}
    rows: Rows = []
    for place, part in sorted(found.items()):
        try:
            usage = psutil.disk_usage(place)
        except OSError:
            continue
        rows.append((place, part.device, part.fstype, usage.total, usage.used, usage.free))
    return rows
