"""Logs are cut, the sink and its broker are killed at any moment: afterwards each record is there once."""

import os
import random
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition

from integration.outages import Load, settled
from integration.sink_feed import Feed, Record, Store, record, running_sink
from integration.test_sink_dead_letters import read_topic
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.kafka import admin, make_topics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.topics import MAX_MESSAGE_BYTES, Topics
from pganalytics.sink import store
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.log_ends import log_ends
from servers import settings_for
from waiting import until


def cut(settings: Settings, place: TopicPartition) -> None:
    """Delete the records before an offset, as retention does."""
    client = admin(settings.kafka)
    asked = client.delete_records([place])
    for future in asked.values():
        future.result(20)


def test_a_position_outside_of_the_log_is_an_event(settings: Settings) -> None:
    """Retention was faster than the sink, or the topic was made anew: reading goes on at the log's start."""
    stored, feed = Store(settings), Feed(settings)
    with running_sink(settings):
        feed.admit(*(record("c", seq) for seq in range(1, 11)))
        until(lambda: stored.stored() == 10)
    topic, number, end = stored.ask("select topic, partition, next_offset from pganalytics.positions where next_offset > 0")[0]
    feed.admit(*(record("c", seq) for seq in range(11, 21)))
    cut(settings, TopicPartition(topic, number, end + 5))
    with running_sink(settings):
        until(lambda: stored.stored() == 15)
        until(lambda: stored.one("select count(*) from pganalytics.events") == 1)
    assert stored.ask('select kind, topic, partition, "offset" from pganalytics.events') == [
        ("position_outside_log", topic, number, end)
    ]
    stored.run("update pganalytics.positions set next_offset = 1000 where (topic, partition) = (%s, %s)", topic, number)
    with running_sink(settings):
        until(lambda: stored.one("select count(*) from pganalytics.events") == 2)
        feed.admit(record("c", 21))
        until(lambda: stored.stored() == 16)


def test_a_log_that_is_cut_while_the_sink_reads(settings: Settings) -> None:
    """The consumer learns of it by an error of the broker, not at its start."""
    stored, feed = Store(settings), Feed(settings)
    with running_sink(settings):
        feed.admit(*(record("c", seq) for seq in range(1, 11)))
        until(lambda: stored.stored() == 10)
        topic, number, _ = stored.ask("select topic, partition, next_offset from pganalytics.positions where next_offset > 0")[0]
        stored.run("update pganalytics.positions set next_offset = 2 where (topic, partition) = (%s, %s)", topic, number)
        cut(settings, TopicPartition(topic, number, 7))
        feed.admit(record("c", 11))
        until(lambda: stored.stored() == 11)
        until(lambda: stored.one("select count(*) from pganalytics.events") == 1)
    assert deep_audit(settings).ok


PROGRAM = """
import sys
from pathlib import Path
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Settings
from pganalytics.sink import service
lifecycle = Lifecycle()
lifecycle.install_signals()
Path(sys.argv[2]).touch()
service.run(Settings.model_validate_json(Path(sys.argv[1]).read_text()), lifecycle)
"""


def start_process(path: Path, ready: Path) -> "subprocess.Popen[bytes]":
    """A sink that makes the file `ready` when it heeds SIGTERM."""
    ready.unlink(missing_ok=True)
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), str(ready)], stderr=subprocess.DEVNULL)


def test_a_sink_that_is_killed_at_any_moment(settings: Settings, tmp_path: Path) -> None:
    """SIGKILL of either of two at seeded moments, one SIGSTOP beyond the session timeout: a zombie when it goes on."""
    store.set_up(settings)
    quick = settings.model_copy(
        update={"sink": settings.sink.model_copy(update={"session_timeout_s": 6.0, "batch_records": 200})}
    )
    path = tmp_path / f"settings-{secrets.token_hex(4)}.json"
    path.write_text(quick.model_dump_json())
    rng = random.Random(7)
    stored, load = Store(settings), Load(settings, 7)
    ready = [tmp_path / "ready-0", tmp_path / "ready-1"]
    processes = [start_process(path, one) for one in ready]
    try:
        with load.running():
            until(lambda: stored.stored() > 50, timeout_s=60)
            for _ in range(5):
                time.sleep(rng.uniform(0.3, 2.0))
                place = rng.randrange(2)
                processes[place].kill()
                processes[place].wait(10)
                processes[place] = start_process(path, ready[place])
            os.kill(processes[0].pid, signal.SIGSTOP)
            time.sleep(8)
            os.kill(processes[0].pid, signal.SIGCONT)
            time.sleep(1)
        settled(settings, load)
        until(lambda: all(one.exists() for one in ready))
        for process in processes:
            process.terminate()
        assert [process.wait(60) for process in processes] == [0, 0]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)


def test_the_largest_record_that_kafka_takes(settings: Settings) -> None:
    """As a dead letter it is too large with our headers: it goes without its body, and holds nothing up."""
    stored, feed = Store(settings), Feed(settings)
    for spare in range(0, 2000, 20):
        largest = Record(b"c", os.urandom(MAX_MESSAGE_BYTES - spare), [])
        try:
            feed.admit(largest)
            break
        except (KafkaException, AssertionError):
            continue
    feed.admit(record("c", 1, reset="x" * 3_000_000))
    with running_sink(settings):
        until(lambda: stored.stored() == 1)
        until(lambda: stored.one("select count(*) from pganalytics.dead_letters") == 1)
    assert stored.one("select length(reset) from metrics.database") == 3_000_000
    (letter,) = read_topic(settings, feed.topics.dead_letter)
    assert letter.value() is None
    assert dict(letter.headers())["body_left_out"] == str(len(largest.value or b"")).encode()


def test_a_broker_that_is_killed_and_comes_back(tmp_path: Path, postgres: PostgresServer, database: str) -> None:
    """The sink waits, and goes on where the store is. Its clients forget the leaders that they knew."""
    with KafkaBroker.start(tmp_path / "kafka") as broker:
        made = settings_for(broker, postgres, database, tmp_path)
        make_topics(made.kafka, Topics(made.kafka.prefix, made.kafka.partitions).table())
        stored, feed, client = Store(made), Feed(made), admin(made.kafka)
        partitions = [(feed.topics.admitted(Lane.NORMAL), number) for number in range(made.kafka.partitions)]
        with running_sink(made):
            feed.admit(*(record("c", seq) for seq in range(1, 101)))
            until(lambda: stored.stored() == 100)
            assert sum(log_ends(client, partitions, 10).values()) == 100
            broker.kill()
            time.sleep(2)
            broker.start_again()
            feed.admit(*(record("c", seq) for seq in range(51, 201)))
            assert sum(log_ends(client, partitions, 10).values()) == 250
            until(lambda: stored.stored() == 200, timeout_s=60)
        assert deep_audit(made).ok
