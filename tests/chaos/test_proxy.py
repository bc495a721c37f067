"""The proxy does to connections what the chaos runs believe that it does. The far end is a server that answers in capitals."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from chaos.proxy import BOTH, Proxy, Way, Weather
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.kafka_files import Listener
from pganalytics.embedded.ports import HOST, free_port
from waiting import until


class Shouter(socketserver.ThreadingTCPServer):
    """Remembers what it heard."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        super().__init__((HOST, 0), Shout)


class Shout(socketserver.BaseRequestHandler):
    server: Shouter

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            while data := self.request.recv(4096):
                self.server.heard.append(data)
                self.request.sendall(data.upper())


@pytest.fixture
def shouter() -> Iterator[Shouter]:
    with Shouter() as server:
        threading.Thread(target=server.serve_forever, name="shouter", daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(shouter: Shouter) -> Iterator[Proxy]:
    with Proxy(shouter.server_address[1]) as made:
        yield made


def client(proxy: Proxy, timeout_s: float = 10) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=timeout_s)


def ask(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(4096)


def test_it_forwards_both_ways_and_counts(proxy: Proxy) -> None:
    with client(proxy) as one, client(proxy) as two:
        assert (ask(one, b"one"), ask(two, b"two!")) == (b"ONE", b"TWO!")
        assert proxy.connections == 2
        until(lambda: proxy.carried == {Way.REQUEST: 7, Way.ANSWER: 7})
    until(lambda: proxy.connections == 0)


def test_a_cut_resets_what_is_open_and_lets_new_ones_in(proxy: Proxy) -> None:
    with client(proxy) as old:
        ask(old, b"x")
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    with client(proxy) as new:
        assert ask(new, b"y") == b"Y"


def test_who_refuses_is_not_there_until_it_is_clear_again(proxy: Proxy) -> None:
    with client(proxy) as old:
        ask(old, b"x")
        proxy.become(Weather(refuses=True))
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    with pytest.raises(ConnectionRefusedError):
        client(proxy)
    proxy.clear()
    with client(proxy) as new:
        assert ask(new, b"y") == b"Y"


@pytest.mark.parametrize("frozen", [BOTH, frozenset({Way.REQUEST}), frozenset({Way.ANSWER})], ids=["both", "request", "answer"])
def test_what_is_frozen_comes_late_and_whole(proxy: Proxy, shouter: Shouter, frozen: frozenset[Way]) -> None:
    with client(proxy) as old:
        ask(old, b"x")
        proxy.become(Weather(frozen=frozen))
        with client(proxy) as new:
            for one in (old, new):
                one.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    ask(one, b"late")
                one.settimeout(10)
            assert (b"late" in shouter.heard) == (Way.REQUEST not in frozen)
            proxy.clear()
            assert (old.recv(9), new.recv(9)) == (b"LATE", b"LATE")


@pytest.mark.parametrize("way", list(Way))
def test_a_loss_takes_the_connection_with_it_before_or_after_the_far_end_has_heard(
    proxy: Proxy, shouter: Shouter, way: Way
) -> None:
    """Losing the answer is the cut between what was done and its acknowledgement."""
    with client(proxy) as one:
        ask(one, b"first")
        proxy.become(Weather(loses=frozenset({way})))
        with pytest.raises(ConnectionResetError):
            assert not ask(one, b"second")
    assert (b"second" in shouter.heard) == (way is Way.ANSWER)


def test_a_delay_holds_bytes_back(proxy: Proxy) -> None:
    proxy.become(Weather(delay_s={Way.ANSWER: 30}))
    with client(proxy, timeout_s=0.5) as one, pytest.raises(TimeoutError):
        ask(one, b"slow")


def test_clients_of_a_further_listener_stay_on_its_proxy(tmp_path: Path) -> None:
    """Kafka tells clients where to go: those that come through the proxy are told its port, all others the broker's."""
    inner = free_port()
    with Proxy(inner) as proxy, KafkaBroker.start(tmp_path, listeners=[Listener("AGENT", inner, proxy.port)]) as broker:
        for port in (broker.port, proxy.port):
            found = AdminClient({"bootstrap.servers": f"{HOST}:{port}"}).list_topics(timeout=20).brokers
            assert [one.port for one in found.values()] == [port]


def test_a_deaf_machine_answers_nobody_and_comes_back(proxy: Proxy) -> None:
    with client(proxy, timeout_s=0.5) as connection:
        assert ask(connection, b"a") == b"A"
        proxy.become(Weather(deaf=True))
        with pytest.raises(TimeoutError):
            ask(connection, b"b")
        with pytest.raises(TimeoutError):
            client(proxy, timeout_s=0.5)
        proxy.clear()
        assert connection.recv(10) == b"B"
        with client(proxy) as other:
            assert ask(other, b"c") == b"C"


def test_silent_after_so_many_queries_of_each_connection(proxy: Proxy) -> None:
    proxy.become(Weather(queries=1))
    with client(proxy, timeout_s=0.5) as connection, client(proxy, timeout_s=0.5) as other:
        assert ask(connection, b"startup") == b"STARTUP"
        assert ask(connection, b"Query") == b"QUERY"
        with pytest.raises(TimeoutError):
            ask(connection, b"Query")
        assert ask(other, b"Query") == b"QUERY"


def test_answers_trickle(proxy: Proxy) -> None:
    proxy.become(Weather(trickles=True))
    with client(proxy) as connection:
        assert ask(connection, b"abcdefgh") == b"A"
        proxy.clear()
        until(lambda: connection.recv(10).endswith(b"H"))
