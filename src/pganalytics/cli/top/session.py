"""One look at the fleet from the first picture to the key `q`: records in, keys in, pictures out. One thread does it all."""

import time

from pganalytics.cli.shell import printable
from pganalytics.cli.top.amounts import span
from pganalytics.cli.top.fleet import Fleet
from pganalytics.cli.top.looking import Looking, press
from pganalytics.cli.top.reader import MOST_BACK, Reader
from pganalytics.cli.top.screen import Moment, Picture, picture
from pganalytics.cli.top.terminal import Terminal
from pganalytics.runtime.errors import SettingsError

POLL_S = 0.1
"""A key waits at most so long."""
DRAW_EVERY_S = 1.0
NAMES_SHOWN = 10


class Session:
    """While the picture is held records are still taken, so that the present is there when it is let go."""

    def __init__(self, reader: Reader, terminal: Terminal, fleet: Fleet) -> None:
        self._reader = reader
        self._terminal = terminal
        self._fleet = fleet
        self._held: Moment | None = None
        self._shown = Picture([], (), 1)
        self._drawn_at, self._size = 0.0, (0, 0)

    def run(self, look: Looking) -> None:
        """Until the user has enough. Raises SettingsError, Unreachable, KafkaException, KeyboardInterrupt."""
        checked = False
        while not look.over:
            for seen in self._reader.read(POLL_S):
                self._fleet.note(seen)
            if not checked and self._reader.caught_up and self._fleet.targets:
                check_target(self._fleet, look.target)
                checked = True
            pressed = self._terminal.keys()
            for key in pressed:
                look = press(look, key, self._shown.targets, self._shown.page)
            if pressed or self._is_due():
                self._draw(look)

    def _is_due(self) -> bool:
        return self._size != self._terminal.size or time.monotonic() - self._drawn_at >= DRAW_EVERY_S

    def _draw(self, look: Looking) -> None:
        self._drawn_at, self._size = time.monotonic(), self._terminal.size
        self._fleet.forget_ended(now_us())
        if not look.paused:
            self._held = None
        elif self._held is None:
            self._held = Moment(self._fleet.frozen(), now_us())
        fleet, at_us = (self._held.fleet, self._held.now_us) if self._held is not None else (self._fleet, now_us())
        moment = Moment(fleet, at_us, notes(self._reader, self._fleet, finished=False))
        self._shown = picture(moment, look, *self._size)
        self._terminal.show(self._shown.lines)


def notes(reader: Reader, fleet: Fleet, *, finished: bool) -> tuple[str, ...]:
    """What is wrong with what is shown. `finished`: nothing more is read."""
    found = []
    if reader.away_since is not None:
        found.append(f"Kafka has not answered for {span(time.monotonic() - reader.away_since)}: what is shown is old")
    if not reader.caught_up:
        found.append("not all of the past was read: raise --seconds" if finished else "reading the past")
    if reader.shortened and (finished or not reader.caught_up):
        found.append(f"only the last {MOST_BACK} records are read: there are more in the past that was asked for")
    if reader.caught_up and reader.away_since is None and fleet.targets and fleet.is_quiet(now_us()):
        found.append(f"no record has come for {span((now_us() - fleet.heard_us) / 1e6)}: `pganalytics status` says why")
    return tuple(found)


def check_target(fleet: Fleet, wanted: str | None) -> None:
    """Raises SettingsError for a target that nothing came of."""
    if wanted is None or wanted in fleet.targets:
        return
    names = sorted(fleet.targets)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    there = ", ".join(names[:NAMES_SHOWN]) + more
    raise SettingsError(f"--target {printable(wanted)}: no record of it came; there are {there}")


def now_us() -> int:
    """By our own clock."""
    return time.time_ns() // 1000
