"""A TCP proxy of ours between two parts, on 127.0.0.1: it cuts, refuses, freezes, delays, and loses what was said last.

`Proxy` may be used from any thread; its connections live in an event loop in a thread of its own. What changes, changes for
connections that are open and for those to come.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypeVar

from pganalytics.embedded.ports import HOST, free_port

T = TypeVar("T")
CHUNK = 65536
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing resets the connection, and whatever is under way is gone."""
CALL_TIMEOUT_S = 10.0


class Way(StrEnum):
    """A direction, named for what goes there."""

    REQUEST = "request"
    ANSWER = "answer"


BOTH = frozenset(Way)


@dataclass(frozen=True)
class Weather:
    """What happens to bytes. `frozen`: ways on which nothing moves (with both, connections are accepted in silence);
    `loses`: ways whose next bytes vanish, and the connection with them; `delay_s`: how much later bytes come; `refuses`: nobody
    listens; `deaf`: as if the machine were gone: nothing moves, and nobody answers who wants to connect; `queries`: after so many
    queries (of PostgreSQL's protocol) of a connection nothing moves on it; `trickles`: answers come at one byte per second."""

    frozen: frozenset[Way] = frozenset()
    loses: frozenset[Way] = frozenset()
    delay_s: dict[Way, float] = field(default_factory=dict)
    refuses: bool = False
    deaf: bool = False
    queries: int | None = None
    trickles: bool = False


FAIR = Weather()


class Proxy:
    """Forwards `port` to `target_port`."""

    def __init__(self, target_port: int, port: int | None = None) -> None:
        self.port = port or free_port()
        self.carried = dict.fromkeys(Way, 0)
        self._target_port = target_port
        self._weather = FAIR
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._deaf: list[socket.socket] = []
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._pairs)

    def cut(self) -> int:
        """Reset every connection now; how many there were."""
        return self._call(self._cut())

    def become(self, weather: Weather) -> None:
        """Change what happens to bytes, until the next change."""
        self._call(self._become(weather))

    def clear(self) -> None:
        """Forward everything again; what was frozen goes on."""
        self.become(FAIR)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, HOST, self.port, reuse_address=True)

    async def _close_server(self) -> None:
        while self._deaf:
            self._deaf.pop().close()
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _shut(self) -> None:
        await self._close_server()
        await self._cut()
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    async def _become(self, weather: Weather) -> None:
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()
        if weather.refuses:
            await self._close_server()
            await self._cut()
        elif weather.deaf:
            await self._close_server()
            self._deaf = deaf_sockets(self.port)
        elif self._server is None:
            await self._close_server()
            await self._listen()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            await self._until(lambda: self._weather.frozen != BOTH and not self._weather.deaf)
            far_reader, pair.far = await asyncio.open_connection(HOST, self._target_port)
            ways = self._pump(pair, Way.REQUEST, reader, pair.far), self._pump(pair, Way.ANSWER, far_reader, writer)
            await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when=asyncio.ALL_COMPLETED)
        except OSError:
            pair.reset()
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _pump(self, pair: "_Pair", way: Way, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                await asyncio.sleep(self._weather.delay_s.get(way, 0))
                pair.queries += way is Way.REQUEST and data[:1] in (b"Q", b"P")
                await self._until(lambda: self._moves(way, pair))
                if way in self._weather.loses:
                    pair.reset()
                    return
                if way is Way.ANSWER:
                    data = await self._trickle(data, sink)
                sink.write(data)
                await sink.drain()
                self.carried[way] += len(data)
        pair.close()

    def _moves(self, way: Way, pair: "_Pair") -> bool:
        weather = self._weather
        return way not in weather.frozen and not weather.deaf and (weather.queries is None or pair.queries <= weather.queries)

    async def _trickle(self, data: bytes, sink: asyncio.StreamWriter) -> bytes:
        """A byte per second while the weather is so; what is left of them."""
        while data and self._weather.trickles and not sink.is_closing():
            sink.write(data[:1])
            data = data[1:]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 1.0)
        return data

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()


def deaf_sockets(port: int) -> list[socket.socket]:
    """A listener at a port whose queue is full, and who fills it: further attempts to connect get no answer at all."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen(0)
    waiting = [listener]
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((HOST, listener.getsockname()[1]))
        waiting.append(one)
    return waiting


class _Pair:
    """Both ends of a connection."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.near = near
        self.queries = 0
        self.far: asyncio.StreamWriter | None = None

    def close(self) -> None:
        """In good order: what is written is still sent."""
        for end in (self.near, self.far):
            if end is not None:
                end.close()

    def reset(self) -> None:
        """At once, with a reset to both sides."""
        for end in (self.near, self.far):
            if end is not None and not end.transport.is_closing():
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.transport.abort()
