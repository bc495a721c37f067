"""Whether anybody answers at an address; who does not holds up nobody else."""

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chaos.proxy import deaf_sockets
from pganalytics.embedded.ports import free_port
from pganalytics.producers.knocks import MOST_LOOKUPS, Knocks
from pganalytics.producers.results import Failed
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Target

TIMEOUT_S = 1.0
HOST = "127.0.0.1"


class Bell:
    """Knocks, and collects what comes of it."""

    def __init__(self, timeout_s: float) -> None:
        self.lifecycle = Lifecycle()
        self.heard: queue.Queue[tuple[str, Failed | None]] = queue.Queue()
        self.knocks = Knocks(timeout_s)
        self.knocks.start(self.lifecycle)

    def knock(self, host: str, port: int, name: str = "one") -> None:
        target = Target.model_validate({"host": host, "port": port})
        self.knocks.knock(target, lambda wrong: self.heard.put((name, wrong)))

    def asked(self, host: str, port: int) -> str:
        """The kind of what is wrong; empty when somebody answers."""
        self.knock(host, port)
        _, wrong = self.heard.get(timeout=30)
        assert wrong is None or (wrong.of_target and wrong.reason and wrong.cure)
        return "" if wrong is None else wrong.kind

    def stop(self) -> None:
        self.lifecycle.request_stop("done")
        assert self.lifecycle.join_all(time.monotonic() + 10) == []
        assert self.lifecycle.failure is None


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell(TIMEOUT_S)
    yield made
    made.stop()


@pytest.fixture
def silent() -> Iterator[int]:
    """The kernel accepts, nobody reads."""
    with socket.create_server((HOST, 0), backlog=500) as listener:
        yield listener.getsockname()[1]


def answering(stack: ExitStack, answer: bytes, family: socket.AddressFamily = socket.AF_INET, address: Any = (HOST, 0)) -> int:
    """A server that says this to whoever asks, then hangs up; its port."""
    listener = stack.enter_context(socket.socket(family))
    listener.bind(address)
    listener.listen()
    listener.settimeout(30)

    def serve() -> None:
        with listener.accept()[0] as link:
            assert link.recv(100) == b"\0\0\0\x08\x04\xd2\x16\x2f"
            link.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    stack.callback(thread.join, 5)
    return int(listener.getsockname()[1]) if family is socket.AF_INET else 0


@pytest.mark.parametrize("answer", [b"N", b"S", b"E", b""])
def test_whatever_is_said_somebody_is_there(bell: Bell, answer: bytes) -> None:
    """Also who hangs up: a worker finds out what is wrong, and that takes no time."""
    with ExitStack() as stack:
        assert bell.asked(HOST, answering(stack, answer)) == ""


def test_a_folder_of_unix_sockets(bell: Bell, tmp_path: Path) -> None:
    with ExitStack() as stack:
        answering(stack, b"N", socket.AF_UNIX, str(tmp_path / ".s.PGSQL.5432"))
        assert bell.asked(str(tmp_path), 5432) == ""
    assert bell.asked(str(tmp_path / "absent"), 5432) == "unreachable"


def test_what_is_wrong_has_a_name(bell: Bell, silent: int) -> None:
    port = free_port()
    with ExitStack() as stack:
        for part in deaf_sockets(port):
            stack.enter_context(part)
        assert bell.asked(HOST, port) == "timeout"
    assert bell.asked(HOST, silent) == "timeout"
    assert bell.asked(HOST, free_port()) == "refused"
    assert bell.asked("nowhere.invalid", 5432) == "dns"


def test_two_hundred_that_say_nothing_delay_nobody(silent: int) -> None:
    bell = Bell(60)
    for number in range(200):
        bell.knock(HOST, silent, f"silent{number}")
    with ExitStack() as stack:
        bell.knock(HOST, answering(stack, b"N"), "well")
        assert bell.heard.get(timeout=30) == ("well", None)
    bell.stop()


def test_a_resolver_that_hangs_delays_no_address_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """More names than there are threads for: those that find none are told from silent servers."""
    hold, look_up = threading.Event(), socket.getaddrinfo

    def held(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "slow.example" and "flags" not in kwargs:
            hold.wait(60)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", held)
    bell = Bell(TIMEOUT_S)
    with ExitStack() as stack:
        port = answering(stack, b"N")
        for number in range(MOST_LOOKUPS + 1):
            bell.knock("slow.example", 5432, f"slow{number}")
        bell.knock(HOST, port, "well")
        assert bell.heard.get(timeout=30) == ("well", None)
    kinds = [bell.heard.get(timeout=30)[1] for _ in range(MOST_LOOKUPS + 1)]
    assert {wrong.kind for wrong in kinds if wrong is not None} == {"dns"}
    bell.knock("slow.example", 5432)
    bell.stop()
    hold.set()


def test_one_address_of_several_is_enough(bell: Bell, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq tries one after the other; whether the first is dead is found out beside the others."""
    with ExitStack() as stack:
        found = [(socket.AF_INET, 0, 0, "", (HOST, port)) for port in (silent, free_port(), answering(stack, b"N"))]

        def look_up(*_: object, **more: object) -> list[Any]:
            if "flags" in more:
                raise socket.gaierror
            return found

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert bell.asked("several.example", 5432) == ""


def test_control_one_after_the_other_would_wait(bell: Bell, silent: int) -> None:
    """What a knock takes at an address that says nothing: the whole time that it is given."""
    began = time.monotonic()
    assert bell.asked(HOST, silent) == "timeout"
    assert time.monotonic() - began >= TIMEOUT_S
