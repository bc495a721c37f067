"""How a batch is divided among the topics. Pure.

Critical records and events go first, yet no topic that has something waiting ever gets nothing: a backlog of one lane
slows the others by its share and no more.
"""

from collections.abc import Mapping

from pganalytics.schemas.identity import Lane
from pganalytics.schemas.topics import Topics


def weights(topics: Topics) -> dict[str, int]:
    """The weight of every topic that the sink reads, the heaviest first."""
    return {
        topics.admitted(Lane.CRITICAL): 16,
        topics.events: 16,
        topics.admitted(Lane.NORMAL): 6,
        topics.admitted(Lane.BULK): 2,
        topics.deferred: 1,
    }


def shares(waiting: Mapping[str, int], room: int, weight: Mapping[str, int]) -> dict[str, int]:
    """How many of `room` records each topic may take; what one leaves over goes to the others.

    Each topic with something waiting gets at least one, should there be fewer places than topics, the heaviest first.
    """
    heaviest_first = sorted((topic for topic in waiting if waiting[topic]), key=lambda topic: -weight[topic])
    given = dict.fromkeys(waiting, 0) | dict.fromkeys(heaviest_first[:room], 1)
    left = min(room, sum(waiting.values())) - sum(given.values())
    while left > 0:
        hungry = [topic for topic in heaviest_first if given[topic] < waiting[topic]]
        total = sum(weight[topic] for topic in hungry)
        at_hand = left
        for topic in hungry:
            fair = max(1, at_hand * weight[topic] // total)
            more = min(fair, waiting[topic] - given[topic], left)
            given[topic] += more
            left -= more
    return given
