"""The OS user that a PostgreSQL server runs as. PostgreSQL refuses root, so root lends it another user.

That user must reach the programs and the data, although both often lie below a home or a temporary folder that is
root's alone. Such folders are never opened up: programs are copied, data is put elsewhere.
"""

import os
import pwd
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pganalytics.embedded.errors import EmbeddedError, ToolMissing
from pganalytics.embedded.machine import Machine, owned_folder

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """An OS user; `borrowed` says that it is another one than we are."""

    name: str
    uid: int
    gid: int
    borrowed: bool

    @property
    def run_as(self) -> str | None:
        """For `Child.start(user=...)`."""
        return self.name if self.borrowed else None

    def give(self, *paths: Path) -> None:
        """Make the account the owner of these files and folders."""
        if self.borrowed:
            for path in paths:
                os.chown(path, self.uid, self.gid)

    def reaches(self, folder: Path) -> bool:
        """Whether the account may go through `folder` and all folders above it (access lists are not looked at)."""
        resolved = folder.resolve()
        return not self.borrowed or all(self._may(each, 0o1) for each in [resolved, *resolved.parents])

    def can_run(self, program: Path) -> bool:
        """Whether the account may read and execute `program`."""
        if not self.borrowed:
            return os.access(program, os.R_OK | os.X_OK)
        resolved = program.resolve()
        return self.reaches(resolved.parent) and self._may(resolved, 0o5)

    def _may(self, path: Path, bits: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return (found.st_mode >> shift) & bits == bits


def server_account(candidates: Sequence[str] = CANDIDATES) -> Account:
    """Ourselves, or for root the first of the candidates that exists."""
    if os.geteuid() != 0:
        return Account(name=str(os.geteuid()), uid=os.geteuid(), gid=os.getegid(), borrowed=False)
    for name in candidates:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, borrowed=True)
    raise ToolMissing(
        "an OS user for PostgreSQL", f"it does not run as root; create {' or '.join(candidates)} or run as yourself"
    )


def scratch_folder(account: Account, prefix: str, *, machine: Machine) -> Path:
    """A new folder with an unguessable name that the account reaches; the caller removes it."""
    places = dict.fromkeys([machine.temp, Path("/tmp"), Path("/var/tmp")])  # noqa: S108  (mkdtemp is safe there)
    for place in places:
        if place.is_dir() and account.reaches(place):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
            folder.chmod(0o711 if account.borrowed else 0o700)
            return folder
    raise EmbeddedError(f"OS user {account.name} reaches no temporary folder: set TMPDIR to one that it does")


def reachable_copy(tree: Path, label: str, *, account: Account, machine: Machine) -> Path:
    """A copy of a tree of programs that the account can run; kept below the temporary folder, owned by us.

    Two processes that copy at once both succeed: a copy appears by one rename, the later one is dropped.
    """
    place = machine.temp if account.reaches(machine.temp) else Path("/tmp")  # noqa: S108  (owner is checked)
    shelf = owned_folder(place / f"pganalytics-programs-{os.getuid()}", mode=0o755)
    copy = shelf / label
    if not copy.is_dir():
        workplace = Path(tempfile.mkdtemp(prefix=f".{label}-", dir=shelf))
        try:
            shutil.copytree(tree, workplace, symlinks=True, dirs_exist_ok=True)
            _open_for_reading(workplace)
            workplace.rename(copy)
        except OSError:
            if not copy.is_dir():
                raise
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
    return copy


def _open_for_reading(tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
