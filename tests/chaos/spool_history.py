"""A random history of a spool, and what its callers were told is durable: whatever returned before the power went.

Of the one call that the power cut short nobody was told anything: it may have happened or not, but as a whole.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from chaos.oracle import SCHEMAS
from pganalytics.producers.baselines import Movement
from pganalytics.producers.records import Record, Snapshot, SpoolState
from pganalytics.producers.spool import Spool
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.metric import MetricSchema, builtin_schemas

HEARTBEAT = builtin_schemas()["heartbeat"]
BY_LANE: dict[Lane, MetricSchema] = {Lane.CRITICAL: HEARTBEAT, **SCHEMAS}
CODECS = {lane: RecordCodec(schema) for lane, schema in BY_LANE.items()}
COLLECTORS = ("a", "b", "c")
MOST_BYTES = 12_000
MOST_AT_ONCE = 6
FULL_EVERY = 8
"""One movement of a baseline in so many is full."""


@dataclass(frozen=True)
class State:
    """What a spool has: bodies by identity (none of a stub), baseline logs by collector, highest seqs given by stream."""

    records: dict[Identity, bytes | None] = field(default_factory=dict)
    baselines: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    emitted: dict[tuple[str, int, Lane], int] = field(default_factory=dict)

    def next(self, collector: str, epoch: int, lane: Lane) -> Identity:
        """The identity that a spool must give."""
        return Identity(collector, epoch, lane, self.emitted.get((collector, epoch, lane), 0) + 1)

    def with_record(self, who: Identity, body: bytes) -> "State":
        """After its commit."""
        emitted = self.emitted | {(who.collector, who.epoch, who.lane): who.seq}
        return replace(self, records=self.records | {who: body}, emitted=emitted)

    def with_movement(self, movement: Movement) -> "State":
        """After its commit."""
        before = () if movement.full else self.baselines.get(movement.collector, ())
        return replace(self, baselines=self.baselines | {movement.collector: (*before, movement.body)})


def read(spool: Spool) -> State:
    """What a spool has."""
    schemas = [schema.id for schema in BY_LANE.values()]
    records = [one for lane in LANES for one in spool.unsent(lane, limit=100_000, exclude=(), schemas=schemas)]
    logs = {collector: tuple(spool.baseline(collector, "chaos")) for collector in COLLECTORS}
    names = ", ".join(f"emitted_{lane}" for lane in LANES)
    epochs = spool._do(lambda db: db.execute(f"select collector, epoch, {names} from epochs").fetchall())
    return State(
        {one.headers.identity: one.body for one in records},
        {collector: log for collector, log in logs.items() if log},
        {(who, epoch, lane): seq for who, epoch, *seqs in epochs for lane, seq in zip(LANES, seqs, strict=True) if seq},
    )


class History:
    """`told`: what callers know; `doubtful`: what is so if the call that was cut short has happened; `past`: all that was so."""

    def __init__(self, chance: random.Random) -> None:
        self.told = State()
        self.doubtful: State | None = None
        self.past = [self.told]
        self.epoch = 0
        self._chance = chance

    def live(self, spool: Spool, calls: int) -> None:
        """One start of an agent, and what it does. Raises what the spool raises when the power goes."""
        self.epoch += 1
        for collector in COLLECTORS:
            spool.start_epoch(collector, self.epoch)
        acts = (self._append, self._append, self._append, self._beat, self._acknowledge, self._acknowledge, self._shorten)
        for _ in range(calls):
            self._chance.choice(acts)(spool)

    def differences(self, found: State) -> Counter[str]:
        """How a spool differs from what was told: kinds and how many."""
        told, perhaps = self.told, self.doubtful or self.told
        if found in (told, perhaps):
            return Counter()
        two = told, perhaps
        known = found.records.keys() & (told.records.keys() | perhaps.records.keys())
        counted = Counter(
            {
                "lost": len((told.records.keys() & perhaps.records.keys()) - known),
                "came back": len(found.records.keys() - known),
                "altered": sum(found.records[who] not in [one.records.get(who) for one in two] for who in known),
                "baselines": sum(found.baselines.get(who) not in [one.baselines.get(who) for one in two] for who in COLLECTORS),
                "seqs forgotten": sum(found.emitted.get(stream, 0) < seq for stream, seq in told.emitted.items()),
            }
        )
        return +counted or Counter({"half of a call": 1})

    def resume(self, spool: Spool) -> list[Identity]:
        """Go on from what the spool has, right or wrong, with a record more in each stream of the last start.

        Returns those of their identities that were told before.
        """
        told, self.told, self.doubtful = self.told.emitted, read(spool), None
        self.past.append(self.told)
        given = []
        for collector, epoch, lane in self.told.emitted:
            if epoch == self.epoch and lane is not Lane.CRITICAL:
                who, record = self.told.next(collector, epoch, lane), self._record(collector, lane)
                after = self.told.with_record(who, CODECS[lane].assemble(who, record.rest))
                self._commit(lambda record=record, who=who: _require(spool.append(Snapshot(record, None)) == who), after)  # type: ignore[misc]
                given.append(who)
        return [who for who in given if who.seq <= told.get((who.collector, who.epoch, who.lane), 0)]

    def _commit(self, call: Callable[[], object], after: State) -> None:
        self.doubtful = after
        call()
        self.told, self.doubtful = after, None
        self.past.append(after)

    def _append(self, spool: Spool) -> None:
        after, batch, given = self.told, [], []
        for _ in range(self._chance.randint(1, MOST_AT_ONCE)):
            collector, lane = self._chance.choice(COLLECTORS), self._chance.choice(list(SCHEMAS))
            who, record = after.next(collector, self.epoch, lane), self._record(collector, lane)
            after = after.with_record(who, CODECS[lane].assemble(who, record.rest))
            movement = None
            if self._chance.random() < 0.7:
                full = not after.baselines.get(collector) or not self._chance.randrange(FULL_EVERY)
                movement = Movement(collector, "chaos", "", full, self._bytes())
                after = after.with_movement(movement)
            batch.append(Snapshot(record, movement))
            given.append(who)
        self._commit(lambda: _require(spool.append_many(batch) == given), after)

    def _beat(self, spool: Spool) -> None:
        collector = self._chance.choice(COLLECTORS)
        if any(who.collector == collector and who.lane is Lane.CRITICAL for who in self.told.records):
            return
        who, record = self.told.next(collector, self.epoch, Lane.CRITICAL), self._record(collector, Lane.CRITICAL)
        after = self.told.with_record(who, CODECS[Lane.CRITICAL].assemble(who, record.rest))

        def build(state: SpoolState, final: bool) -> tuple[Record, HeartbeatFacts]:
            return record, HeartbeatFacts(state.own.emitted, (), (), up=True, control=0)

        self._commit(lambda: _require(spool.heartbeat(collector, self.epoch, build).result() == who), after)

    def _acknowledge(self, spool: Spool) -> None:
        schemas = [schema.id for schema in BY_LANE.values()]
        offered = [one for lane in LANES for one in spool.unsent(lane, limit=10, exclude=(), schemas=schemas)]
        sent = [one for one in offered if self._chance.random() < 0.6]
        gone = {one.headers.identity for one in sent}
        left = {who: body for who, body in self.told.records.items() if who not in gone}
        self._commit(lambda: spool.acknowledge([one.id for one in sent]), replace(self.told, records=left))

    def _shorten(self, spool: Spool) -> None:
        offered = spool.unsent(Lane.BULK, limit=1, exclude=(), schemas=[SCHEMAS[Lane.BULK].id])
        for one in offered:
            after = replace(self.told, records=self.told.records | {one.headers.identity: None})
            self._commit(lambda one=one: spool.shorten(one.id, "MSG_SIZE_TOO_LARGE"), after)  # type: ignore[misc]

    def _record(self, collector: str, lane: Lane) -> Record:
        schema = BY_LANE[lane]
        return Record(collector, self.epoch, schema, self._bytes(), 0, self._chance.randrange(10**15))

    def _bytes(self) -> bytes:
        return self._chance.randbytes(int(MOST_BYTES * self._chance.random() ** 4))


def _require(agreed: bool) -> None:
    assert agreed, "the spool gave other identities than expected"
