"""The endpoint answers whoever asks well, quickly, whatever others do; and it listens where it is told to."""

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from pganalytics.embedded.ports import free_port
from pganalytics.runtime import endpoint
from pganalytics.runtime.endpoint import MOST_CONNECTIONS, MOST_HEAD_BYTES, Endpoint, Page, listen, serving
from pganalytics.runtime.errors import SettingsError, Unreachable
from pganalytics.runtime.health import Health
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.measurements import build_measurements
from pganalytics.runtime.self_metrics import Service
from pganalytics.runtime.settings import Collect, Settings
from waiting import until

HOST = "127.0.0.1"
WELL = Health(list, list)
BIG = b"x" * (8 << 20)
"""More than the system takes for a client that does not read."""


def broken() -> bytes:
    raise RuntimeError("broken")


PAGES = {"/metrics": Page("text/plain; version=0.0.4", lambda: b"all well\n"), "/broken": Page("text/plain", broken)}
PAGES |= {"/big": Page("text/plain", lambda: BIG)}


@pytest.fixture
def listener() -> socket.socket:
    return listen(HOST, 0, section="sink")


@pytest.fixture
def address(listener: socket.socket) -> tuple[str, int]:
    where: tuple[str, int] = listener.getsockname()
    return where


@pytest.fixture
def serves(listener: socket.socket) -> Iterator[Endpoint]:
    """PAGES are served."""
    lifecycle = Lifecycle()
    made = Endpoint(listener, PAGES)
    lifecycle.spawn("http", lambda: made.run(lambda: lifecycle.stopping))
    yield made
    lifecycle.request_stop("test is over")
    assert lifecycle.join_all(time.monotonic() + 10) == []
    assert lifecycle.failure is None


def ask(address: tuple[str, int], request: bytes) -> bytes:
    """Everything that is answered until the connection ends."""
    with socket.create_connection(address, 10) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(request)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    got = b""
    try:
        while part := client.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    return got


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client has a second."""
    monkeypatch.setattr(endpoint, "REQUEST_S", 1.0)


@pytest.mark.usefixtures("serves")
def test_a_page_is_served_as_http_clients_want_it(address: tuple[str, int]) -> None:
    with urllib.request.urlopen(f"http://{HOST}:{address[1]}/metrics?x=1", timeout=10) as answer:
        assert (answer.status, answer.read()) == (200, b"all well\n")
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4"
        assert answer.headers["Connection"] == "close"


@pytest.mark.usefixtures("serves")
def test_a_large_page_is_served_whole(address: tuple[str, int]) -> None:
    assert ask(address, get("/big")).endswith(b"\r\n\r\n" + BIG)


@pytest.mark.usefixtures("serves")
@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (get("/"), 404),
        (get("/livez"), 404),
        (get("/metrics/"), 404),
        (get("/../metrics"), 404),
        (get("/broken"), 500),
        (b"POST /metrics HTTP/1.0\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\x16\x03\x01 \xff \0\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_everything_else_is_refused(address: tuple[str, int], request_: bytes, wanted: int) -> None:
    answer = ask(address, request_)
    assert status(answer) == wanted
    assert (b"Allow: GET, HEAD" in answer) == (wanted == 405)
    assert status(ask(address, get("/metrics"))) == 200


@pytest.mark.usefixtures("serves")
def test_a_head_without_end_is_refused(address: tuple[str, int]) -> None:
    answer = ask(address, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (2 * MOST_HEAD_BYTES))
    assert answer == b"" or status(answer) == 431


def says_nothing(client: socket.socket) -> None:
    del client


def dribbles(client: socket.socket) -> None:
    """A byte now and then keeps every time-out for a single read from coming."""
    client.settimeout(0.05)
    try:
        while True:
            client.sendall(b"G")
            try:
                if not client.recv(1):
                    return
            except TimeoutError:
                continue
    except OSError:
        return


def does_not_read(client: socket.socket) -> None:
    client.sendall(get("/big"))


def goes_away(client: socket.socket) -> None:
    client.sendall(get("/big"))
    client.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("behave", [says_nothing, dribbles, does_not_read, goes_away])
def test_a_slow_client_keeps_nobody_waiting_and_is_let_go(
    serves: Endpoint, address: tuple[str, int], behave: Callable[[socket.socket], None]
) -> None:
    """Ten of them, and one that asks well meanwhile; afterwards nothing of them is left."""
    clients = [socket.create_connection(address, 10) for _ in range(10)]
    threads = [threading.Thread(target=behave, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        assert status(ask(address, get("/metrics"))) == 200
        until(lambda: serves._open == 0, 20)
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        for client in clients:
            if client.fileno() >= 0:
                client.settimeout(20)
                assert BIG not in read_all(client), "it was let go before it had the whole page"
    finally:
        for client in clients:
            client.close()
    assert status(ask(address, get("/metrics"))) == 200


def test_connections_are_bounded(serves: Endpoint, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes beyond that is sent away at once; there is room again when the others are gone."""
    monkeypatch.setattr(endpoint, "REQUEST_S", 120.0)
    idle = [socket.create_connection(address, 10) for _ in range(2 * MOST_CONNECTIONS)]
    try:
        until(lambda: [is_over(client) for client in idle].count(True) == MOST_CONNECTIONS, 20)
        assert serves._open == MOST_CONNECTIONS
        assert ask(address, get("/metrics")) == b""
    finally:
        for client in idle:
            client.close()
    until(lambda: ask(address, get("/metrics")).startswith(b"HTTP/1.1 200"), 20)


def is_over(client: socket.socket) -> bool:
    """Whether the other side has ended the connection."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.usefixtures("serves")
def test_a_page_that_cannot_be_made_is_told_once(address: tuple[str, int], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert status(ask(address, get("/broken"))) == 500
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == ["page cannot be made"]


@pytest.mark.usefixtures("serves")
def test_a_head_is_the_page_without_its_body(address: tuple[str, int]) -> None:
    head, whole = ask(address, b"HEAD /metrics HTTP/1.1\r\n\r\n"), ask(address, get("/metrics"))
    assert (status(head), head.endswith(b"\r\n\r\n")) == (200, True)
    assert whole == head + b"all well\n"


@pytest.mark.parametrize(
    ("path", "alive", "ready", "wanted"),
    [
        ("/livez", [], ["no broker"], (200, b"ok\n")),
        ("/livez", ["a hangs", "b hangs"], [], (500, b"a hangs\nb hangs\n")),
        ("/readyz", ["a hangs"], [], (200, b"ok\n")),
        ("/readyz", [], ["no broker", "no store"], (503, b"no broker\nno store\n")),
    ],
)
def test_health_is_a_status_and_a_line_for_each_reason(
    path: str, alive: list[str], ready: list[str], wanted: tuple[int, bytes]
) -> None:
    port = free_port()
    with served(section(port), Health(lambda: alive, lambda: ready)) as lifecycle:
        answer = ask((HOST, port), get(path))
        assert (status(answer), answer.partition(b"\r\n\r\n")[2]) == wanted
        assert b"Content-Type: text/plain; charset=utf-8\r\n" in answer
        lifecycle.request_stop("test is over")


def section(port: int, host: str | None = None) -> Collect:
    keys = {"http_port": port} | ({"http_host": host} if host else {})
    return Settings.model_validate({"collect": keys}).collect


@contextmanager
def served(settings: Collect, health: Health = WELL) -> Iterator[Lifecycle]:
    lifecycle = Lifecycle()
    with serving(build_measurements(Service.COLLECT), lifecycle, settings, section="collect", health=health):
        yield lifecycle


@dataclass
class Listening:
    """Notes which sockets listen."""

    sockets: list[socket.socket]

    def listen(self, host: str, port: int, *, section: str) -> socket.socket:
        self.sockets.append(listen(host, port, section=section))
        return self.sockets[-1]


def test_it_listens_on_loopback_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the socket's own word."""
    seen = Listening([])
    monkeypatch.setattr(endpoint, "listen", seen.listen)
    port = free_port()
    with served(section(port)) as lifecycle:
        assert [one.getsockname() for one in seen.sockets] == [("127.0.0.1", port)]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert b"pganalytics_collect_spool_records 0.0\n" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
    assert lifecycle.join_all(time.monotonic()) == [], "the thread ends with the block"
    assert not lifecycle.stopping
    assert seen.sockets[0].fileno() == -1
    for other in (Settings().collect, Settings().streams, Settings().sink):
        assert other.http_host == "127.0.0.1"
    with listen("::1", 0, section="sink") as six:
        assert six.getsockname()[0] == "::1"


def test_port_0_is_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(endpoint, "listen")
    with served(section(0)) as lifecycle:
        assert lifecycle.join_all(time.monotonic()) == []


def test_a_port_that_is_taken_is_named_with_its_key_and_the_cure() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unreachable) as caught, served(section(port)):
            pass
    text = str(caught.value)
    assert f"collect.http_port {port} on 127.0.0.1 is in use" in text
    assert "choose one, or 0 to serve nothing" in text
    assert "\n" not in text


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "999.1.1.1"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(SettingsError, match=r"collect\.http_host '.*choose an address of this machine"), served(section(1, host)):
        pass


def test_a_stop_ends_it_at_once_whoever_is_connected() -> None:
    port = free_port()
    with served(section(port)) as lifecycle, socket.create_connection((HOST, port), 10) as idle:
        assert status(ask((HOST, port), get("/metrics"))) == 200
        lifecycle.request_stop("SIGTERM")
        assert lifecycle.join_all(time.monotonic() + 4) == []
        idle.settimeout(10)
        assert read_all(idle) == b""
        assert lifecycle.failure is None
