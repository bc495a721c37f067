"""Whether anybody answers at a target's address, before a worker is spent on it.

A server that is new, or failed last time, may swallow what is sent to it for as long as it is let. A knock asks for one byte
(may I use TLS?), which PostgreSQL and its poolers say before any login, and closes again; PostgreSQL does not log that. All
knocks are under way at once in one thread with an event loop: none waits for another.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pganalytics.producers.failures import failed
from pganalytics.producers.results import Failed
from pganalytics.producers.startup_probe import SSL_REQUEST
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Target

TICK_S = 0.5
MOST_LOOKUPS = 16
"""Threads that ask for addresses; one that the system's resolver holds stays away until it is let go."""
MOST_AT_ONCE = 256
"""Sockets: with more silent targets than this, the last wait for the first."""
Done = Callable[[Failed | None], None]
Address = tuple[socket.AddressFamily, Any]
"""As the system's calls want it."""


class Doors(Protocol):
    """What the scheduler needs to know before it sends a worker."""

    def start(self, lifecycle: Lifecycle) -> None:
        """Before the first knock."""

    def knock(self, target: Target, done: Done) -> None:
        """`done` is called once, from another thread, with what is wrong or None; or never, when the lifecycle stops."""


class Knocks:
    """`start` spawns the thread, which ends with the lifecycle; then any thread may knock."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_once = asyncio.Semaphore(MOST_AT_ONCE)
        self._lookups = asyncio.Semaphore(MOST_LOOKUPS)

    def start(self, lifecycle: Lifecycle) -> None:
        """Before the first knock."""
        self._loop = loop = asyncio.new_event_loop()
        lifecycle.spawn("knocks", lambda: self._run(loop, lifecycle))

    def knock(self, target: Target, done: Done) -> None:
        """As in `Doors`."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._begin, target, done)

    def _run(self, loop: asyncio.AbstractEventLoop, lifecycle: Lifecycle) -> None:
        try:
            loop.run_until_complete(self._serve(lifecycle))
        finally:
            with self._lock:
                self._loop = None
            loop.close()

    async def _serve(self, lifecycle: Lifecycle) -> None:
        """A knock that raises what nobody foresaw ends the process."""
        while not lifecycle.stopping:
            over, self._tasks = {task for task in self._tasks if task.done()}, {task for task in self._tasks if not task.done()}
            for task in over:
                task.result()
            await asyncio.sleep(TICK_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, target: Target, done: Done) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(self._knock(target, done)))

    async def _knock(self, target: Target, done: Done) -> None:
        async with self._at_once:
            done(await self._answer(target))

    async def _answer(self, target: Target) -> Failed | None:
        late, reason = "dns", f"no address of {target.host} within {self._timeout_s:g} s"
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._addresses(target.host, target.port)
                late, reason = "timeout", f"{target.host}:{target.port} says nothing within {self._timeout_s:g} s"
                await _anybody(addresses)
        except TimeoutError:
            kind = late
        except OSError as error:
            reason = str(error)
            kind = "dns" if isinstance(error, socket.gaierror) else "unreachable"
            kind = "refused" if isinstance(error, ConnectionRefusedError) else kind
        else:
            return None
        return failed(kind, reason, of_target=True, host=target.host)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        """The resolver cannot be interrupted: it has a thread of its own, which no end of the process waits for."""
        if host.startswith("/"):
            return [(socket.AF_UNIX, f"{host}/.s.PGSQL.{port}")]
        if (numeric := _numeric(host, port)) is not None:
            return numeric
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Address]] = loop.create_future()

        def settle(result: list[Address] | OSError) -> None:
            self._lookups.release()
            if found.done():
                return
            if isinstance(result, OSError):
                found.set_exception(result)
            else:
                found.set_result(result)

        def ask() -> None:
            result = _look_up(host, port)
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, result)

        await self._lookups.acquire()
        threading.Thread(target=ask, name=f"resolver-{host}", daemon=True).start()
        return await found


def _numeric(host: str, port: int) -> list[Address] | None:
    """Of an address that is no name; None for a name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return [(one[0], one[4]) for one in found]


def _look_up(host: str, port: int) -> list[Address] | OSError:
    try:
        return [(one[0], one[4]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError as error:
        return error
    except UnicodeError as error:
        return socket.gaierror(f"{host} is no name: {error}")


async def _anybody(addresses: Sequence[Address]) -> None:
    """Return when one of the addresses answers; raises OSError when all have failed."""
    tasks = [asyncio.ensure_future(_one_byte(family, address)) for family, address in addresses]
    errors: list[OSError] = []
    try:
        for task in asyncio.as_completed(tasks):
            try:
                return await task
            except OSError as error:
                errors.append(error)
        raise errors[0]
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one_byte(family: socket.AddressFamily, address: Any) -> None:
    """Return when something is said, or the connection is ended: somebody is there."""
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_STREAM) as link:
        link.setblocking(False)  # as the standard library has it
        await loop.sock_connect(link, address)
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(link, struct.pack("!ii", 8, SSL_REQUEST))
            await loop.sock_recv(link, 1)
