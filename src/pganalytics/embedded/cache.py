"""Folders that are fetched once and then only read, shared by all our processes on a machine.

A folder appears complete or not at all: it is filled under another name and renamed. One process fetches, the others
wait for it; the lock ends with its process. What a killed process left half-done is removed by the next one.
"""

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pganalytics.embedded.errors import FetchFailed
from pganalytics.embedded.leash import Child

FETCH_TIMEOUT_S = 600.0


def fetched(folder: Path, fetch: Callable[[Path], None]) -> Path:
    """`folder`, after `fetch` has filled it (given an empty folder beside it) if it was not there."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if folder.is_dir():
            return folder
        prefix = f".{folder.name}-"
        for leftover in folder.parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        workplace = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        try:
            fetch(workplace)
            workplace.chmod(0o755)
            workplace.rename(folder)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
    return folder


def run_fetcher(what: str, args: list[str | Path], *, workplace: Path, environ: dict[str, str]) -> None:
    """Run a package manager to its end, on the leash. FetchFailed with its last lines."""
    log = workplace / "fetch.log"
    with Child.start(args, env=environ, cwd=workplace, stdout=log, name=f"fetch {what}") as child:
        try:
            code = child.wait(FETCH_TIMEOUT_S)
        except TimeoutError:
            code = child.kill()
    if code:
        raise FetchFailed(what, f"{Path(args[0]).name} ended with {code}", log_lines=last_lines(log))
    log.unlink()


def last_lines(log: Path, count: int = 8) -> list[str]:
    """The end of a log, for an error's message; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    deadline = time.monotonic() + FETCH_TIMEOUT_S
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FetchFailed(folder.name, f"another process holds {lock.name} for too long") from None
                time.sleep(0.1)
        yield
