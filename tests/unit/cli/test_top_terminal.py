"""The terminal of `top`, on a pseudo-terminal of this process: signals come when it is least convenient."""

import os
import pty
import select
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pganalytics.cli.top.terminal import SIGNALS, Terminal

TAKEN, GIVEN_BACK = "\x1b[?1049h", "\x1b[?1049l"


@contextmanager
def pseudo_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other side of what is our standard input and output meanwhile. No fixture: pytest sets sys.stdout before each test."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r", closefd=False) as reads, os.fdopen(theirs, "w") as writes, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", reads)
        patch.setattr(sys, "stdout", writes)
        patch.setenv("TERM", "xterm-256color")
        yield ours
    os.close(ours)


def came(master: int) -> str:
    """All that was written so far."""
    text = ""
    while select.select([master], [], [], 0)[0]:
        text += os.read(master, 65536).decode()
    return text


def signal_within(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: int) -> None:
    """The first call of a method of rich is disturbed at its beginning."""
    method, left = getattr(owner, name), [number]

    def disturbed(self: Any, *args: Any) -> Any:
        if left:
            os.kill(os.getpid(), left.pop())
        return method(self, *args)

    monkeypatch.setattr(owner, name, disturbed)


ENDS = [(signal.SIGINT, KeyboardInterrupt, ()), (signal.SIGTERM, SystemExit, (143,)), (signal.SIGHUP, SystemExit, (129,))]


MIDDLES = [(Console, "set_alt_screen"), (Console, "push_render_hook"), (Live, "process_renderables")]
"""While it is taken, while it is taken or given back, while it is drawn."""


@pytest.mark.parametrize(("number", "kind", "args"), ENDS)
@pytest.mark.parametrize(("owner", "name"), MIDDLES)
def test_a_signal_in_the_middle_ends_it_and_the_terminal_is_given_back(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: int, kind: type[BaseException], args: tuple[int, ...]
) -> None:
    handlers = [signal.getsignal(one) for one in SIGNALS]
    with pseudo_terminal(monkeypatch) as master:
        before = termios.tcgetattr(sys.stdin.fileno())
        signal_within(monkeypatch, owner, name, number)
        with pytest.raises(kind) as raised, Terminal() as terminal:
            terminal.show([Text("a picture")])
        text = came(master)
        assert text.count(TAKEN) == text.count(GIVEN_BACK) == 1
        assert termios.tcgetattr(sys.stdin.fileno()) == before
    assert raised.value.args == args
    assert [signal.getsignal(one) for one in SIGNALS] == handlers


@pytest.mark.parametrize(("owner", "name"), MIDDLES)
def test_put_to_sleep_in_the_middle_the_screen_is_given_back_first_and_taken_again(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    """The stop itself is left out: the test would stop with it."""
    asleep: list[bool] = []
    kill = os.kill
    with pseudo_terminal(monkeypatch) as master:
        before = termios.tcgetattr(sys.stdin.fileno())

        def stopped(pid: int, number: int) -> None:
            if number == signal.SIGSTOP:
                text = came(master)
                asleep.append(
                    text.count(TAKEN) == text.count(GIVEN_BACK) == 1 and termios.tcgetattr(sys.stdin.fileno()) == before
                )
            else:
                kill(pid, number)

        monkeypatch.setattr(os, "kill", stopped)
        signal_within(monkeypatch, owner, name, signal.SIGTSTP)
        with Terminal() as terminal:
            terminal.show([Text("a picture")])
            terminal.show([Text("another")])
            text = came(master)
            assert "another" in text
            assert text.count(TAKEN) == 1
        assert came(master).count(GIVEN_BACK) == 1
    assert asleep == [True]


def test_control_when_signals_do_not_wait_the_middle_of_the_taking_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "_signals_wait", lambda _: nullcontext())
    with pseudo_terminal(monkeypatch):
        signal_within(monkeypatch, Console, "push_render_hook", signal.SIGTERM)
        with pytest.raises(IndexError), Terminal():
            pass
