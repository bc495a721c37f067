"""What this machine offers: search path, cache folder, temporary folder.

The only reader of the environment in this package. These are places to look for tools, not settings: the servers'
settings come in as arguments. Tests pass a `Machine` of their own, for example one with an empty search path.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pganalytics.embedded.errors import EmbeddedError


@dataclass(frozen=True)
class Machine:
    """Where to look. `environ` is what our helpers (java, mvn, npm) inherit; it is never logged."""

    search_path: str
    java_home: Path | None
    cache: Path
    temp: Path
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def here(cls, environ: Mapping[str, str] | None = None) -> "Machine":
        """This machine as `environ` (default: our own environment) describes it."""
        given = dict(os.environ if environ is None else environ)
        java_home = given.get("JAVA_HOME")
        home_cache = given.get("XDG_CACHE_HOME") or str(Path(given.get("HOME") or "~").expanduser() / ".cache")
        return cls(
            search_path=given.get("PATH", os.defpath),
            java_home=Path(java_home) if java_home else None,
            cache=Path(home_cache) / "pganalytics",
            temp=Path(tempfile.gettempdir()).resolve(),
            environ=given,
        )

    def which(self, program: str) -> Path | None:
        """The program's full path, or None."""
        found = shutil.which(program, path=self.search_path)
        return Path(found) if found else None

    def cache_folder(self, name: str) -> Path:
        """Where the folder `name` is cached, or is to be: when the cache cannot be written and does not have it,
        in a folder of this user below the temporary one."""
        with contextlib.suppress(OSError):
            self.cache.mkdir(parents=True, exist_ok=True)
        if (self.cache / name).is_dir() or os.access(self.cache, os.W_OK):
            return self.cache / name
        return owned_folder(self.temp / f"pganalytics-cache-{os.getuid()}", mode=0o700) / name


def owned_folder(folder: Path, *, mode: int) -> Path:
    """A folder with a well-known name in a place where all can write: refused unless it is ours and only ours to write.

    Without the check another user could prepare the folder and have us run his programs.
    """
    try:
        folder.mkdir(mode=mode)
        folder.chmod(mode)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise EmbeddedError(f"{folder} belongs to somebody else or is writable by others: remove it and try again")
    return folder
