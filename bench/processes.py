"""What processes cost: CPU seconds, memory, threads, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far (children that were waited for included), resident bytes, threads."""

    cpu_s: float
    rss_bytes: int
    threads: int


def usage(pid: int) -> Usage:
    """Of one living process; all zero when it is gone."""
    try:
        fields = _stat(pid)
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return Usage(0.0, 0, 0)
    rss = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    return Usage(sum(int(fields[place]) for place in (11, 12, 13, 14)) / TICKS_PER_S, rss, int(fields[17]))


def tree_cpu_s(root: int) -> float:
    """CPU seconds of a process and all that it started, those that have ended included."""
    return sum(usage(pid).cpu_s for pid in _family(root))


def own_cpu_s(pid: int) -> float:
    """CPU seconds of one process without its children."""
    try:
        fields = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _family(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: the state is number 0."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
