"""A pooler between clients and a server, as far as a client notices one: PgBouncer's session and transaction mode. For tests.

Like PgBouncer it answers the startup packet itself, drops `options` without a word and names a process of its own. In transaction
mode it lends a server connection from one transaction to its end, each transaction the next of the two that it has; in session
mode for as long as the client stays, and resets it then. Where a transaction ends is told by ReadyForQuery, once so many came
as were asked for. Nothing else is understood; whoever comes is let in.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn

from pganalytics.embedded.accounts import scratch_folder, server_account
from pganalytics.embedded.leash import Child
from pganalytics.embedded.machine import Machine
from pganalytics.embedded.ports import HOST, free_port, is_listening
from pganalytics.embedded.postgres import PostgresServer
from waiting import until

PROTOCOL_3 = 196608
SSL_REQUEST = 80877103
PARAMETERS = ("server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "integer_datetimes")
CONNECTIONS = 2
ASKS_FOR_READY = b"QSF"
"""Query, Sync and FunctionCall are each answered by one ReadyForQuery."""
WAIT_S = 20.0


@dataclass
class ServerConnection:
    """A socket to the server after its login; libpq made it and touches it no more."""

    libpq: PGconn
    link: socket.socket
    parameters: dict[str, str]


@dataclass
class Pool:
    """The connections to one database as one user, lent in turns."""

    connect: Callable[[], ServerConnection]
    idle: list[ServerConnection] = field(default_factory=list)
    made: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self) -> ServerConnection:
        with self.changed:
            if self.made < CONNECTIONS:
                self.made += 1
                return self.connect()
            assert self.changed.wait_for(lambda: self.idle, WAIT_S), "no server connection came back"
            return self.idle.pop(0)

    def give_back(self, connection: ServerConnection) -> None:
        with self.changed:
            self.idle.append(connection)
            self.changed.notify()


class Pooler:
    """Listens on `port` until the `with` block ends."""

    def __init__(
        self, conninfo: Callable[[str, str], str], *, by_transaction: bool, hides: bool = False, refuses: bytes = b""
    ) -> None:
        """`conninfo`: of the server, for a database and a user. `hides`: names the server's process, as no pooler does.
        `refuses`: a startup parameter, or what a message may not contain; BEGIN makes statement pooling of it.
        """
        self._conninfo = conninfo
        self._by_transaction = by_transaction
        self._hides = hides
        self._refuses = refuses
        self._pools: dict[tuple[str, str], Pool] = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server((HOST, 0))
        self._ended = threading.Event()
        self._clients: list[tuple[socket.socket, threading.Thread]] = []
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._listener.close()
        for client, thread in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            thread.join(WAIT_S)
        for pool in self._pools.values():
            for connection in pool.idle:
                connection.link.close()
                connection.libpq.finish()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._clients.append((client, thread))
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(ConnectionError, OSError):
            if (who := _startup(client, self._refuses)) is None:
                return
            with self._lock:
                pool = self._pools.setdefault(who, Pool(lambda: self._connect(*who)))
            first = pool.take()
            pid = first.libpq.backend_pid if self._hides else struct.unpack("!i", os.urandom(4))[0]
            client.sendall(_welcome(first.parameters, pid))
            if self._by_transaction:
                pool.give_back(first)
                _serve_transactions(client, pool, self._refuses)
            else:
                _serve_session(client, pool, first)

    def _connect(self, dbname: str, user: str) -> ServerConnection:
        with contextlib.closing(psycopg.connect(self._conninfo(dbname, user), autocommit=True)) as probe:
            parameters = {name: probe.info.parameter_status(name) or "" for name in PARAMETERS}
        libpq = pq.PGconn.connect(f"{self._conninfo(dbname, user)} sslmode=disable gssencmode=disable".encode())
        assert libpq.status == pq.ConnStatus.OK, libpq.error_message
        link = socket.socket(fileno=os.dup(libpq.socket))
        link.setblocking(True)
        return ServerConnection(libpq, link, parameters)


def _startup(client: socket.socket, refuses: bytes) -> tuple[str, str] | None:
    """Database and user; None for a client that wants something else, or what is refused."""
    while True:
        size, code = struct.unpack("!ii", _exactly(client, 8))
        if code == SSL_REQUEST:
            client.sendall(b"N")
            continue
        if code != PROTOCOL_3:
            return None
        words = _exactly(client, size - 8).split(b"\0")
        if refuses and refuses in words:
            client.sendall(_refusal())
            return None
        wanted = dict(zip(words[::2], words[1::2], strict=False))
        return wanted[b"database"].decode(), wanted[b"user"].decode()


def _welcome(parameters: dict[str, str], pid: int) -> bytes:
    said = b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in parameters.items())
    return (
        _message(b"R", struct.pack("!i", 0))
        + said
        + _message(b"K", struct.pack("!i", pid) + os.urandom(4))
        + _message(b"Z", b"I")
    )


def _refusal() -> bytes:
    """As PgBouncer says it: a protocol violation, which ends the connection."""
    return _message(b"E", b"SFATAL\0VFATAL\0C08P01\0Mrefused\0\0")


def _serve_session(client: socket.socket, pool: Pool, connection: ServerConnection) -> None:
    try:
        while _relay(client, connection.link):
            pass
    finally:
        connection.link.sendall(_message(b"Q", b"ABORT\0") + _message(b"Q", b"DISCARD ALL\0"))
        _until_ready(connection.link, 2)
        pool.give_back(connection)


def _serve_transactions(client: socket.socket, pool: Pool, refuses: bytes) -> None:
    while select.select([client], [], [], None)[0] and client.recv(1, socket.MSG_PEEK):
        connection = pool.take()
        try:
            open_ = _relay(client, connection.link, refuses)
        finally:
            pool.give_back(connection)
        if not open_:
            return


def _relay(client: socket.socket, server: socket.socket, refuses: bytes = b"") -> bool:
    """Carry messages until a transaction has ended; False when the client has gone. Answers are carried as they come, in large
    pieces: thousands of rows one by one would take seconds."""
    awaited, answer = 0, b""
    while True:
        for ready in select.select([client, server], [], [], None)[0]:
            if ready is client:
                kind, whole = _receive(client)
                if kind in (b"X", b""):
                    if awaited:
                        _until_ready(server, awaited)
                    return False
                if refuses and refuses in whole:
                    client.sendall(_refusal())
                    return False
                awaited += kind in ASKS_FOR_READY
                server.sendall(whole)
                continue
            if not (piece := server.recv(1 << 16)):
                raise ConnectionError("the server has gone")
            client.sendall(piece)
            states, answer = _states(answer + piece)
            awaited -= len(states)
            if states and not awaited and states[-1] == b"I":
                return True


def _states(answer: bytes) -> tuple[list[bytes], bytes]:
    """What each ReadyForQuery says, and the message at the end that is not whole yet."""
    states, at = [], 0
    while at + 5 <= len(answer) and at + 1 + (size := struct.unpack_from("!i", answer, at + 1)[0]) <= len(answer):
        if answer[at : at + 1] == b"Z":
            states.append(answer[at + 5 : at + 6])
        at += 1 + size
    return states, answer[at:]


def _until_ready(server: socket.socket, times: int) -> None:
    while times:
        times -= _receive(server)[0] == b"Z"


def _receive(link: socket.socket) -> tuple[bytes, bytes]:
    """(kind, the whole message); empty when the other side has gone."""
    if not (kind := link.recv(1)):
        return b"", b""
    head = _exactly(link, 4)
    return kind, kind + head + _exactly(link, struct.unpack("!i", head)[0] - 4)


def _exactly(link: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        if not (more := link.recv(size - len(got))):
            raise ConnectionError("the other side has gone")
        got += more
    return got


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


@contextlib.contextmanager
def pgbouncer(
    program: Path, server: PostgresServer, passwords: Mapping[str, str], *, mode: str, ignores: str = "options"
) -> Iterator[int]:
    """The port of a real one; it lets in who knows the passwords."""
    account = server_account()
    folder = scratch_folder(account, "pganalytics-bouncer-", machine=Machine.here())
    port = free_port()
    settings = {
        "listen_addr": HOST,
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users",
        "pool_mode": mode,
        "ignore_startup_parameters": ignores,
        "default_pool_size": CONNECTIONS,
    }
    text = f"[databases]\n* = host={server.host} port={server.port}\n[pgbouncer]\n"
    (folder / "settings").write_text(text + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    (folder / "users").write_text("".join(f'"{user}" "{password}"\n' for user, password in passwords.items()))
    account.give(folder, folder / "settings", folder / "users")
    child = Child.start(
        [program, folder / "settings"],
        cwd=folder,
        stdout=folder / "log",
        user=account.run_as,
        stop_signal=signal.SIGINT,
        remove=folder,
    )
    try:
        until(lambda: is_listening(port))
        yield port
    finally:
        child.kill()
        shutil.rmtree(folder, ignore_errors=True)
