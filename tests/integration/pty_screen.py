"""A command on a pseudo-terminal: keys are pressed, and what a terminal of that size would show is read.

Only what our commands need is understood; any other control character or sequence fails the test: who knows what it does.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.cells import cell_len

from waiting import until

SEQUENCE = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])")


@dataclass
class PtyScreen:
    """What is on the screen, cell by cell; a wide character is in the first of its two cells. `written`: all that came, colours
    and all; it is what counts of a command that prints line after line."""

    process: "subprocess.Popen[bytes]"
    master: int
    columns: int
    lines: int
    alternate: bool = False
    hung_up: bool = False
    written: str = ""
    _cells: list[list[str]] = field(default_factory=list)
    _at: tuple[int, int] = (0, 0)
    _begun: str = ""
    _bytes: bytes = b""

    def __post_init__(self) -> None:
        self._cells = [[" "] * self.columns for _ in range(self.lines)]

    def resize(self, columns: int, lines: int) -> None:
        """As when the window is made larger or smaller."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.columns, self.lines = columns, lines
        self.__post_init__()

    def hang_up(self) -> None:
        """As when the window is closed; nothing can be read any more."""
        os.close(self.master)
        self.hung_up = True

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def text(self) -> str:
        """All lines, after what has come since."""
        self._take()
        return "\n".join("".join(row).rstrip() for row in self._cells)

    def shows(self, *words: str, timeout_s: float = 30) -> None:
        """Wait until all of them are there."""
        try:
            until(lambda: all(word in self.text() for word in words), timeout_s)
        except AssertionError:
            raise AssertionError(f"not all of {words} on the screen:\n{self.text()}") from None

    def ended(self, timeout_s: float = 30) -> int:
        """The exit code, when it has ended."""
        until(lambda: (self.text(), self.process.poll())[1] is not None, timeout_s, what="its end")
        return self.process.returncode

    def _take(self) -> None:
        while select.select([self.master], [], [], 0)[0]:
            try:
                got = os.read(self.master, 65536)
            except OSError:  # nobody has the other side open any more
                return
            if not got:
                return
            whole, self._bytes = _whole_characters(self._bytes + got)
            self.written += whole
            self._begun += whole
            self._interpret()

    def _interpret(self) -> None:
        text = self._begun
        while text:
            if text[0] == "\x1b":
                if (found := SEQUENCE.match(text)) is None:
                    assert len(text) < 12, f"a sequence that is not expected: {text[:12]!r}"
                    break
                self._control(found[1], found[2])
                text = text[found.end() :]
            else:
                self._put(text[0])
                text = text[1:]
        self._begun = text

    def _control(self, numbers: str, letter: str) -> None:
        if numbers == "?1049":
            self.alternate = letter == "h"
        elif letter == "H" and numbers == "":
            self._at = (0, 0)
        else:
            assert letter == "m" or numbers == "?25", f"a sequence that is not expected: {numbers}{letter}"

    def _put(self, char: str) -> None:
        row, column = self._at
        if char == "\r":
            self._at = (row, 0)
        elif char == "\n":
            self._at = (min(row + 1, self.lines - 1), column)
        else:
            assert char.isprintable(), f"a control character that is not expected: {char!r}"
            width = cell_len(char)
            if width and self.alternate:
                assert column + width <= self.columns, f"line {row} is wider than the screen:\n{''.join(self._cells[row])}"
                self._cells[row][column : column + width] = [char] + [""] * (width - 1)
            self._at = (row, column + width)


def _whole_characters(data: bytes) -> tuple[str, bytes]:
    for cut in range(4):
        try:
            return data[: len(data) - cut].decode(), data[len(data) - cut :]
        except UnicodeDecodeError:
            continue
    raise AssertionError(f"not UTF-8: {data[-20:]!r}")


@contextmanager
def on_a_terminal(
    words: Sequence[str], *, columns: int = 80, lines: int = 24, more: Mapping[str, str] | None = None
) -> Iterator[PtyScreen]:
    """`pganalytics WORDS` on a pseudo-terminal of its own; it is killed at the end if it still runs. `more`: of environment."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color", "PYTHONUTF8": "1", **(more or {})}
    process = subprocess.Popen(
        [sys.executable, "-m", "pganalytics.cli", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C and a new size become signals
    )
    os.close(slave)
    screen = PtyScreen(process, master, columns, lines)
    try:
        yield screen
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(60)
        if not screen.hung_up:
            os.close(master)
