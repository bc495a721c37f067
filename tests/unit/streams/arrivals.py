"""Records of collected topics as values."""

from pganalytics.schemas.headers import Headers, HeartbeatFacts
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.topics import Topics
from pganalytics.streams.records import Arrival

TOPICS = Topics("pga", 4)
START_US = 1_800_000_000_000_000
EPOCH = 1024


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
) -> Arrival:
    """A record as an agent would have sent it; its offset is that of a topic with nothing else in it."""
    beat = None
    if metric == "heartbeat":
        beat = HeartbeatFacts(dict.fromkeys(LANES, seq), epochs=(), final=(), up=True, control=0)
    size = len(value) if value is not None else 0
    headers = Headers(Identity(collector, epoch, lane, seq), metric, rows, size, at_us, "0123456789abcdef", heartbeat=beat)
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
