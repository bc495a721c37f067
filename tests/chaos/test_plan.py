"""A plan is a function of its seed and leaves nothing out."""

from collections import Counter

from chaos.failpoints import points
from chaos.plan import EDGES, ON_EDGES, PARTS, POINTS_IN_DECK, SERVERS, SERVICES, Kind, make_plan, short_plan


def test_the_same_seed_gives_the_same_faults_and_a_longer_plan_begins_like_a_shorter() -> None:
    assert make_plan(7, 100) == make_plan(7, 200)[:100]
    assert make_plan(7, 100) != make_plan(8, 100)


def test_a_hundred_faults_break_every_part_and_every_edge_in_every_way() -> None:
    done = Counter((fault.kind, fault.victim.removesuffix("-a").removesuffix("-b")) for fault in make_plan(1, 100))
    parts = [*SERVICES, *SERVERS]
    wanted = [(kind, part) for kind in (Kind.KILL, Kind.SUSPEND, Kind.RESTART) for part in parts]
    wanted += [(kind, edge) for kind in ON_EDGES for edge in EDGES] + [(Kind.KILL_BOTH, service) for service in SERVICES]
    wanted += [(Kind.POINT, part) for part in PARTS]
    assert not [one for one in wanted if not done[one]]


def test_points_come_in_rotation_until_all_were_there() -> None:
    every = {(part, point.name) for part in PARTS for point in points(part)}
    tried = [(fault.victim, fault.point) for fault in make_plan(3, len(every) + POINTS_IN_DECK, only=[Kind.POINT])]
    assert set(tried) == every
    full = len(every) - len(every) % POINTS_IN_DECK
    assert len(set(tried[:full])) == full


def test_the_short_plan_has_every_part_and_every_edge_once() -> None:
    assert sorted(Counter(fault.kind for fault in short_plan(1) if fault.kind not in ON_EDGES).items()) == [
        (Kind.KILL, 5),
        (Kind.POINT, 4),
        (Kind.SUSPEND, 2),
    ]
    assert sorted(fault.victim for fault in short_plan(1) if fault.kind in ON_EDGES) == sorted(EDGES)
