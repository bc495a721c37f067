"""What /livez and /readyz say. Pure; `now` and all moments are seconds of time.monotonic().

/livez means progress of our own: a problem there is one that a new start may mend. What others owe us (a broker, a store, a
target that is away) is never a problem of /livez but of /readyz: a process that is started anew would wait just the same.
Services give facts; their own `health` modules judge them with what is here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

STUCK_S = 180.0
"""Records wait, everything that is needed answers, and nothing moves: longer than a rebalance with dead members takes."""
LOOK_S = 20.0
"""Kafka is asked every 5 s, with 3 s for each of a few answers: two looks in a row have failed."""
Problems = list[str]
"""One line each; none is well."""


@dataclass(frozen=True, slots=True)
class Said:
    """The answer of a page that may be other than OK."""

    status: HTTPStatus
    body: bytes


@dataclass(frozen=True, slots=True)
class Health:
    """What a service's endpoint asks. Both are called in the endpoint's thread and must not wait for anybody."""

    alive: Callable[[], Problems]
    ready: Callable[[], Problems]


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a consumer group's progress after one look at Kafka.

    `done`: of each partition the next offset. `moved_at`: when one of those that concern us last went on, or began to have
    something before it. `behind`: records before those that concern us.
    """

    looked_at: float
    done: Mapping[tuple[str, int], int]
    moved_at: float
    behind: int
    assigned: bool


def look_after(
    before: Look | None,
    ends: Mapping[tuple[str, int], int],
    done: Mapping[tuple[str, int], int],
    *,
    own: frozenset[tuple[str, int]],
    now: float,
) -> Look:
    """The next look. Our own partitions concern us; while we have none, all do: then somebody of the group must go on."""
    ours = {where: offset for where, offset in done.items() if where in own or not own}
    behind = sum(max(0, ends[where] - offset) for where, offset in ours.items() if where in ends)
    stays = before is not None and before.behind > 0 and before.assigned == bool(own) and before.done == ours
    moved_at = before.moved_at if stays and before is not None else now
    return Look(now, ours, moved_at, behind, bool(own))


def stuck(look: Look | None, done: str, now: float) -> Problems:
    """A group that does not go on though Kafka answers. `look` is None while it does not; `done` as in "processed"."""
    if look is None or not look.behind or now - look.moved_at <= STUCK_S:
        return []
    whose = "" if look.assigned else ", by nobody of the group,"
    return [f"{look.behind} records wait and none was {done}{whose} for {now - look.moved_at:.0f} s"]


def unseen(look: Look | None, now: float) -> Problems:
    """Kafka does not answer, or nothing is assigned yet."""
    if look is None:
        return ["kafka does not answer"]
    if now - look.looked_at > LOOK_S:
        return [f"kafka has not answered for {now - look.looked_at:.0f} s"]
    return [] if look.assigned else ["no partitions are assigned to this process"]


def silent(what: str, turned_at: float, limit_s: float, now: float) -> Problems:
    """A thread that has not come round."""
    return [f"{what} has not come round for {now - turned_at:.0f} s"] if now - turned_at > limit_s else []


def said(problems: Sequence[str], *, bad: HTTPStatus) -> Said:
    """As a page: a line for each problem, or `ok`."""
    lines = problems or ["ok"]
    return Said(bad if problems else HTTPStatus.OK, "".join(f"{line}\n" for line in lines).encode())
