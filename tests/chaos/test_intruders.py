"""Odd senders: poison, clocks far off, strangers who send what is not theirs. Each harms itself only, and is counted."""

import random
import time
from collections import Counter
from pathlib import Path

import psycopg
from confluent_kafka import Producer

from chaos.oracle import Key, compare, read_oracle
from chaos.pipeline import COLLECTORS, Pipeline, pipeline
from pganalytics.runtime.kafka import admin, client_config
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.partitioner import partition_of
from pganalytics.schemas.topics import Topics
from pganalytics.sink.log_ends import log_ends
from pganalytics.sink.records import Message, Span
from pganalytics.sink.store import set_up
from pganalytics.sink.unread import read_spans

RECORDS, DRAIN_S = 4_000, 120.0
POISON = {"load1:5432": 0.01, "load2:5432": 1.0}
TWO_HOURS_S, A_DAY_S = 7_200, 86_400
INTRUDED = 40
"""Records that a stranger takes, for each of the things that he does."""


def settled(settings: Settings) -> Settings:
    chosen = settings.model_copy(update={"sink": settings.sink.model_copy(update={"settle_interval_s": 0.5})})
    set_up(chosen)
    return chosen


def dead(settings: Settings) -> set[Key]:
    """What the ledger calls dead in the lanes of the load."""
    text = """select collector, epoch, lane, s from pganalytics.ledger, unnest(dead) r, generate_series(lower(r), upper(r) - 1) s
        where lane <> 'critical'"""
    with psycopg.connect(conninfo(settings.store)) as connection:
        return set(connection.execute(text).fetchall())


def letters(settings: Settings) -> Counter[str]:
    """Records that the store has as dead letters, by reason; one that the streams passed on twice counts once."""
    text = "select reason, count(distinct (collector, epoch, lane, seq)) from pganalytics.dead_letters group by reason"
    with psycopg.connect(conninfo(settings.store)) as connection:
        return Counter(dict(connection.execute(text).fetchall()))


def finish(services: Pipeline, *names: str) -> None:
    for name in names:
        assert services.children[name].wait(120) == 0, services.log(name)


def test_poison_is_dead_and_nothing_else_is(settings: Settings, tmp_path: Path) -> None:
    """One collector of which every hundredth record, and one of which every record is damaged; the sink is killed meanwhile."""
    chosen, oracle = settled(settings), tmp_path / "oracle.jsonl"
    with pipeline(chosen, tmp_path) as services:
        services.start("streams")
        services.start("sink")
        services.start_load(oracle, seed=6, records=RECORDS, poison=POISON)
        assert services.kill_while_loading("sink", random.Random(6), every_s=(0.5, 1.0)) >= 1
        report = services.drained(chosen, DRAIN_S)
    emitted = read_oracle(oracle)
    poison = {key for key, content in emitted.items() if not content}
    by_collector = Counter(key[0] for key in poison)
    assert by_collector.keys() == POISON.keys()
    assert by_collector["load2:5432"] == sum(key[0] == "load2:5432" for key in emitted)
    assert not compare(emitted, conninfo(chosen.store))
    assert dead(chosen) == poison
    assert letters(chosen) == {"damaged": len(poison)}
    assert (report.ok, report.total.settled, report.total.dead) == (True, True, len(poison))
    assert report.total.stored == report.total.emitted - len(poison)


def test_agents_with_clocks_far_off_are_dead_to_the_last_record_and_disturb_no_other(settings: Settings, tmp_path: Path) -> None:
    """One is two hours ahead, one believes it is 1970; what their heartbeats count holds all the same."""
    chosen = settled(settings)
    clocks = {"load": 0, "load-ahead": TWO_HOURS_S, "load-1970": A_DAY_S - int(time.time())}
    oracles = {name: tmp_path / f"{name}.jsonl" for name in clocks}
    with pipeline(chosen, tmp_path) as services:
        services.start("streams")
        services.start("sink")
        for name, off_s in clocks.items():
            services.start_load(oracles[name], seed=7, records=RECORDS // 4, name=name, clock_s=off_s)
        finish(services, *clocks)
        report = services.drained(chosen, DRAIN_S)
    lost = read_oracle(oracles["load-ahead"], oracles["load-1970"])
    assert not compare(read_oracle(oracles["load"]), conninfo(chosen.store))
    assert dead(chosen) == lost.keys()
    reasons = letters(chosen)
    assert reasons.keys() == {"future", "too_old"}
    assert reasons.total() == report.total.dead > len(lost), "their heartbeats are dead, too"
    assert (report.ok, report.total.settled, report.total.missing) == (True, True, 0)
    assert len(report.collectors) == len(clocks) * COLLECTORS


class Stranger:
    """Somebody who may write to our topics, and sends records of others again, changed or not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
        self._producer = Producer(client_config(settings.kafka, name="stranger"))

    def taken(self) -> list[Message]:
        """Records of the normal lane, as they were collected."""
        places = [(self._topics.collected(Lane.NORMAL), number) for number in range(self._topics.partitions)]
        ends = log_ends(admin(self._settings.kafka), places, 10)
        return list(read_spans(self._settings.kafka, {place: Span(0, end) for place, end in ends.items()}))

    def send(self, topic: str, like: Message, **changed: str) -> None:
        """A record with other headers, another `key`, or no body."""
        key = changed.pop("key", (like.key or b"").decode())
        value = None if changed.pop("body", None) == "" else like.value
        headers: list[tuple[str, str | bytes | None]] = [
            (name, changed.get(name, (text or b"").decode())) for name, text in like.headers
        ]
        number = partition_of(key, self._topics.partitions)
        self._producer.produce(topic, key=key.encode(), value=value, headers=headers, partition=number)

    def intrude(self) -> None:
        """Everything that he can think of, to the records of others."""
        taken = self.taken()
        collected = self._topics.collected(Lane.NORMAL)
        for one in taken[:INTRUDED]:
            for topic in (collected, collected, self._topics.collected(Lane.BULK), self._topics.admitted(Lane.BULK)):
                self.send(topic, one)
        for one in taken[INTRUDED : 2 * INTRUDED]:
            self.send(collected, one, body="")
            self.send(collected, one, key="stranger:5432")
            self.send(collected, one, collected_at="1")
            self.send(collected, one, rows="77")
            self.send(collected, one, metric="database")
            self.send(collected, one, seq="many")
        assert self._producer.flush(30) == 0


def test_a_stranger_doubles_alters_and_loses_nothing(settings: Settings, tmp_path: Path) -> None:
    """Duplicates in every topic, null bodies, forged keys and headers, while streams are killed; what was stored stays, what was
    forged is a dead letter."""
    chosen, oracle = settled(settings), tmp_path / "oracle.jsonl"
    with pipeline(chosen, tmp_path) as services:
        services.start("streams")
        services.start("sink")
        services.start_load(oracle, seed=8, records=RECORDS, rate=RECORDS / 10)
        stranger = Stranger(chosen)
        while len(stranger.taken()) < 2 * INTRUDED:
            time.sleep(0.1)
        stranger.intrude()
        assert services.kill_while_loading("streams", random.Random(8), every_s=(0.2, 0.5)) >= 1
        stranger.intrude()
        report = services.drained(chosen, DRAIN_S)
    assert not compare(read_oracle(oracle), conninfo(chosen.store))
    assert dead(chosen) == set()
    assert (report.ok, report.total.settled, report.total.duplicates, report.total.dead) == (True, True, 0, 0)
    assert report.total.stored == report.total.emitted
    found = letters(chosen)
    assert found.keys() == {"damaged", "key_disagrees", "body_disagrees", "headers_unreadable"}
    assert found["damaged"] == INTRUDED
    assert INTRUDED <= found["body_disagrees"] <= 3 * INTRUDED
