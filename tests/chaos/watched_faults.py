"""Faults of a whole installation, made by hand: each is there within its block, and undone after it."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
from confluent_kafka import TopicPartition
from psycopg import sql

from chaos.watched_scene import Scene
from integration.sink_feed import Feed, record
from pganalytics.cli.demo.servers import ROLE
from pganalytics.runtime.kafka import admin
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.postgres import conninfo
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Topics
from waiting import until

MORE = 40
Fault = Callable[[Scene], AbstractContextManager[None]]


@contextmanager
def hung_target(scene: Scene) -> Iterator[None]:
    """Connections stay open, nothing is answered."""
    scene.target("db2").suspend()
    yield
    scene.target("db2").resume()


@contextmanager
def dead_target(scene: Scene) -> Iterator[None]:
    """Nobody listens."""
    scene.target("db2").kill()
    yield
    scene.target("db2").start_again()


@contextmanager
def changed_password(scene: Scene) -> Iterator[None]:
    """Of the role of the agent; open connections end, as they would sooner or later. Then its file gets the new one."""
    password = secrets.token_hex(9)
    with psycopg.connect(scene.target("db2").conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(ROLE), sql.Literal(password)))
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", [ROLE])
    yield
    file = next(one.password_file for one in scene.servers.targets if one.name == "db2")
    file.write_text(password + "\n", encoding="utf-8")


@contextmanager
def dead_broker(scene: Scene) -> Iterator[None]:
    """Killed; its log is there when it comes back."""
    scene.broker.kill()
    yield
    scene.broker.start_again()


def killed(name: str) -> Fault:
    """A service."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        scene.kill(name)
        yield
        scene.start(name)

    return fault


@contextmanager
def destroyed_spool(scene: Scene) -> Iterator[None]:
    """The agent's machine is gone, and another one takes its place; in the end an operator gives up what is left."""
    scene.kill("collect")
    shutil.rmtree(scene.settings.collect.state_dir)
    scene.start("collect")
    yield
    for name in ("db1", "db2"):
        assert scene.type("retire", name).code == 0


@contextmanager
def suspended_streams(scene: Scene) -> Iterator[None]:
    """As a machine that swaps."""
    scene.children["streams"].suspend()
    yield
    scene.children["streams"].resume()


@contextmanager
def skipping_streams(scene: Scene) -> Iterator[None]:
    """A build of the streams that hands over only some of what it read, and commits all."""
    scene.stop("streams")
    scene.start("streams", fault="skips-much-data-unseen")
    yield
    scene.stop("streams")
    scene.start("streams")


@contextmanager
def dead_store(scene: Scene) -> Iterator[None]:
    """Nobody listens."""
    scene.store.kill()
    yield
    scene.store.start_again()


@contextmanager
def locked_store(scene: Scene) -> Iterator[None]:
    """Somebody's transaction holds what the sink must write; the sink's own time-out ends each attempt."""
    with psycopg.connect(conninfo(scene.settings.store)) as other:
        other.execute("lock table pganalytics.positions in share mode")
        yield


@contextmanager
def restored_store(scene: Scene) -> Iterator[None]:
    """A copy of the store's files is put back when the pipeline has gone on; then it must get further than it was."""
    data, backup = scene.store.data, scene.folder / "backup"
    with _stopped(scene):
        _copy(data, backup)
    before = stored(scene)
    until(lambda: stored(scene) > before + MORE, 120, every_s=1, what="the pipeline goes on")
    scene.kill("sink")
    furthest = stored(scene)
    with _stopped(scene):
        shutil.rmtree(data)
        _copy(backup, data)
    restored = stored(scene)
    scene.start("sink")
    yield
    until(lambda: stored(scene) > furthest, 60, every_s=1, what="the store has again what it had")
    scene.notes.append(f"The ledger had {furthest} stored records; {restored} after the copy was put back; then {stored(scene)}.")
    done = scene.type("audit", "--wait", "60")
    scene.notes.append(f"The audit of that ended with {done.code}: `{done.lines[-1]}`.")
    assert done.code == 0, done.lines


@contextmanager
def _stopped(scene: Scene) -> Iterator[None]:
    scene.store.stop()
    yield
    scene.store.start_again()


def stored(scene: Scene) -> int:
    """Records that the ledger calls stored."""
    with psycopg.connect(conninfo(scene.settings.store)) as connection:
        text = "select coalesce(sum(upper(r) - lower(r)), 0) from pganalytics.ledger l, unnest(l.stored) r"
        (count,) = connection.execute(text).fetchone() or (0,)
    return int(count)


def _copy(source: Path, to: Path) -> None:
    """Owner and rights, too: PostgreSQL insists on them."""
    subprocess.run(["cp", "-a", os.fspath(source), os.fspath(to)], check=True)


@contextmanager
def poison(scene: Scene) -> Iterator[None]:
    """One record whose body is no Avro, one whose header `seq` is no number, among the good ones of the collected topic."""
    good = record("stranger", 1)
    spoilt = type(good)(good.key, b"\xc3\x01 is not Avro", good.headers)
    feed = Feed(scene.settings)
    feed.send(feed.topics.collected(LANES[1]), spoilt, record("stranger", 2).header("seq", b"none"))
    yield


@contextmanager
def low_quota(scene: Scene) -> Iterator[None]:
    """db1 may send one record in ten seconds, and have sixty seconds of that waiting."""
    done = scene.type("quota", "set", "db1", "--records-per-s", "0.1", "--burst-s", "1")
    assert done.code == 0, done.lines
    yield
    assert scene.type("quota", "unset", "db1").code == 0


@contextmanager
def passed_retention(scene: Scene) -> Iterator[None]:
    """The streams stand while records come in, and what they have not read is deleted, as retention would do it."""
    topics = Topics(scene.settings.kafka.prefix, scene.settings.kafka.partitions)
    places = [(topics.collected(LANES[1]), number) for number in range(topics.partitions)]
    scene.kill("streams")
    offsets = GroupOffsets(scene.settings.kafka, f"{topics.prefix}.streams", name="watched")

    def waiting() -> int:
        done = offsets.committed(places)
        return sum(offsets.limits(*place)[1] - (done[place] or 0) for place in places)

    until(lambda: waiting() > 10, 60, every_s=0.5, what="records that nobody read")
    wanted = [TopicPartition(*place, offsets.limits(*place)[1]) for place in places]
    offsets.close()
    client = admin(scene.settings.kafka)
    for deleted in client.delete_records(wanted).values():
        deleted.result(30)
    scene.start("streams")
    yield
