"""A load generator: records of random content through the agent's own spool, heartbeats and sender. Run as a process.

`python -m chaos.load SETTINGS ORACLE SEED RECORDS`: ends when everything is sent, with final heartbeats.
"""

import logging
import random
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from chaos.oracle import SCHEMAS, OracleFile, stored_content
from pganalytics.producers.beats import Beats
from pganalytics.producers.heartbeat import PoolNumbers
from pganalytics.producers.records import Record, Snapshot
from pganalytics.producers.sender import Sender
from pganalytics.producers.spool import Spool
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.kafka import producer_config
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings_file import load_settings
from pganalytics.schemas.codec import RecordCodec, elide
from pganalytics.schemas.identity import Identity, Lane, make_epoch
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.topics import MAX_MESSAGE_BYTES, Topics

COLLECTORS = tuple(f"chaos{number}:5432" for number in range(10))
BATCH = 40
PAUSE_S = 0.02
HEARTBEAT_S = 1.0
TEXTS = ("", "\0", "plain", "caf\u00e9 \u4e16\u754c \U0001f40d", "'; drop table x; --", "\\N", "{a,b}", "\u202e\x1b[31m")
EXTREMES = (0, 1, -1, 2**63 - 1, -(2**63))


class Load:
    """Knows the seq that each record must get: it is the only writer of its spool."""

    def __init__(self, seed: int, oracle: OracleFile, spool: Spool, epochs: dict[str, int]) -> None:
        self._chance = random.Random(seed)
        self._oracle = oracle
        self._spool = spool
        self._epochs = epochs
        self._seqs: dict[tuple[str, Lane], int] = {}
        self._codecs = {lane: RecordCodec(schema) for lane, schema in SCHEMAS.items()}

    def emit(self, count: int) -> None:
        """One batch of one collector: oracle first, then the spool."""
        collector = self._chance.choice(COLLECTORS)
        lanes = sorted(self._chance.choices([Lane.NORMAL, Lane.NORMAL, Lane.BULK], k=count))
        made = [(self._next(collector, lane), self._values(lane)) for lane in lanes]
        self._oracle.write((who, stored_content(SCHEMAS[who.lane], values)) for who, values in made)
        given = self._spool.append_many([self._snapshot(who, values) for who, values in made])
        assert given == [who for who, _ in made], "the spool gave other identities than the oracle has"

    def _next(self, collector: str, lane: Lane) -> Identity:
        self._seqs[collector, lane] = self._seqs.get((collector, lane), 0) + 1
        return Identity(collector, self._epochs[collector], lane, self._seqs[collector, lane])

    def _snapshot(self, who: Identity, values: dict[str, Any]) -> Snapshot:
        schema = SCHEMAS[who.lane]
        rest = self._codecs[who.lane].encode_rest(values)
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
            "text": chance.choice(TEXTS),
            "number": chance.choice((0.0, float("nan"), chance.random(), float("-inf"))),
            "flag": chance.random() < 0.5,
        }
        return scalars | elide(SCHEMAS[lane].groups["rows"], cells)


def main(config: Path, oracle: Path, seed: int, records: int) -> None:
    """Emit, drain, say farewell."""
    logging.basicConfig(level=logging.WARNING)
    settings = load_settings(config)
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    lifecycle = Lifecycle()
    spool = Spool.open(settings.collect.state_dir, spawn=lifecycle.spawn)
    epochs = {name: make_epoch(time.time_ns() // 1000, random.Random(seed).getrandbits(10)) for name in COLLECTORS}
    for collector, epoch in epochs.items():
        spool.start_epoch(collector, epoch)
    sender = Sender(spool, topics, Producer(producer_config(settings.kafka, name="load", message_max_bytes=MAX_MESSAGE_BYTES)))
    sending = lifecycle.spawn("sender", sender.run)
    states = {name: TargetState() for name in COLLECTORS}
    beats = Beats(
        spool, builtin_schemas()["heartbeat"], f"load:{seed}", epochs, states, lambda _: PoolNumbers(0, 0, 0), frozenset()
    )
    beating = Lifecycle()
    beating.spawn("heartbeats", lambda: beats.run(beating, HEARTBEAT_S))
    load = Load(seed, OracleFile(oracle), spool, epochs)
    for start in range(0, records, BATCH):
        load.emit(min(BATCH, records - start))
        time.sleep(PAUSE_S)
    _wait_sent(spool, epochs)
    beating.request_stop("done")
    beating.join_all(time.monotonic() + 10)
    _wait_sent(spool, epochs)
    for collector in COLLECTORS:
        beats.make(collector, ending=True).result()
    _wait_sent(spool, epochs)
    sender.finish()
    sending.join(20)
    spool.close()
    if lifecycle.failure or beating.failure:
        raise SystemExit(f"{lifecycle.failure or beating.failure!r}")


def _wait_sent(spool: Spool, epochs: dict[str, int]) -> None:
    while spool.unsent_epochs() & set(epochs.items()):
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
