"""Two stream workers, killed, suspended and cut off from a broker that dies as well, under load; then an independent count."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from chaos.admission import Admission, Count, count_all
from chaos.faults import Chaos, Outcome
from chaos.pipeline import pipeline
from chaos.plan import BEYOND_SESSION_S, COPIES, HOLD_S, LEAD_S, Fault, Kind
from chaos.stage import stage
from integration.streams_feed import Feed, caught_up
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane

COLLECTORS = 40
BEGIN_S = 60.0
DRAIN_S = 240.0
SLACK_S = 5.0
EDGE = "streams-kafka"
LANES_SENT = (Lane.CRITICAL, Lane.NORMAL, Lane.NORMAL, Lane.NORMAL, Lane.BULK, Lane.BULK)
FEED_EVERY_S = 0.05


@dataclass(frozen=True)
class Amount:
    """How much is broken."""

    records: int
    kills: int
    suspensions: int
    restarts: int
    """Of the broker; every other one is SIGKILL."""
    delays: int


LONG = Amount(records=100_000, kills=16, suspensions=1, restarts=6, delays=3)
SHORT = Amount(records=3000, kills=2, suspensions=1, restarts=2, delays=1)


@dataclass(frozen=True)
class StreamsRun:
    """What a run showed."""

    seed: int
    seconds: float
    outcomes: Sequence[Outcome]
    worst_stall_s: float
    last_stall_s: float
    """After the last fault was over."""
    allowed_s: float
    counted: Count
    ended: Sequence[str]
    settled: bool

    def problems(self) -> list[str]:
        """One line each; none when all is well."""
        found = [f"no recovery from: {one.fault}" for one in self.outcomes if one.recovery_s is None]
        found += self.counted.problems(("lost", "strange"))
        if self.last_stall_s > self.allowed_s:
            found.append(f"a stall of {self.last_stall_s:.1f} s after the last fault; {self.allowed_s:g} s are allowed")
        if not self.settled:
            found.append("the streams never committed all that was collected")
        return found

    def lines(self) -> list[str]:
        """For people."""
        reached = [(one.fault, one.recovery_s) for one in self.outcomes]
        lines = [
            f"{number:>4} {fault}: {'did not recover' if took is None else f'recovered in {took:.1f} s'}"
            for number, (fault, took) in enumerate(reached, 1)
        ]
        lines.append(f"seed {self.seed}, {len(self.outcomes)} faults in {self.seconds:.0f} s")
        lines.append(f"worst stall {self.worst_stall_s:.1f} s; after the last fault {self.last_stall_s:.1f} s")
        return [*lines, f"{len(self.ended)} ended by themselves", *(f"  {one}" for one in self.ended), str(self.counted)]


def make_plan(seed: int, amount: Amount) -> list[Fault]:
    """Everything in an order that the seed gives."""
    chance = random.Random(seed)

    def fault(kind: Kind, victim: str, hold: tuple[float, float] = HOLD_S) -> Fault:
        return Fault(kind, victim, chance.uniform(*LEAD_S), chance.uniform(*hold))

    def worker() -> str:
        return f"streams-{chance.choice(COPIES)}"

    plan = [fault(Kind.KILL, worker()) for _ in range(amount.kills)]
    plan += [fault(Kind.SUSPEND, worker(), BEYOND_SESSION_S) for _ in range(amount.suspensions)]
    plan += [fault(Kind.KILL if number % 2 else Kind.RESTART, "broker") for number in range(amount.restarts)]
    plan += [fault(Kind.DELAY, EDGE, (3.0, 6.0)) for _ in range(amount.delays)]
    chance.shuffle(plan)
    return plan


class Load:
    """Sends collected records at a pace, of all lanes and collectors in turn, until it is stopped and enough are sent."""

    def __init__(self, feed: Feed, *, rate: float, records: int) -> None:
        self._feed = feed
        self._rate = rate
        self._records = records
        self._seqs = {(number, lane): count(1) for number in range(COLLECTORS) for lane in set(LANES_SENT)}
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish(0)

    def finish(self, timeout_s: float) -> None:
        """Send what is wanting, then no more."""
        self._enough.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        began = time.monotonic()
        for number in count():
            if self._enough.is_set() and number >= self._records:
                break
            if (ahead_s := began + number / self._rate - time.monotonic()) > FEED_EVERY_S:
                time.sleep(ahead_s)
            lane = LANES_SENT[number // COLLECTORS % len(LANES_SENT)]
            who = number % COLLECTORS
            self._feed.record(f"db{who}", next(self._seqs[who, lane]), lane=lane)
        self._feed.flush(120)


@contextmanager
def run(
    folder: Path, amount: Amount, *, seed: int, rate: float, tell: bool = False
) -> Iterator[tuple[Settings, Feed, StreamsRun]]:
    """Break what the plan says while load goes on, drain, count. The broker is still there."""
    began = time.monotonic()
    with stage(folder) as made, pipeline(made.settings, folder, **made.by_role) as services:
        feed = Feed(made.settings)
        load = Load(feed, rate=rate, records=amount.records)
        with Admission(made.settings, feed) as seen, load:
            chaos = Chaos(made, services, seen, seed, rate)
            for copy in COPIES:
                chaos.start(f"streams-{copy}")
            assert chaos.wait(BEGIN_S, lambda: seen.stored > 0), services.log("streams-a")
            seen.measure_anew()
            for fault in make_plan(seed, amount):
                outcome = chaos.suffer(fault)
                if tell:
                    print(f"{outcome.fault}: {outcome.recovery_s}; {seen.emitted} collected, {seen.stored} seen", flush=True)
            recovered_s = chaos.outcomes[-1].recovery_s or 0.0
            worst = seen.measure_anew()
            load.finish(DRAIN_S)
            settled = chaos.wait(DRAIN_S, lambda: seen.stored >= seen.emitted and caught_up(made.settings))
            last = max(seen.measure_anew(), recovered_s)
        allowed = made.settings.streams.session_timeout_s + SLACK_S
        ended = [str(one) for one in services.ended]
        seconds = time.monotonic() - began
        counted = count_all(made.settings, feed.sent)
        yield (
            made.settings,
            feed,
            StreamsRun(seed, seconds, chaos.outcomes, max(worst, last), last, allowed, counted, ended, settled),
        )
