"""What the stream processors cost: `python -m bench streams [--records 20000] [--rounds 5] [--json]`.

Five processes on one real broker, each with topics of its own: the worker as it is, without quota, without gaps, without either
(headers are read and stamped), and a plain loop of confluent-kafka that copies from topic to topic. In each round each of them
gets the same number of records, one process after the other; what counts is the median over the rounds of records per second of
that process's CPU, user and system. Settings are the defaults, but for a quota that holds nothing back.

Limits. One broker on the same machine, so that a busy machine costs caches and turns of the scheduler: compare columns, not
runs. The feeder is faster than a worker, so batches are full; at low load batches are smaller and a record costs more. Half of
each body is random: bodies are opaque to the streams, but zstd is part of the CPU, also of the plain loop. Up to half a second
of waiting for a commit is in each round. CPU is counted in hundredths of a second: with few records per round the plain loop's
figure is coarse.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

from confluent_kafka import Producer

from bench.processes import own_cpu_s, usage
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.leash import Child
from pganalytics.runtime.kafka import make_topics, producer_config, topic_problems
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.headers import HEARTBEAT, Headers, HeartbeatFacts
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.topics import Topics

VARIANTS = ("plain", "forward", "quota", "gaps", "all")
PARTITIONS = 4
EPOCH = 1024
SCHEMA = "0123456789abcdef"
MIX = [Lane.CRITICAL, *[Lane.NORMAL] * 6, *[Lane.BULK] * 3]
AMPLE = {"records_per_s": 1e6, "rows_per_s": 1e9, "bytes_per_s": 1e10}
BEATS_EVERY = 20
"""One critical record in so many of a collector's rounds is a heartbeat."""
DEADLINE_S = 300
COLLECTORS = 500
MANY = 10_000
RESTARTS = 3
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Result:
    """Medians. `*_per_cpu_s`: records per second of the process's CPU. `rss_mb_10k_collectors`: what the worker's resident memory
    grew by while 10,000 new collectors sent a record of each lane and a heartbeat; `rss_mb`: all of it before that.
    `restart_s`: from the start of the process until a record that waits is admitted."""

    records: int
    rounds: int
    body_bytes: int
    plain_per_cpu_s: float
    forward_per_cpu_s: float
    quota_per_cpu_s: float
    gaps_per_cpu_s: float
    all_per_cpu_s: float
    all_records_per_s: float
    rss_mb: float
    rss_mb_10k_collectors: float
    restart_s: float


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench streams", description="What the stream processors cost.")
    parser.add_argument("--records", type=int, default=20_000, help="of each variant in each round")
    parser.add_argument("--rounds", type=int, default=5, help="measured ones; one more warms up")
    parser.add_argument("--body", type=int, default=2000, help="bytes of a body")
    parser.add_argument("--json", action="store_true", help="one object")
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pganalytics-bench-")))
        result = measure(folder, stack, chosen)
    if chosen.json:
        print(json.dumps(asdict(result)))
        return 0
    for name, value in asdict(result).items():
        print(f"{name:<24} {value:,.2f}" if isinstance(value, float) else f"{name:<24} {value:,}")
    for name in VARIANTS[1:]:
        print(f"plain / {name:<16} {result.plain_per_cpu_s / getattr(result, f'{name}_per_cpu_s'):.1f}")
    return 0


def measure(folder: Path, stack: ExitStack, chosen: argparse.Namespace) -> Result:
    """All variants side by side, then memory and restarts of the one with everything on."""
    _tell("starting a broker and the workers")
    broker = stack.enter_context(KafkaBroker.start(folder / "kafka"))
    subjects = [Subject(name, broker, folder, chosen.body) for name in VARIANTS]
    for subject in subjects:
        subject.start(stack)
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    walls = []
    for turn in range(chosen.rounds + 1):
        for subject in subjects:
            cpu_s, wall_s = subject.work_off(islice(subject.load, chosen.records))
            if turn:
                rates[subject.name].append(chosen.records / cpu_s)
            if turn and subject.name == "all":
                walls.append(chosen.records / wall_s)
            _tell(f"round {turn}: {subject.name} {chosen.records / cpu_s:,.0f} records per CPU second")
    everything = subjects[-1]
    rss = usage(everything.child.pid).rss_bytes
    everything.work_off(_newcomers(chosen.body))
    grown = usage(everything.child.pid).rss_bytes - rss
    restarts = [everything.restart_s(stack) for _ in range(RESTARTS)]
    medians = {f"{name}_per_cpu_s": statistics.median(each) for name, each in rates.items()}
    return Result(
        records=chosen.records,
        rounds=chosen.rounds,
        body_bytes=chosen.body,
        **medians,
        all_records_per_s=statistics.median(walls),
        rss_mb=rss / 1e6,
        rss_mb_10k_collectors=grown / 1e6,
        restart_s=statistics.median(restarts),
    )


Record = tuple[Headers, bytes]


class Subject:
    """One process with its topics, and what is sent to it."""

    def __init__(self, name: str, broker: KafkaBroker, folder: Path, body: int) -> None:
        self.name = name
        self.load = _load(body)
        kafka = {"bootstrap": broker.bootstrap, "prefix": f"b-{name}", "partitions": PARTITIONS, "development": True}
        kafka |= {"replication_factor": 1, "min_insync_replicas": 1}
        self._settings = Settings.model_validate({"kafka": kafka, "streams": {"http_port": 0, "quota": AMPLE}})
        self._topics = Topics(self._settings.kafka.prefix, PARTITIONS)
        make_topics(self._settings.kafka, self._topics.table())
        while topic_problems(self._settings.kafka, self._topics.table()):
            time.sleep(0.1)
        self._producer = Producer(producer_config(self._settings.kafka, name="bench"))
        self._offsets = GroupOffsets(self._settings.kafka, f"{self._settings.kafka.prefix}.streams", name="bench")
        self._path = folder / f"{name}.json"
        self._path.write_text(self._settings.model_dump_json(), encoding="utf-8")
        self._log = folder / f"{name}.log"
        self.child: Child

    def start(self, stack: ExitStack) -> None:
        """Start it."""
        command: list[str | Path] = [sys.executable, "-m", "bench.streams_worker", self.name, self._path]
        self.child = stack.enter_context(Child.start(command, cwd=ROOT, stdout=self._log, name=self.name))

    def work_off(self, records: Iterator[Record]) -> tuple[float, float]:
        """Send these and wait until all is committed; CPU seconds and seconds that it took."""
        spent_s, began = own_cpu_s(self.child.pid), time.monotonic()
        self._send(records)
        ends = self._ends([self._topics.collected(lane) for lane in LANES])
        self._wait(lambda: self._offsets.committed(ends) == ends)
        return own_cpu_s(self.child.pid) - spent_s, time.monotonic() - began

    def restart_s(self, stack: ExitStack) -> float:
        """Stop it, let a record wait, start it: seconds until that record is admitted."""
        self.child.terminate(60)
        self._send(islice(self.load, 1))
        admitted = [self._topics.admitted(lane) for lane in LANES]
        before, began = self._ends(admitted), time.monotonic()
        self.start(stack)
        self._wait(lambda: self._ends(admitted) != before)
        return time.monotonic() - began

    def _send(self, records: Iterator[Record]) -> None:
        for headers, body in records:
            who = headers.identity
            topic, key = self._topics.collected(who.lane), who.collector.encode()
            while True:
                try:
                    self._producer.produce(topic, key=key, value=body, headers=[*headers.encode()])
                except BufferError:
                    self._producer.poll(0.05)
                else:
                    break
        self._producer.flush()

    def _ends(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        places = [(topic, number) for topic in topics for number in range(PARTITIONS)]
        ends = {place: self._offsets.limits(*place)[1] for place in places}
        return {place: end for place, end in ends.items() if end}

    def _wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} ended or stands still:\n{self._log.read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.05)


def _load(size: int) -> Iterator[Record]:
    """Records of all collectors in turn, without end; lanes as in MIX."""
    seqs = {(number, lane): 0 for number in range(COLLECTORS) for lane in LANES}
    for turn, lane in enumerate(cycle(MIX)):
        for number in range(COLLECTORS):
            seqs[number, lane] += 1
            is_beat = lane is Lane.CRITICAL and turn // len(MIX) % BEATS_EVERY == 0
            emitted = {each: seqs[number, each] for each in LANES}
            yield _record(f"db{number}.example:5432", lane, seqs[number, lane], size, emitted if is_beat else None)


def _newcomers(size: int) -> Iterator[Record]:
    """10,000 collectors that were never seen, each with a record of each lane and a heartbeat."""
    for number in range(MANY):
        collector = f"new{number}.example:5432"
        for lane in LANES:
            yield _record(collector, lane, 1, size)
        yield _record(collector, Lane.CRITICAL, 2, size, {Lane.CRITICAL: 2, Lane.NORMAL: 1, Lane.BULK: 1})


def _record(collector: str, lane: Lane, seq: int, size: int, emitted: dict[Lane, int] | None = None) -> Record:
    beat = HeartbeatFacts(emitted, epochs=(), final=(), up=True, control=0) if emitted else None
    metric = HEARTBEAT if beat else "statements"
    body = os.urandom(size // 2).ljust(size, b"0")
    headers = Headers(Identity(collector, EPOCH, lane, seq), metric, 20, size, time.time_ns() // 1000, SCHEMA, heartbeat=beat)
    return headers, body


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
