"""What workers hand to a spool, made by hand, and what a sender does with it."""

from pganalytics.producers.baselines import Movement
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.records import Record, Snapshot, SpoolState, Unsent
from pganalytics.producers.spool import Spool
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.metric import MetricSchema, builtin_schemas

DATABASE, HEARTBEAT = builtin_schemas()["database"], builtin_schemas()["heartbeat"]
ALL = {DATABASE.id, HEARTBEAT.id}


def values_of(schema: MetricSchema, at: int) -> dict[str, object]:
    nothing = {"long": 0, "double": 0.0, "string": "", "boolean": False}
    values: dict[str, object] = {field.name: [] if field.is_array else nothing[field.primitive] for field in schema.fields}
    return values | {"collected_at": at, "since": at, "part": 1, "parts": 1}


def record(at: int = 1, *, collector: str = "a", epoch: int = 100, schema: MetricSchema = DATABASE) -> Record:
    return Record(collector, epoch, schema, RecordCodec(schema).encode_rest(values_of(schema, at)), 0, at)


def snapshot(at: int = 1, *, collector: str = "a", epoch: int = 100, body: bytes | None = None, full: bool = False) -> Snapshot:
    movement = Movement(collector, "database", "", full, body) if body is not None else None
    return Snapshot(record(at, collector=collector, epoch=epoch), movement)


def beat(spool: Spool, epoch: int = 100, *, last: bool = False) -> tuple[Identity | None, SpoolState | None]:
    """A heartbeat as the agent makes it; what the spool said to it."""
    seen: list[SpoolState] = []

    def build(state: SpoolState, final: bool) -> tuple[Record, HeartbeatFacts]:
        seen.append(state)
        over = tuple(one.epoch for one in state.old if one.all_sent) + (epoch,) * final
        facts = HeartbeatFacts(state.own.emitted, tuple(one.epoch for one in state.old), over, up=True, control=0)
        return record(epoch=epoch, schema=HEARTBEAT), facts

    return spool.heartbeat("a", epoch, build, lambda _: last).result(), seen[0] if seen else None


def unsent(spool: Spool, lane: Lane = Lane.NORMAL, limit: int = 1000, exclude: set[int] | None = None) -> list[Unsent]:
    return spool.unsent(lane, limit=limit, exclude=exclude or set(), schemas=ALL)


def send_all(spool: Spool) -> list[Identity]:
    records = [one for lane in LANES for one in unsent(spool, lane)]
    spool.acknowledge([one.id for one in records])
    return [one.headers.identity for one in records]


def fill(spool: Spool, schema: MetricSchema) -> str:
    """Append until that is refused, with a baseline that moves; the reason."""
    while True:
        try:
            spool.append(Snapshot(record(schema=schema), Movement("a", schema.name, "", False, b"moved")))
        except Refused as refused:
            return str(refused)
