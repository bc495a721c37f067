"""Each fault of DESIGN section 9 made while the screen is watched: `make soak ARGS=watched`. docs/faults.md is what it printed.

Exit code 1 when something is not named in time, was named before, or does not end; a line PROBLEM for each.
"""

import argparse
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.watched_rows import ROWS, Row
from chaos.watched_scene import Scene, scene
from chaos.watched_screen import CURE, Screen, Seen, Sight
from pganalytics.runtime.errors import Crash
from waiting import until

WELL_S = 120.0
MOST_LINES = 6
CRASH = f"ended with {Crash.exit_code} "
"""In a note. A service may end because what it needs is away; it may not crash."""
LOOK_S = 4.0
"""What a look itself may take: a command starts a new process on a machine that may be busy."""


@dataclass(frozen=True)
class Finding:
    """One fault: what was seen, and after how long `status` called all well again (None: it did not)."""

    row: Row
    seen: Sequence[Seen]
    before: Sequence[Sight]
    well_s: float | None
    left: Sequence[str] = ()
    notes: Sequence[str] = ()

    def problems(self) -> list[str]:
        """A line each."""
        found = [f"{self.row.name}: {one.wanted!r} at {one.source} was there before the fault" for one in self.before]
        for one in self.seen:
            if one.after_s is None or one.after_s > one.sight.allowed_s + LOOK_S:
                late = "was never there" if one.after_s is None else f"took {one.after_s:.0f} s"
                found.append(
                    f"{self.row.name}: {one.sight.wanted!r} at {one.sight.source} {late}: {one.sight.allowed_s:.0f} s are allowed"
                )
        found += [f"{self.row.name}: {note}" for note in self.notes if CRASH in note]
        if self.well_s is None:
            found.append(f"{self.row.name}: status does not call all well again: {'; '.join(self.left)}")
        return found

    def _looks(self) -> dict[tuple[float | None, str], list[str]]:
        """What told something, each once, in the order of time; how a command ended is last."""
        found: dict[tuple[float | None, str], list[str]] = {}
        for one in sorted(self.seen, key=lambda one: (one.after_s is None, one.after_s)):
            known = found.setdefault((one.after_s, one.sight.source), [])
            known += [line for line in one.lines if line not in known or line.startswith(CURE)]
            known.sort(key=lambda line: line.startswith("exit code"))
        return found

    def lines(self) -> Iterator[str]:
        """Its section of the page."""
        yield from (f"## {self.row.title}", "", self.row.did, "", "```")
        for (after_s, source), lines in self._looks().items():
            after = "never" if after_s is None else f"{after_s:.1f} s"
            yield f"[{after}] {source}"
            yield from lines if after_s is None else lines[:MOST_LINES]
        yield "```"
        extra = {f"{one.sight.extra_s:g} s ({one.sight.why})": None for one in self.seen if one.sight.extra_s}
        if extra:
            yield from ("", f"Allowed beyond two heartbeats: {', '.join(extra)}.")
        yield from (text for note in self.notes for text in ("", note))
        if self.well_s is not None:
            stays = ", but for what stays" if self.left else ""
            yield from ("", f"All well again {self.well_s:.0f} s after it was undone{stays}.")
            yield from ([""] if self.left else [])
            yield from (f"- stays: `{line}`" for line in self.left)
        yield ""


def suffer(screen: Screen, row: Row, stays: list[str]) -> Finding:
    """Make one fault, watch, undo it, wait until all is well. `stays` grows by what this fault leaves."""
    screen.scene.notes.clear()
    before = screen.shown([sight for sight in row.sights if sight.new])
    with row.fault(screen.scene):
        seen = screen.watch(row.sights, time.monotonic(), screen.scene.tend)
    stays += row.stays
    well_s, left = becomes_well(screen.scene, stays)
    return Finding(row, seen, before, well_s, left, tuple(screen.scene.notes))


def becomes_well(scene: Scene, stays: Sequence[str], within_s: float = WELL_S) -> tuple[float | None, list[str]]:
    """Seconds until `status` finds nothing wrong but what stays; and what it finds at the end."""
    began = time.monotonic()
    while True:
        scene.tend()
        found = scene.problems()
        if found is not None and all(any(re.search(known, line) for known in stays) for line in found):
            return time.monotonic() - began, found
        if time.monotonic() - began > within_s:
            return None, ["it cannot ask"] if found is None else found
        time.sleep(1)


UP = tuple(Sight("status", wanted) for wanted in (r"^db1 +up ", r"^db2 +up ", r"^all well"))


def is_settled(screen: Screen) -> bool:
    """Every service is ready, and both targets are up."""
    ready = all(screen.look(f"/readyz of {name}") == ["ok", "200"] for name in screen.scene.ports)
    return ready and len(screen.shown(UP)) == len(UP)


def run(folder: Path, rows: Sequence[Row]) -> Iterator[Finding]:
    """One after the other, on one installation."""
    with scene(folder) as made:
        screen = Screen(made)
        until(lambda: is_settled(screen), WELL_S, every_s=1, what="all well")
        stays: list[str] = []
        for row in rows:
            yield suffer(screen, row, stays)


def without_places(text: str, folder: Path) -> str:
    """Without what belongs to this machine and this run only."""
    return text.replace(str(folder), "FOLDER").replace(socket.gethostname(), "host")


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="make soak ARGS=watched", description="Faults by hand, and what the screen says of them."
    )
    parser.add_argument("--only", choices=[row.name for row in ROWS], action="append", help="one of them; may be given again")
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="pganalytics-watched-"))
    print(f"logs are in {folder} while it runs", file=sys.stderr, flush=True)
    bad: list[str] = []
    for found in run(folder, [row for row in ROWS if chosen.only is None or row.name in chosen.only]):
        print(without_places("\n".join(found.lines()), folder), flush=True)
        for problem in found.problems():
            print(f"PROBLEM {without_places(problem, folder)}", flush=True)
        bad += found.problems()
    if not bad:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"problems {len(bad)}")
    return int(bool(bad))
