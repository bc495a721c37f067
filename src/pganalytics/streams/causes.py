"""What an event says of its cause, as far as headers allow. Pure; a table in code.

What the facts do not tell is `unknown`. A target that is down and a quota that is used up are never the cause of what is
noticed here: heartbeats do not wait for the target, and everything here is noticed before the quota. Both are told beside it,
because whoever looks for data wants to know.
"""

from dataclasses import dataclass
from enum import StrEnum

from pganalytics.schemas.events import EventKind


class Cause(StrEnum):
    """Why. `agent_stopped`: it said so; `lag`: records of the collector wait in its agent's spool."""

    AGENT_STOPPED = "agent_stopped"
    AGENT_DOWN = "agent_down"
    NETWORK = "network"
    LAG = "lag"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Facts:
    """`up`: of the target in the last heartbeat, None before the first. `stopped`: that heartbeat ended its epoch.

    `others_came`: records of other lanes came after it. `same_epoch` and `waited` are of the heartbeat that ends a silence:
    whether it is of the epoch before, and whether it was made an interval or more before it came.
    """

    kind: EventKind
    up: bool | None = None
    stopped: bool = False
    silent: bool = False
    others_came: bool = False
    same_epoch: bool = False
    waited: bool = False
    over_quota: bool = False


def cause(facts: Facts) -> Cause:
    """The cause, if the facts allow to say."""
    if facts.kind is EventKind.SILENT:
        return Cause.AGENT_STOPPED if facts.stopped else Cause.LAG if facts.others_came else Cause.UNKNOWN
    if facts.kind is EventKind.BACK:
        if not facts.same_epoch:
            return Cause.AGENT_STOPPED if facts.stopped else Cause.AGENT_DOWN
        return Cause.NETWORK if facts.waited else Cause.UNKNOWN
    if facts.kind is EventKind.GAP_FILLED:
        return Cause.NETWORK
    return Cause.LAG if facts.kind is EventKind.TAIL else Cause.UNKNOWN


def describe(facts: Facts, sentence: str) -> str:
    """`cause: sentence; standing`, for people."""
    standing = {"target down": facts.up is False, "collector silent": facts.silent, "over quota": facts.over_quota}
    return "; ".join([f"{cause(facts)}: {sentence}", *(word for word, holds in standing.items() if holds)])
