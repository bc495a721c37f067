"""What is broken, when, and for how long: a pure function of a seed."""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice, repeat

from chaos.failpoints import points

SERVICES = ("agent", "streams", "sink")
COPIES = ("a", "b")
SERVERS = ("broker", "store")
EDGES = ("agent-kafka", "streams-kafka", "sink-kafka", "sink-store")
PARTS = ("spool", "sender", "sink", "accountant")
"""Those with points that a run without losses passes."""
EVERYDAY = {
    "spool": "spool.Spool._append",
    "sender": "sender.Sender._reported",
    "sink": "writer.BatchWriter.write",
    "accountant": "accountant.Accountant.settle",
}
"""A function of each part that is passed whether or not there is any trouble."""
HOLD_S = (0.2, 2.5)
BEYOND_SESSION_S = (8.0, 11.0)
LEAD_S = (0.2, 1.5)
POINTS_IN_DECK = 26
"""Two of five faults."""
PASSINGS = (1, 1, 2, 5)


class Kind(StrEnum):
    """What is done."""

    KILL = "kill"
    KILL_BOTH = "kill-both"
    SUSPEND = "suspend"
    RESTART = "restart"
    CUT = "cut"
    REFUSE = "refuse"
    FREEZE = "freeze"
    DELAY = "delay"
    LOSE_REQUEST = "lose-request"
    LOSE_ANSWER = "lose-answer"
    POINT = "point"


ON_EDGES = (Kind.CUT, Kind.REFUSE, Kind.FREEZE, Kind.DELAY, Kind.LOSE_REQUEST, Kind.LOSE_ANSWER)


@dataclass(frozen=True)
class Fault:
    """`lead_s` after the one before has healed, `victim` (a process, an edge, or the part of a point) suffers for `hold_s`."""

    kind: Kind
    victim: str
    lead_s: float
    hold_s: float
    point: str = ""
    passing: int = 1

    def __str__(self) -> str:
        where = f"{self.point} at passing {self.passing}" if self.point else f"for {self.hold_s:.1f} s"
        return f"{self.kind} {self.victim} {where}"


def make_plan(seed: int, count: int, only: Collection[Kind] = tuple(Kind)) -> list[Fault]:
    """Decks of every kind on every victim, shuffled one by one; points in an order of their own, each once before any again."""
    chance = random.Random(seed)
    rotation = _rotation(chance)
    faults = (fault for _ in repeat(None) for fault in _deck(chance, rotation) if fault.kind in only)
    return list(islice(faults, count))


def short_plan(seed: int) -> list[Fault]:
    """Every part killed, the two with sessions suspended, every edge disturbed once, a death in every part."""
    chance = random.Random(seed)
    killed = [_fault(chance, Kind.KILL, victim) for victim in _processes(chance)]
    suspended = [_fault(chance, Kind.SUSPEND, _copy(chance, victim)) for victim in ("streams", "sink")]
    disturbed = [_fault(chance, chance.choice(ON_EDGES), edge) for edge in EDGES]
    pointed = [_point(chance, (part, f"{function}:{chance.choice(('1', 'end'))}")) for part, function in EVERYDAY.items()]
    plan = [*killed, *suspended, *disturbed, *pointed]
    chance.shuffle(plan)
    return plan


def _deck(chance: random.Random, rotation: Iterator[tuple[str, str]]) -> list[Fault]:
    deck = [_fault(chance, kind, victim) for kind in (Kind.KILL, Kind.SUSPEND, Kind.RESTART) for victim in _processes(chance)]
    deck += [_fault(chance, Kind.KILL_BOTH, service) for service in SERVICES]
    deck += [_fault(chance, kind, edge) for kind in ON_EDGES for edge in EDGES]
    deck += [_point(chance, where) for where in islice(rotation, POINTS_IN_DECK)]
    chance.shuffle(deck)
    return deck


def _processes(chance: random.Random) -> list[str]:
    return [*(_copy(chance, service) for service in SERVICES), *SERVERS]


def _copy(chance: random.Random, service: str) -> str:
    return f"{service}-{chance.choice(COPIES)}"


def _fault(chance: random.Random, kind: Kind, victim: str) -> Fault:
    hold = BEYOND_SESSION_S if kind is Kind.SUSPEND and victim not in SERVERS else HOLD_S
    return Fault(kind, victim, chance.uniform(*LEAD_S), chance.uniform(*hold))


def _point(chance: random.Random, where: tuple[str, str]) -> Fault:
    part, name = where
    return Fault(Kind.POINT, part, chance.uniform(*LEAD_S), chance.uniform(*HOLD_S), name, chance.choice(PASSINGS))


def _rotation(chance: random.Random) -> Iterator[tuple[str, str]]:
    every = [(part, point.name) for part in PARTS for point in points(part)]
    chance.shuffle(every)
    return cycle(every)
