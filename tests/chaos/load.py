"""A load generator: `pganalytics collect` with the real spool, sender, heartbeats and stop, and made-up readings.

`python -m chaos.load ORACLE SEED RECORDS RATE ODDITIES collect --config FILE`: records of random content for the collectors that
the settings name, RATE a second; after RECORDS it stops as if asked to, with 0 never. It may be killed and started again: the
oracle goes on. ODDITIES is JSON, see `Oddities`.
"""

import json
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from chaos.oracle import SCHEMAS, OracleFile, stored_content, unclear
from pganalytics.cli.main import main
from pganalytics.producers import agent as real
from pganalytics.producers.dispatch import Dispatch
from pganalytics.producers.meters import Meters
from pganalytics.producers.plan import Plan
from pganalytics.producers.records import Record, Snapshot
from pganalytics.producers.sender import Sender
from pganalytics.producers.spool import Spool
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.codec import RecordCodec, elide
from pganalytics.schemas.identity import Identity, Lane

BATCH = 40
TEXTS = ("", "\0", "plain", "caf\u00e9 \u4e16\u754c \U0001f40d", "'; drop table x; --", "\\N", "{a,b}", "\u202e\x1b[31m")
EXTREMES = (0, 1, -1, 2**63 - 1, -(2**63))
LARGE_EVERY = 50
"""One bulk record in so many is large."""
LARGE_CHARACTERS = (5_000, 100_000)
BUSY_SHARE = 4
"""The first collector is so many times as busy as the others: it is the one that exceeds quotas."""


@dataclass(frozen=True)
class Oddities:
    """What is wrong with an agent. `poison`: the share of records that nobody can decode, by collector; `clock_s`: how far its
    clock is off."""

    poison: Mapping[str, float] = field(default_factory=dict)
    clock_s: int = 0


class Load:
    """Stands in for the scheduler and its workers. Knows the seq that each record must get: nobody else uses these lanes."""

    def __init__(
        self,
        oracle: OracleFile,
        spool: Spool,
        epochs: Mapping[str, int],
        *,
        seed: int,
        rate: float,
        poison: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._chance = random.Random(seed)
        self._oracle = oracle
        self._spool = spool
        self._epochs = epochs
        self._rate = rate
        self._poison = poison
        self._seqs: dict[tuple[str, Lane], int] = {}
        self._codecs = {lane: RecordCodec(schema) for lane, schema in SCHEMAS.items()}
        self._names = sorted(epochs)
        self._weights = [BUSY_SHARE, *[1] * (len(self._names) - 1)]

    def run(self, lifecycle: Lifecycle, records: int) -> None:
        """Emit at the rate until a stop is asked for, or ask for it after so many."""
        due = time.monotonic()
        emitted = 0
        while not lifecycle.stop.wait(max(0.0, due - time.monotonic())):
            if records and emitted >= records:
                lifecycle.request_stop("all is emitted")
                return
            count = min(self._chance.randint(1, BATCH), records - emitted or BATCH) if records else self._chance.randint(1, BATCH)
            self.emit(count)
            emitted += count
            due = max(due, time.monotonic() - 1) + count / self._rate

    def emit(self, count: int) -> None:
        """One batch of one collector: oracle first, then the spool."""
        (collector,) = self._chance.choices(self._names, self._weights)
        lanes = sorted(self._chance.choices([Lane.NORMAL, Lane.NORMAL, Lane.BULK], k=count))
        made = [(self._next(collector, lane), self._values(lane), self._is_poison(collector)) for lane in lanes]
        self._oracle.write((who, None if bad else stored_content(SCHEMAS[who.lane], values)) for who, values, bad in made)
        given = self._spool.append_many([self._snapshot(who, values, bad) for who, values, bad in made])
        assert given == [who for who, *_ in made], "the spool gave other identities than the oracle has"
        self._oracle.committed()

    def _next(self, collector: str, lane: Lane) -> Identity:
        self._seqs[collector, lane] = self._seqs.get((collector, lane), 0) + 1
        return Identity(collector, self._epochs[collector], lane, self._seqs[collector, lane])

    def _is_poison(self, collector: str) -> bool:
        return collector in self._poison and self._chance.random() < self._poison[collector]

    def _snapshot(self, who: Identity, values: dict[str, Any], is_poison: bool) -> Snapshot:
        schema = SCHEMAS[who.lane]
        rest = self._codecs[who.lane].encode_rest(values)
        if is_poison:
            rest = rest[:-1] if self._chance.random() < 0.5 else rest + b"\0"
        return Snapshot(Record(who.collector, who.epoch, schema, rest, schema.row_count(values), values["collected_at"]), None)

    def _values(self, lane: Lane) -> dict[str, Any]:
        chance, rows = self._chance, self._chance.randint(0, 6)
        cells: dict[str, list[Any]] = {
            "id": [chance.choice(EXTREMES) for _ in range(rows)],
            "count": [chance.choice((0, chance.choice(EXTREMES))) for _ in range(rows)],
            "label": [chance.choice(TEXTS) for _ in range(rows)],
            "share": [chance.choice((0.0, chance.random(), float("inf"))) for _ in range(rows)],
        }
        now_us = time.time_ns() // 1000
        scalars: dict[str, Any] = {
            "collected_at": now_us,
            "since": now_us - chance.randint(0, 10**9),
            "part": 1,
            "parts": 1,
            "text": self._text(lane),
            "number": chance.choice((0.0, float("nan"), chance.random(), float("-inf"))),
            "flag": chance.random() < 0.5,
        }
        return scalars | elide(SCHEMAS[lane].groups["rows"], cells)

    def _text(self, lane: Lane) -> str:
        if lane is Lane.BULK and not self._chance.randrange(LARGE_EVERY):
            return self._chance.randbytes(self._chance.randint(*LARGE_CHARACTERS) // 2).hex()
        return self._chance.choice(TEXTS)


class LoadDispatch:
    """What an agent wants of its dispatch: threads that use the spool until the lifecycle stops."""

    def __init__(self, load: Load, records: int) -> None:
        self._load = load
        self._records = records

    def start(self, lifecycle: Lifecycle) -> None:
        """Begin to emit."""
        self._thread = lifecycle.spawn("load", lambda: self._load.run(lifecycle, self._records))

    def join(self, deadline: float) -> None:
        """Wait until nothing is emitted any more."""
        self._thread.join(max(0.0, deadline - time.monotonic()))


def settle_oracle(path: Path, spool: Spool) -> OracleFile:
    """The oracle, opened, after the spool has said what it has of the batch at which an earlier life ended."""
    open_ones = unclear(path)
    oracle = OracleFile(path)
    query = "select emitted_normal, emitted_bulk from epochs where collector = ? and epoch = ?"
    for key in open_ones:
        found = spool._do(lambda db, key=key: db.execute(query, key).fetchone()) or (0, 0)  # type: ignore[misc]
        oracle.counted(*key, dict(zip((Lane.NORMAL.value, Lane.BULK.value), found, strict=True)))
    return oracle


def set_clock(off_s: int) -> None:
    """All that this process asks what time it is gets another answer."""
    true = time.time_ns
    setattr(time, "time_ns", lambda: true() + off_s * 1_000_000_000)  # noqa: B010


def plant(oracle: Path, *, seed: int, records: int, rate: float, poison: Mapping[str, float]) -> None:
    """Agents of this process emit what we make up instead of reading targets."""
    build = real.build_agent

    def build_agent(
        settings: Settings, lifecycle: Lifecycle, plan: Plan, spool: Spool, sender: Sender, meters: Meters
    ) -> real.Agent:
        opened = settle_oracle(oracle, spool)
        agent = build(settings, lifecycle, plan, spool, sender, meters)
        load = Load(opened, spool, agent.members.epochs, seed=seed, rate=rate, poison=poison)
        agent.dispatch = cast(Dispatch, LoadDispatch(load, records))
        return agent

    real.build_agent = build_agent


if __name__ == "__main__":
    path, *numbers, text = sys.argv[1:6]
    del sys.argv[1:6]
    odd = Oddities(**json.loads(text))
    set_clock(odd.clock_s)
    plant(Path(path), seed=int(numbers[0]), records=int(numbers[1]), rate=float(numbers[2]), poison=odd.poison)
    main()
