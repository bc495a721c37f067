"""Does what a plan says, sees the pipeline recover, and keeps what was measured. One thread."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from chaos.pipeline import Pipeline
from chaos.plan import COPIES, SERVERS, Fault, Kind
from chaos.proxy import BOTH, Proxy, Way, Weather
from chaos.stage import Stage
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.postgres import PostgresServer

RECOVERY_S = 120.0
POINT_S = 8.0
TROUBLE_S = 3.0
DELAY_S = 0.3
CUT_EVERY_S = 0.5
TICK_S = 0.1
OF_PART = {"spool": "agent-a", "sender": "agent-a", "sink": "sink-a", "accountant": "sink-a"}
WEATHERS = {
    Kind.REFUSE: Weather(refuses=True),
    Kind.FREEZE: Weather(frozen=BOTH),
    Kind.DELAY: Weather(delay_s=dict.fromkeys(Way, DELAY_S)),
    Kind.LOSE_REQUEST: Weather(loses=frozenset({Way.REQUEST})),
    Kind.LOSE_ANSWER: Weather(loses=frozenset({Way.ANSWER})),
}


@dataclass(frozen=True)
class Outcome:
    """`recovery_s`: from the fault's end until all that had been emitted by then could be stored; None when it was not."""

    fault: Fault
    recovery_s: float | None
    reached: bool = True


class Counts(Protocol):
    """How far the load, and what is made of it, have come."""

    @property
    def emitted(self) -> int:
        """Records that went in."""

    @property
    def stored(self) -> int:
        """Records that came out."""


@dataclass
class Chaos:
    """A stage, the services on it, and hands that break them."""

    stage: Stage
    services: Pipeline
    progress: Counts
    seed: int
    rate: float
    outcomes: list[Outcome] = field(default_factory=list)

    def begin(self) -> None:
        """All services, two of each."""
        for copy in COPIES:
            for role in ("streams", "sink", "agent"):
                self.start(f"{role}-{copy}")

    def start(self, name: str, *, fault: str = "", point: tuple[str, int] | None = None) -> None:
        """A service or an agent, perhaps with a death in it."""
        if name.startswith("agent"):
            self.services.start_load(
                oracle_of(self.services.folder, name), seed=self.seed, rate=self.rate, name=name, point=point
            )
        else:
            self.services.start(name, fault=fault, point=point)

    def suffer(self, fault: Fault) -> Outcome:
        """One fault, from its lead to recovery."""
        self.wait(fault.lead_s)
        match fault.kind:
            case Kind.POINT:
                reached = self._die_at_point(fault)
            case Kind.CUT | Kind.REFUSE | Kind.FREEZE | Kind.DELAY | Kind.LOSE_REQUEST | Kind.LOSE_ANSWER:
                reached = self._disturb(fault, self.stage.proxies[fault.victim])
            case Kind.KILL_BOTH:
                reached = self._kill_both(fault)
            case _ if fault.victim in SERVERS:
                reached = self._hit_server(fault, self.stage.broker if fault.victim == "broker" else self.stage.store)
            case _:
                reached = self._hit_service(fault)
        outcome = Outcome(fault, self._recover(), reached)
        self.outcomes.append(outcome)
        return outcome

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, with services that end by themselves started again; whether the condition came true."""
        deadline = time.monotonic() + seconds
        while not (true := until()) and time.monotonic() < deadline:
            self.services.tend()
            time.sleep(TICK_S)
        return true

    def _recover(self) -> float | None:
        """Load goes on: what is stored must pass what had been emitted when the fault was over."""
        over = time.monotonic()
        self.wait(2 * TICK_S)
        mark = self.progress.emitted
        return time.monotonic() - over if self.wait(RECOVERY_S, lambda: self.progress.stored >= mark) else None

    def _hit_service(self, fault: Fault) -> bool:
        if fault.kind is Kind.SUSPEND:
            self.services.children[fault.victim].suspend()
            self.wait(fault.hold_s)
            self.services.children[fault.victim].resume()
        elif fault.kind is Kind.KILL:
            self.services.kill(fault.victim)
            self.wait(fault.hold_s)
            self.start(fault.victim)
        else:
            if code := self.services.stop(fault.victim):
                self.services.note_end(fault.victim, code)
            self.start(fault.victim)
        return True

    def _kill_both(self, fault: Fault) -> bool:
        names = [f"{fault.victim}-{copy}" for copy in COPIES]
        with self._down(*names):
            self.wait(fault.hold_s)
        return True

    def _hit_server(self, fault: Fault, server: KafkaBroker | PostgresServer) -> bool:
        match fault.kind:
            case Kind.SUSPEND:
                server.suspend()
                self.wait(fault.hold_s)
                server.resume()
            case Kind.KILL:
                server.kill()
                self.wait(fault.hold_s)
                server.start_again()
            case _:
                server.restart()
        return True

    def _disturb(self, fault: Fault, proxy: Proxy) -> bool:
        if fault.kind is Kind.CUT:
            cut = proxy.cut()
            for _ in range(int(fault.hold_s / CUT_EVERY_S)):
                self.wait(CUT_EVERY_S)
                cut += proxy.cut()
            return cut > 0
        proxy.become(WEATHERS[fault.kind])
        self.wait(fault.hold_s)
        proxy.clear()
        return True

    def _die_at_point(self, fault: Fault) -> bool:
        """Start the victim with a death in it, wait for that, start it as it was. False when it never came to the point."""
        victim = OF_PART[fault.victim]
        if fault.victim != "accountant":
            return self._die(victim, fault)
        with self._down("sink-b", "streams-a", "streams-b"):  # one sink has all the locks, and there is something to repair
            self.start("streams-b", fault="skips-data-unseen")
            reached = self._die(victim, fault)
            self.services.kill("streams-b")
        return reached

    def _die(self, victim: str, fault: Fault) -> bool:
        self.services.kill(victim)
        self.start(victim, point=(fault.point, fault.passing))
        child = self.services.children[victim]
        self._wait_untended(POINT_S, lambda: child.poll() is not None)
        if child.poll() is None:
            self._make_trouble(victim.partition("-")[0], lambda: child.poll() is not None)
        code = child.poll()
        self.services.kill(victim)
        self.start(victim)
        if code not in (None, -signal.SIGKILL):
            self.services.note_end(victim, code)
        return code == -signal.SIGKILL

    def _make_trouble(self, role: str, until: Callable[[], bool]) -> None:
        """Some lines are come to in trouble only: its edges lose answers, then cut."""
        edges = [proxy for edge, proxy in self.stage.proxies.items() if edge.startswith(role)]
        for proxy in edges:
            proxy.become(WEATHERS[Kind.LOSE_ANSWER])
        self._wait_untended(TROUBLE_S, until)
        for proxy in edges:
            proxy.clear()
            proxy.cut()
        self._wait_untended(TROUBLE_S, until)

    def _wait_untended(self, seconds: float, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            time.sleep(TICK_S)

    @contextmanager
    def _down(self, *names: str) -> Iterator[None]:
        for name in names:
            self.services.kill(name)
        yield
        for name in names:
            self.start(name)


def oracle_of(folder: Path, agent: str) -> Path:
    """The oracle of an agent."""
    return folder / f"{agent}.oracle.jsonl"
