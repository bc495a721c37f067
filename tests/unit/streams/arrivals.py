"""Records of collected topics as values."""

from typing import Any

from pganalytics.runtime.settings import Gaps
from pganalytics.schemas.headers import Headers, HeartbeatFacts
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.topics import Topics
from pganalytics.streams.records import Arrival
from pganalytics.streams.watch import Terms

TOPICS = Topics("pga", 4)
START_US = 1_800_000_000_000_000
EPOCH = 1024
TERMS = Terms.of(Gaps())


def arrival(
    seq: int = 1,
    *,
    collector: str = "db1",
    lane: Lane = Lane.NORMAL,
    epoch: int = EPOCH,
    rows: int = 1,
    value: bytes | None = b"body",
    metric: str = "database",
    partition: int = 0,
    offset: int | None = None,
    at_us: int = START_US,
    collected_at_us: int | None = None,
    beat: HeartbeatFacts | None = None,
) -> Arrival:
    """A record as an agent would have sent it; its offset is that of a topic with nothing else in it."""
    if metric == "heartbeat" and beat is None:
        beat = HeartbeatFacts(dict.fromkeys(LANES, seq), epochs=(), final=(), up=True, control=0)
    size = len(value) if value is not None else 0
    made_us = at_us if collected_at_us is None else collected_at_us
    headers = Headers(Identity(collector, epoch, lane, seq), metric, rows, size, made_us, "0123456789abcdef", heartbeat=beat)
    return Arrival(
        topic=TOPICS.collected(lane),
        partition=partition,
        offset=seq - 1 if offset is None else offset,
        at_us=at_us,
        lane=lane,
        key=collector.encode(),
        value=value,
        headers=headers.encode(),
    )


def heartbeat(
    seq: int,
    *,
    normal: int = 0,
    bulk: int = 0,
    epochs: tuple[int, ...] = (),
    final: tuple[int, ...] = (),
    up: bool = True,
    **how: Any,
) -> Arrival:
    """A heartbeat on the critical lane, with what it says of the other lanes and of older epochs."""
    facts = HeartbeatFacts({Lane.CRITICAL: seq, Lane.NORMAL: normal, Lane.BULK: bulk}, epochs, final, up=up, control=0)
    return arrival(seq, lane=Lane.CRITICAL, metric="heartbeat", beat=facts, **how)
