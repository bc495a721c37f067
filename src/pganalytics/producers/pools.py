"""Connections: one psycopg_pool per (target, database), opened lazily, under one agent-wide budget.

A pool makes its connections in a thread of its own and would try again by itself for minutes; here each job makes at most one
attempt and gets that attempt's error, so a wrong password is tried once per reading and the back-off is ours (`Door`).
Over the budget the pool that was used longest ago and is idle is closed whole; where there is none the job waits.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from pganalytics.producers.door import Door
from pganalytics.producers.heartbeat import PoolNumbers
from pganalytics.producers.session import DeadlinePassed, Session, Stopping
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.settings import Target

logger = logging.getLogger(__name__)

SLICE_S = 0.05
MARGIN_S = 1.0
PoolKey = tuple[str, str]


class BudgetExhausted(Exception):
    """No connection may be opened, and none was given back in time."""


class CannotConnect(Exception):
    """The attempt failed; `cause` is the driver's or the settings' error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(slots=True)
class _Held:
    pool: ConnectionPool[Session]
    door: Door
    target: Target
    leased: int = 0
    closing: int = 0
    heavy: bool = False
    used_at: float = 0.0

    @property
    def cost(self) -> int:
        """Connections that exist or may be opened for what is leased."""
        return max(int(self.pool.get_stats().get("pool_size", 0)), self.leased)


@dataclass(slots=True)
class Pools:
    """Any thread may lease. `stop_at` tells when waiting queries are given up (time.monotonic seconds)."""

    budget: int
    connect_timeout_s: float
    stop_at: Callable[[], float]
    _held: dict[PoolKey, _Held] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    """How many of the held pools are a collector's."""
    _given_up: dict[str, float] = field(default_factory=dict)
    _waiting: dict[str, int] = field(default_factory=dict)
    _closing: int = 0
    _leaving: list[Door] = field(default_factory=list)
    _news: OnChange = field(default_factory=OnChange)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def lease(self, collector: str, target: Target, dbname: str) -> Iterator[Session]:
        """A connection for one job; one that broke is thrown away, a pool with a heavy one as soon as it is idle.

        Raises CannotConnect, BudgetExhausted.
        """
        key = (collector, dbname)
        held = self._reserve(key, target, time.monotonic() + self.connect_timeout_s)
        session = None
        try:
            session = self._get(held, partial(self._stop_at, collector))
            yield session
        finally:
            if session is not None:
                session.used = True
                session.deadline = time.monotonic() + MARGIN_S
                held.heavy = held.heavy or session.heavy
                held.pool.putconn(session)
            with self._changed:
                held.leased -= 1
                held.used_at = time.monotonic()
                surplus = [self._take_out(key)] if held.heavy and not held.leased and self._held.get(key) is held else []
                surplus += self._surplus(collector, target)
                self._changed.notify_all()
            for one in surplus:
                self._close(one)

    def drop(self, collector: str, dbname: str) -> None:
        """Forget all connections of a pool: the server went away under them."""
        with self._changed:
            held = self._pop((collector, dbname)) if (collector, dbname) in self._held else None
            self._changed.notify_all()
        if held is not None:
            held.pool.close(timeout=0)

    def give_up(self, collector: str, at: float) -> None:
        """Readings of this target that have not ended at `at` (time.monotonic seconds) are given up, until it is left."""
        with self._changed:
            self._given_up[collector] = at

    def leave(self, collector: str) -> None:
        """Close all connections to a target that nobody reads just now; whoever comes next makes his own."""
        with self._changed:
            self._given_up.pop(collector, None)
            left = [self._take_out(key) for key in list(self._held) if key[0] == collector]
            self._changed.notify_all()
        for one in left:
            self._close(one)

    def leave_database(self, collector: str, dbname: str) -> None:
        """Close the connections to a database that is not there any more, of which nothing runs."""
        key = (collector, dbname)
        with self._changed:
            left = self._take_out(key) if key in self._held and not self._held[key].leased else None
        if left is not None:
            self._close(left)

    def numbers(self, collector: str) -> PoolNumbers:
        """For the heartbeat."""
        with self._changed:
            costs = {key: held.cost for key, held in self._held.items()}
            waiting = self._waiting.get(collector, 0)
        mine = sum(cost for (owner, _), cost in costs.items() if owner == collector)
        return PoolNumbers(mine, waiting, sum(costs.values()))

    def totals(self) -> tuple[int, int]:
        """Connections to all targets, and jobs that wait for one."""
        with self._changed:
            return sum(held.cost for held in self._held.values()), sum(self._waiting.values())

    def by_collector(self) -> Counter[str]:
        """Connections to each target that has any."""
        found: Counter[str] = Counter()
        with self._changed:
            for (collector, _), held in self._held.items():
                found[collector] += held.cost
        return found

    def close(self) -> None:
        """Close all; what is leased is closed when it comes back."""
        with self._changed:
            held = [self._pop(key) for key in list(self._held)]
        for one in held:
            one.pool.close(timeout=0)

    def _stop_at(self, collector: str) -> float:
        return min(self.stop_at(), self._given_up.get(collector, float("inf")))

    def _reserve(self, key: PoolKey, target: Target, deadline: float) -> _Held:
        """Count the lease before anything is opened, so that the budget holds at every moment."""
        with self._changed:
            self._waiting[key[0]] = self._waiting.get(key[0], 0) + 1
        try:
            while True:
                with self._changed:
                    held = self._held.get(key) or self._open(key, target)
                    if self._fits(held):
                        held.leased += 1
                        return held
                    victim = self._idlest(held)
                    if victim is None and not self._changed.wait(max(0.0, deadline - time.monotonic())):
                        raise BudgetExhausted(f"all {self.budget} connections of the agent are in use")
                if victim is not None:
                    self._close(victim)
        finally:
            with self._changed:
                self._waiting[key[0]] -= 1

    def _surplus(self, collector: str, target: Target) -> list[_Held]:
        """Take out idle pools of a target's databases beyond those that it holds: unconnected ones, then the latest used.

        Its databases are read in turn, so the one that was used longest ago is read next.
        """
        if self._counts[collector] - ((collector, target.dbname) in self._held) <= target.hold_databases:
            return []
        mine = [key for key in self._held if key[0] == collector and key[1] != target.dbname]
        idle = sorted((self._held[key].cost > 0, -self._held[key].used_at, key) for key in mine if not self._held[key].leased)
        return [self._take_out(key) for *_, key in idle[: max(0, len(idle) - target.hold_databases)]]

    def _fits(self, held: _Held) -> bool:
        if (cost := held.cost) > held.leased:
            return True  # an open one is idle
        others = sum(one.cost for one in self._held.values() if one is not held)
        leaving = self._closing + sum(door.connecting for door in self._leaving)
        return others + leaving + max(cost, held.leased + 1) <= self.budget

    def _idlest(self, wanted: _Held) -> _Held | None:
        """Take out the pool that was used longest ago and is idle."""
        idle = [(held.used_at, key) for key, held in self._held.items() if held is not wanted and not held.leased and held.cost]
        return self._take_out(min(idle)[1]) if idle else None

    def _take_out(self, key: PoolKey) -> _Held:
        """Its connections count until they are closed: another job must not open its own before."""
        held = self._pop(key)
        held.closing = held.cost
        self._closing += held.closing
        return held

    def _pop(self, key: PoolKey) -> _Held:
        self._counts[key[0]] -= 1
        if not self._counts[key[0]]:
            del self._counts[key[0]]
        return self._held.pop(key)

    def _close(self, held: _Held) -> None:
        """What is connecting at this moment counts until it has come to its end."""
        held.door.shut()
        held.pool.close(timeout=0)
        held.door.close_made()
        with self._changed:
            self._closing -= held.closing
            self._leaving = [door for door in (*self._leaving, held.door) if door.connecting]
            self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _tell_of_pooler(self, collector: str, session: Session) -> None:
        """Once: readings are the same through one. How it lends its connections only another connection could tell."""
        if self._news.is_news(collector, "pooler" if session.pooled else ""):
            way = "through a pooler: limits are set in each transaction; `pganalytics check` tells how it lends its connections"
            logger.info("way to the target", extra={"collector": collector, "way": way if session.pooled else "direct"})

    def _open(self, key: PoolKey, target: Target) -> _Held:
        door = Door(
            target,
            key[1],
            self.connect_timeout_s,
            ended=self._notify,
            admitted=lambda session: self._tell_of_pooler(key[0], session),
        )
        pool = ConnectionPool(
            door.conninfo,
            connection_class=cast(type[Session], door),  # of which the pool calls `connect` alone
            name=f"{key[0]}/{key[1]}",
            min_size=0,
            max_size=target.pool_max,
            num_workers=1,
            reconnect_timeout=0,
            open=True,
        )
        self._held[key] = held = _Held(pool, door, target)
        self._counts[key[0]] += 1
        return held

    def _get(self, held: _Held, stop_at: Callable[[], float]) -> Session:
        """Ask in short slices: the pool itself does not tell a waiting job that the attempt failed."""
        deadline = time.monotonic() + self.connect_timeout_s + MARGIN_S
        held.door.enter()
        try:
            while True:
                try:
                    session = held.pool.getconn(timeout=SLICE_S)
                except PoolClosed as error:
                    raise CannotConnect(error) from error
                except PoolTimeout as error:
                    if held.door.error is not None:
                        raise CannotConnect(held.door.error) from held.door.error
                    if time.monotonic() > deadline:
                        raise CannotConnect(DeadlinePassed("no connection in time")) from error
                    if time.monotonic() > stop_at():
                        raise CannotConnect(Stopping("the agent stops")) from error
                else:
                    session.stop_at = stop_at
                    return session
        finally:
            held.door.leave()
