"""The terminal while `top` runs: keys one by one, and the screen as a whole. It is given back as it was, however `top` ends."""

import codecs
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pganalytics.cli.top.keyboard import keys
from pganalytics.runtime.errors import SettingsError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
ESCAPE_S = 0.05
"""So long the rest of a sequence may take; after that it was the key Esc."""


class Terminal:
    """For the main thread; raises SettingsError. SIGTERM and SIGHUP end it as Ctrl-C does; Ctrl-Z gives the screen back.

    A signal that comes while the screen is taken, drawn or given back acts when that is done: Live can be stopped when it has
    started, not when it has half started.
    """

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        if self._console.is_dumb_terminal:
            raise SettingsError("top needs a terminal that it can draw on, not TERM=dumb: use --once")
        self._input = sys.stdin.fileno()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""
        self._stack = ExitStack()
        self._live: Live | None = None
        self._undisturbed = False
        self._came: list[int] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for number in SIGNALS:
                stack.callback(signal.signal, number, signal.signal(number, self._note))
            self._saved: list[Any] = termios.tcgetattr(self._input)
            stack.callback(self._leave)
            self._take()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._signals_wait():
            self._stack.close()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        return self._console.width, self._console.height

    def show(self, lines: Sequence[Text]) -> None:
        """The whole screen."""
        with self._signals_wait():
            if self._live is not None:
                self._live.update(Group(*lines), refresh=True)

    def keys(self) -> list[str]:
        """Those that were pressed since; does not wait, but for the rest of a sequence."""
        text = self._begun + self._typed(0)
        found, rest = keys(text)
        if rest and not (more := self._typed(ESCAPE_S)):
            return [*found, "escape"] if rest == "\x1b" else found
        if rest:
            again, self._begun = keys(rest + more)
            return found + again
        self._begun = ""
        return found

    def _typed(self, timeout_s: float) -> str:
        if not select.select([self._input], [], [], timeout_s)[0]:
            return ""
        try:
            typed = os.read(self._input, 4096)
        except OSError:
            typed = b""
        if not typed:  # the other side has hung up
            raise SystemExit(128 + signal.SIGHUP)
        return self._decoder.decode(typed)

    def _take(self) -> None:
        with self._signals_wait():
            tty.setcbreak(self._input)
            self._live = Live(
                console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()

    def _leave(self) -> None:
        with self._signals_wait(), suppress(OSError, termios.error):  # the terminal may be gone
            live, self._live = self._live, None
            if live is not None:
                live.stop()
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._saved)

    def _sleep(self) -> None:
        with self._signals_wait():
            self._leave()
            os.kill(os.getpid(), signal.SIGSTOP)
            self._take()  # SIGCONT was sent

    @contextmanager
    def _signals_wait(self) -> Iterator[None]:
        """Within another one it does nothing: the outer one is awaited."""
        if self._undisturbed:
            yield
            return
        self._undisturbed = True
        try:
            yield
        finally:
            self._undisturbed = False
        while self._came:
            self._act(self._came.pop(0))

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self._undisturbed:
            self._act(number)
        elif number not in self._came:
            self._came.append(number)

    def _act(self, number: int) -> None:
        if number == signal.SIGTSTP:
            self._sleep()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)
