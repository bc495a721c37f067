"""The thread that makes heartbeats. It touches no target: a target that hangs does not silence its collector."""

import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

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


class Beats:
    """Heartbeats of every collector with an epoch. `leftover`: those that only the spool knows; they end when all is told."""

    def __init__(
        self,
        spool: Spool,
        schema: MetricSchema,
        agent: str,
        epochs: Mapping[str, int],
        states: Mapping[str, TargetState],
        pool_numbers: Callable[[str], PoolNumbers],
        leftover: frozenset[str],
        meters: Meters,
        controls: Controls,
    ) -> None:
        self._spool = spool
        self._schema = schema
        self._codec = RecordCodec(schema)
        self._agent = agent
        self._epochs = dict(epochs)
        self._states = states
        self._pool_numbers = pool_numbers
        self._leftover = leftover
        self._meters = meters
        self._controls = controls
        self.turned_at = time.monotonic()
        """When the thread last came round (time.monotonic)."""

    def run(self, lifecycle: Lifecycle, interval_s: float) -> None:
        """Beat until the lifecycle stops."""
        jobs = [(JobKey(collector, HEARTBEAT), interval_s) for collector in self._epochs]
        schedule = Schedule.starting(jobs, time.monotonic() + FIRST_AFTER_S)
        while not lifecycle.stopping:
            self.turned_at = time.monotonic()
            due = [key.collector for key in schedule.due(time.monotonic())]
            made = {one: self.make(one) for one in due if one in self._epochs}
            for collector, future in made.items():
                self._settle(collector, future)
            lifecycle.stop.wait(schedule.wait_s(time.monotonic(), TICK_S))

    def make(self, collector: str, *, ending: bool = False) -> "Future[Identity | None]":
        """Hand one heartbeat to the spool; `ending` asks for the last one of the epoch."""
        is_final = (lambda _: True) if ending else all_settled if collector in self._leftover else never_final
        last, counts = self._states[collector].seen()
        followed = self._controls.version(collector)
        pulse = Pulse(self._agent, time.time_ns() // 1000, last, counts, self._pool_numbers(collector), followed)

        def build(state: SpoolState, final: bool) -> tuple[Record, HeartbeatFacts]:  # noqa: FBT001
            values, facts = heartbeat(self._schema, pulse, state, final=final)
            rest = self._codec.encode_rest(values)
            return Record(collector, self._epochs[collector], self._schema, rest, 1, pulse.now_us), facts

        return self._spool.heartbeat(collector, self._epochs[collector], build, is_final)

    def _settle(self, collector: str, future: "Future[Identity | None]") -> None:
        try:
            if future.result() is None:
                self._states[collector].count("skipped.heartbeat_unsent")
            else:
                self._meters.heartbeat_made()
        except EpochEnded:  # a leftover has told everything, or the agent stops
            del self._epochs[collector]
        except Refused as refused:
            self._states[collector].count(f"held_back.{refused}")


def agent_id(pid: int) -> str:
    """<hostname>:<pid>"""
    return f"{socket.gethostname()}:{pid}"
