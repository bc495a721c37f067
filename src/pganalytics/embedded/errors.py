"""What can go wrong with a server of our own.

EmbeddedError
├── ToolMissing   a program is not on this machine: the user installs it, as the message says
├── FetchFailed   a download broke off: the user looks at the network and tries again
├── PortInUse     the requested port has an owner: the user frees it or asks for another
└── StartFailed   the server did not come up: the message ends with the last lines of its log
"""

from collections.abc import Sequence


class EmbeddedError(Exception):
    """The message is one clear line that says what to do; only StartFailed and FetchFailed add lines of a log."""


class ToolMissing(EmbeddedError):
    """A program that we need is not installed, or is too old."""

    def __init__(self, tool: str, remedy: str) -> None:
        super().__init__(f"{tool} not found: {remedy}")
        self.tool = tool


class FetchFailed(EmbeddedError):
    """A package manager could not fetch what we need."""

    def __init__(self, what: str, why: str, *, log_lines: Sequence[str] = ()) -> None:
        super().__init__("\n  ".join([f"{what} could not be fetched: {why}", *log_lines]))


class PortInUse(EmbeddedError):
    """Somebody listens on the requested port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} of 127.0.0.1 is in use: stop what listens there or ask for another port")
        self.port = port


class StartFailed(EmbeddedError):
    """A server ended, or stayed silent, before it was ready."""

    def __init__(self, name: str, why: str, *, log_lines: Sequence[str] = ()) -> None:
        super().__init__("\n  ".join([f"{name} did not start: {why}", *log_lines]))
        self.log_lines = tuple(log_lines)
