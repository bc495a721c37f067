"""The broker goes away for long, with the whole pipeline at work: everyone waits quietly, and goes on when it is back.

Compressed: half a minute stands for hours. Every wait in the services is at its longest after that (10 s and less), but
for the agent's retries of records that Kafka took and never acknowledged, which only begin after five minutes. `LONG_S=3600`
is an hour.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest

from integration.outages import Log, Services, cpu_s, running
from integration.producers_feed import Watched, with_targets
from integration.sink_feed import Store
from integration.streams_feed import Feed, caught_up, ends, topics_of
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.kafka import make_topics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Topics
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.store import set_up
from servers import settings_for
from waiting import stands_for_hours, until

SERVICES = ("collect", "streams", "sink")
KILLED_S, STOPPED_S, CONTROL_S = stands_for_hours(30.0), 12.0, 8.0
MOST_LINES = 20
"""Per service and minute of an outage; each kind of complaint comes once in a minute. A line per second would be a flood."""
MOST_CPU = 0.4
"""Of one core, per service."""
SOON_S = 30.0
"""From the broker's return until everyone goes on. The sink's place in its group has to time out first: 10 s."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaBroker]:
    """A broker to break."""
    with KafkaBroker.start(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def own(broker: KafkaBroker, postgres: PostgresServer, database: str, one: Watched, tmp_path: Path) -> Settings:
    """An installation on it, set up, with a target."""
    made = with_targets(settings_for(broker, postgres, database, tmp_path), one.target("one"))
    make_topics(made.kafka, Topics(made.kafka.prefix, made.kafka.partitions).table())
    set_up(made)
    return made


@dataclass(frozen=True)
class Cost:
    """Of one service in one outage: lines of its log, and the share of a core."""

    lines: list[str]
    cpu: float


def suffer(services: Services, seconds: float) -> dict[str, Cost]:
    """What it costs the services that run to wait for a broker that is away."""
    logs = {name: Log(services.folder / f"{name}.log") for name in services.children}
    for log in logs.values():
        log.mark()
    used = {name: cpu_s(child.pid) for name, child in services.children.items()}
    time.sleep(seconds)
    spent = {name: (cpu_s(child.pid) - used[name]) / seconds for name, child in services.children.items()}
    return {name: Cost(logs[name].lines(), spent[name]) for name in services.children}


def collected(own: Settings) -> int:
    """Records in the topics that agents write."""
    return sum(ends(own, [topics_of(own).collected(lane) for lane in LANES]).values())


def admitted(own: Settings) -> int:
    """Records in the topics that the streams write."""
    return sum(ends(own, [topics_of(own).admitted(lane) for lane in LANES]).values())


def seconds_until_all_go_on(counts: dict[str, Callable[[], int]]) -> dict[str, float]:
    """From now, for each service, until there is more of what it makes."""
    began, before = time.monotonic(), {name: count() for name, count in counts.items()}
    took: dict[str, float] = {}
    while len(took) < len(counts):
        for name, count in counts.items():
            if name not in took and count() > before[name]:
                took[name] = time.monotonic() - began
        assert time.monotonic() - began < SOON_S, f"after {SOON_S:.0f} s only {took} go on; before: {before}"
        time.sleep(0.1)
    return took


def report(what: str, costs: dict[str, Cost], soon: dict[str, float]) -> None:
    shares = ", ".join(f"{name} {len(cost.lines)} lines, {cost.cpu:.2f} of a core" for name, cost in costs.items())
    after = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in soon.items())
    sys.stdout.write(f"{what}: {shares}; after the return: {after}\n")


@pytest.mark.timeout(600 + KILLED_S)
def test_all_services_ride_through_outages_of_the_broker(
    own: Settings, broker: KafkaBroker, one: Watched, tmp_path: Path
) -> None:
    """Once killed, once stopped in good order, which is what made other clients spin. Then every record is there, once."""
    stored = Store(own)
    with running(own, tmp_path) as services, psycopg.connect(one.server.conninfo(one.dbname), autocommit=True) as work:
        for name in SERVICES:
            services.start(name)
        until(lambda: stored.stored() > 10, 60)
        makes: dict[str, Callable[[], int]] = {
            "collect": partial(collected, own),
            "streams": partial(admitted, own),
            "sink": stored.stored,
        }
        for end, seconds in ((broker.kill, KILLED_S), (broker.stop, STOPPED_S)):
            end()
            work.execute("insert into visits select 1")
            costs = suffer(services, seconds)
            broker.start_again()
            report(f"{end.__name__} for {seconds:.0f} s", costs, seconds_until_all_go_on(makes))
            until(lambda: caught_up(own), 60 + seconds / 10, every_s=0.5, what="what waited in the spool is processed")
            for name, cost in costs.items():
                assert len(cost.lines) <= MOST_LINES * max(1.0, seconds / 60), (name, cost.lines)
                assert cost.cpu <= MOST_CPU, (name, cost.cpu)
                assert services.children[name].poll() is None, services.log(name)
        assert services.children["collect"].terminate(60) == 0, services.log("collect")
        until(lambda: deep_audit(own).total.settled, 60, every_s=0.5, what="everything stored")
        audited = deep_audit(own)
        assert [services.children[name].terminate(60) for name in ("streams", "sink")] == [0, 0]
    for name in SERVICES:
        assert len(Log(tmp_path / f"{name}.log").lines()) <= MOST_LINES * (4 + KILLED_S / 60), services.log(name)
    assert audited.ok, audited.to_json()
    assert audited.total.stored == audited.total.emitted > 50
    readings = stored.one("select count(*) from metrics.database")
    assert readings >= KILLED_S + STOPPED_S - 10, "the agent went on reading"  # one a second


def test_control_without_the_filter_of_repeats_the_streams_flood_their_log(
    own: Settings, broker: KafkaBroker, tmp_path: Path
) -> None:
    feed = Feed(own)
    feed.record("db0", 1)
    feed.flush()
    with running(own, tmp_path) as services:
        services.start("streams", fault="repeats")
        until(lambda: caught_up(own), 60, every_s=0.2)
        broker.kill()
        cost = suffer(services, CONTROL_S)["streams"]
    assert len(cost.lines) > 3 * MOST_LINES
