"""The thread that makes heartbeats. It touches no target: a target that hangs does not silence its collector."""

import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from pganalytics.producers.control import Controls
from pganalytics.producers.epochs import EpochEnded
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.heartbeat import PoolNumbers, Pulse, heartbeat
from pganalytics.producers.meters import Meters
from pganalytics.producers.records import Record, SpoolState
from pganalytics.producers.schedule import JobKey, Schedule
from pganalytics.producers.spool import Spool, never_final
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.headers import HEARTBEAT, HeartbeatFacts
from pganalytics.schemas.identity import Identity
from pganalytics.schemas.metric import MetricSchema

FIRST_AFTER_S = 1.0
"""So that the first heartbeat finds a first reading, where the target is quick."""
TICK_S = 1.0


def all_settled(state: SpoolState) -> bool:
    """A collector that the settings do not name has told everything: nothing old is unsent, and all of it is listed."""
    return state.old_total == len(state.old) and all(one.all_sent for one in state.old)


@dataclass(frozen=True, slots=True)
class Pulsing:
    """How a collector beats. One that the settings do not name ends when all is told."""

    epoch: int
    interval_s: float
    named: bool


class Beats:
    """Heartbeats of the collectors that `follow` is told of."""

    def __init__(
        self,
        spool: Spool,
        schema: MetricSchema,
        agent: str,
        states: Mapping[str, TargetState],
        pool_numbers: Callable[[str], PoolNumbers],
        meters: Meters,
        controls: Controls,
    ) -> None:
        self._spool = spool
        self._schema = schema
        self._codec = RecordCodec(schema)
        self._agent = agent
        self._states = states
        self._pool_numbers = pool_numbers
        self._meters = meters
        self._controls = controls
        self._who: Mapping[str, Pulsing] = {}
        self._is_news = False
        self._beating: dict[JobKey, Pulsing] = {}
        self._over: set[tuple[str, int]] = set()
        self.turned_at = time.monotonic()
        """When the thread last came round (time.monotonic)."""

    def follow(self, who: Mapping[str, Pulsing]) -> None:
        """All collectors with an epoch, from now on. Any thread."""
        self._who = who
        self._is_news = True

    def open_epochs(self) -> set[tuple[str, int]]:
        """(collector, epoch) of those that have not told their end. Any thread."""
        return {(collector, one.epoch) for collector, one in self._who.items()} - self._over

    def run(self, lifecycle: Lifecycle) -> None:
        """Beat until the lifecycle stops."""
        schedule = Schedule()
        while not lifecycle.stopping:
            self.turned_at = time.monotonic()
            if self._is_news:
                self._is_news = False
                self._keep_up(schedule)
            due = [(key.collector, self._beating[key]) for key in schedule.due(time.monotonic())]
            made = [(collector, one.epoch, self.make(collector, one)) for collector, one in due]
            for collector, epoch, future in made:
                self._settle(collector, epoch, future)
            lifecycle.stop.wait(schedule.wait_s(time.monotonic(), TICK_S))

    def make_last(self, collector: str) -> "Future[Identity | None]":
        """Hand the last heartbeat of the epoch to the spool."""
        return self.make(collector, self._who[collector], ending=True)

    def _keep_up(self, schedule: Schedule) -> None:
        """Who is new, or beats otherwise than before, has a heartbeat soon; the others keep their times."""
        opened = self.open_epochs()
        wanted = {JobKey(name, HEARTBEAT): one for name, one in self._who.items() if (name, one.epoch) in opened}
        schedule.remove({key for key, one in self._beating.items() if wanted.get(key) != one})
        moved = [(key, one.interval_s) for key, one in wanted.items() if self._beating.get(key) != one]
        schedule.begin(moved, time.monotonic() + FIRST_AFTER_S)
        self._beating = wanted

    def make(self, collector: str, one: Pulsing, *, ending: bool = False) -> "Future[Identity | None]":
        """Hand one heartbeat to the spool; `ending` asks for the last one of the epoch."""
        is_final = (lambda _: True) if ending else never_final if one.named else all_settled
        last, counts = self._states[collector].seen()
        followed = self._controls.version(collector)
        pulse = Pulse(self._agent, time.time_ns() // 1000, last, counts, self._pool_numbers(collector), followed)

        def build(state: SpoolState, final: bool) -> tuple[Record, HeartbeatFacts]:  # noqa: FBT001
            values, facts = heartbeat(self._schema, pulse, state, final=final)
            rest = self._codec.encode_rest(values)
            return Record(collector, one.epoch, self._schema, rest, 1, pulse.now_us), facts

        return self._spool.heartbeat(collector, one.epoch, build, is_final)

    def _settle(self, collector: str, epoch: int, future: "Future[Identity | None]") -> None:
        try:
            if future.result() is None:
                self._states[collector].count("skipped.heartbeat_unsent")
            else:
                self._meters.heartbeat_made()
        except EpochEnded:  # it has told everything, or another one has begun, or the agent stops
            self._over.add((collector, epoch))
            self._is_news = True
        except Refused as refused:
            self._states[collector].count(f"held_back.{refused}")


def agent_id(pid: int) -> str:
    """<hostname>:<pid>"""
    return f"{socket.gethostname()}:{pid}"
