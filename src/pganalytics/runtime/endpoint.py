"""The HTTP endpoint of a service: pages that are made when they are asked for.

One thread with an event loop of its own. A connection is for one request, within REQUEST_S and MOST_HEAD_BYTES, whatever its
client does; there are at most MOST_CONNECTIONS. A client that is slow takes nobody's time but its own.
"""

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from pganalytics.runtime.errors import SettingsError, Unreachable
from pganalytics.runtime.health import Health, Said, said
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.measurements import CONTENT_TYPE, Measurements

logger = logging.getLogger(__name__)

REQUEST_S = 5.0
MOST_HEAD_BYTES = 8192
MOST_CONNECTIONS = 32
TICK_S = 0.5
END_S = 2.0
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """What is at a path. `make` runs in the endpoint's thread; bytes are an OK."""

    content_type: str
    make: Callable[[], bytes | Said]


class HttpSettings(Protocol):
    """The keys that each service's section has."""

    @property
    def http_host(self) -> str:
        """Address to listen on."""

    @property
    def http_port(self) -> int:
        """Port; 0 for none."""


@contextmanager
def serving(
    measurements: Measurements, lifecycle: Lifecycle, settings: HttpSettings, *, section: str, health: Health
) -> Iterator[None]:
    """Serve /metrics, /livez, /readyz from a thread of the lifecycle until it stops or the block ends; nothing with port 0.

    Raises SettingsError or Unreachable when nobody can listen there.
    """
    if not settings.http_port:
        yield
        return
    listener = listen(settings.http_host, settings.http_port, section=section)
    over = threading.Event()
    endpoint = Endpoint(listener, {"/metrics": Page(CONTENT_TYPE, measurements.text), **health_pages(health)})
    thread = lifecycle.spawn("http", lambda: endpoint.run(lambda: lifecycle.stopping or over.is_set()))
    try:
        yield
    finally:
        over.set()
        thread.join(END_S)


def health_pages(health: Health) -> dict[str, Page]:
    """/livez: 500 when a new start may help; /readyz: 503 while something that is needed is missing."""
    return {
        "/livez": Page(PLAIN, lambda: said(health.alive(), bad=HTTPStatus.INTERNAL_SERVER_ERROR)),
        "/readyz": Page(PLAIN, lambda: said(health.ready(), bad=HTTPStatus.SERVICE_UNAVAILABLE)),
    }


def listen(host: str, port: int, *, section: str) -> socket.socket:
    """A listening socket; `section` has the keys that the error names. Raises SettingsError, Unreachable."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=MOST_CONNECTIONS)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unreachable(
                f"{section}.http_port {port} on {host} is in use: a second process on one machine needs another port; "
                f"choose one, or 0 to serve nothing"
            ) from error
        raise SettingsError(
            f"{section}.http_host {host!r}, http_port {port}: cannot be listened on: {error.strerror}; "
            f"choose an address of this machine and a port that its user may take, or port 0 to serve nothing"
        ) from error


class Endpoint:
    """Answers at a listening socket, which it closes at its end."""

    def __init__(self, listener: socket.socket, pages: Mapping[str, Page]) -> None:
        self._listener = listener
        self._pages = pages
        self._open = 0
        self._news = OnChange()

    def run(self, ended: Callable[[], bool]) -> None:
        """The body of its thread; what is being answered when it ends is dropped."""
        asyncio.run(self._serve(ended))

    async def _serve(self, ended: Callable[[], bool]) -> None:
        server = await asyncio.start_server(self._meet, sock=self._listener, limit=MOST_HEAD_BYTES)
        host, port = self._listener.getsockname()[:2]
        logger.info("serving", extra={"host": host, "port": port, "paths": ",".join(self._pages)})
        try:
            while not ended():
                await asyncio.sleep(TICK_S)
        finally:
            server.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_S):
                await self._converse(reader, writer)
        except (OSError, TimeoutError, EOFError) as error:
            logger.debug("no answer", extra={"reason": repr(error)})
        finally:
            writer.transport.abort()  # what was answered is with the system already
            self._open -= 1

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, and hand the whole answer to the system."""
        writer.transport.set_write_buffer_limits(0)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            writer.write(_answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        else:
            writer.write(self._respond(head.split(b"\r\n", 1)[0].decode("latin-1")))
        await writer.drain()

    def _respond(self, request: str) -> bytes:
        words = request.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _answer(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        path = target.partition("?")[0]
        if path not in self._pages:
            return _answer(HTTPStatus.NOT_FOUND)
        if method not in ("GET", "HEAD"):
            return _answer(HTTPStatus.METHOD_NOT_ALLOWED, allow="GET, HEAD")
        answer = self._page(path)
        return answer if method == "GET" else answer[: answer.index(b"\r\n\r\n") + 4]

    def _page(self, path: str) -> bytes:
        page = self._pages[path]
        try:
            made = page.make()
        except Exception as error:  # whoever only asks must not end a service
            if self._news.is_news(path, repr(error)):
                logger.exception("page cannot be made", extra={"path": path, "error": repr(error)})
            return _answer(HTTPStatus.INTERNAL_SERVER_ERROR)
        if self._news.is_news(path, ""):
            logger.info("page can be made again", extra={"path": path})
        answer = made if isinstance(made, Said) else Said(HTTPStatus.OK, made)
        return _answer(answer.status, answer.body, content_type=page.content_type)


def _answer(status: HTTPStatus, body: bytes | None = None, *, content_type: str = PLAIN, allow: str = "") -> bytes:
    body = f"{status.phrase}\n".encode() if body is None else body
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"Allow: {allow}"] if allow else []
    lines += ["Cache-Control: no-store", "X-Content-Type-Options: nosniff", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
