"""No secret of a watched server leaves the agent: two hundred are planted, and all that the services write is searched."""

import logging
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from integration.installation import INTERVAL_S, READ, Installation, spooled, written
from integration.planted import Planted
from integration.producers_feed import Watched, watched
from integration.secret_places import found_in
from integration.sink_feed import Store
from integration.test_served_metrics import NOTHING_IS_SENT, scrape
from pganalytics.embedded.binaries import fetch_postgres
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.failures import NOT_SHOWN
from pganalytics.runtime.settings import Settings
from pganalytics.sink import store
from waiting import until

logger = logging.getLogger(__name__)
VISIBLE = "visible_to_all"
"""A name, which may be shown: where no secret is found, it is."""
VISIBLE_IN = {"spooled schema", "spooled relations", "topic .collected.bulk", "topic .admitted.bulk", "table metrics.schema"}
TEXTS = READ | {"change"}


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[tuple[Watched, Planted]]:
    """A server full of secrets, of the version that lets a database refuse logins, and its role to watch it."""
    with Planted() as plants:
        chosen = {"track_activity_query_size": "16384", **plants.settings()}
        with PostgresServer.start(tmp_path / "server", binaries=fetch_postgres(17), settings=chosen) as server:
            one = watched(server, tmp_path)
            with psycopg.connect(server.conninfo(one.dbname), autocommit=True) as connection:
                connection.execute("create table kept (a text)")
                connection.execute(f"create table {VISIBLE} (n int)")
                connection.execute("create database closed")
            plants.fill(server, one.dbname, "closed")
            with psycopg.connect(server.conninfo(one.dbname), autocommit=True) as connection:
                connection.execute(f"grant select on quoted to {one.user}")
            yield one, plants
            plants.close()


def successes(port: int, since: float) -> set[str]:
    """Metrics of the first target that were read since then (seconds of the epoch)."""
    name = "pganalytics_collect_last_success_timestamp_seconds"
    return {key[2] for key, at in scrape(port).items() if key[:2] == (name, "by_file") and at > since}


def served(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return bytes(answer.read())


def test_no_planted_secret_is_in_anything_that_is_written(
    planted: tuple[Watched, Planted], settings: Settings, tmp_path: Path
) -> None:
    """With redaction off those that reach a reading are all in the spool: they are real, and the search finds them."""
    one, plants = planted
    with Installation(settings, one, plants, tmp_path) as installation:
        ports = {"plain": free_port(), "literals": installation.ports["collect"]}
        plain = installation.config("plain", redact="none", state_dir=tmp_path / "plain", http_port=ports["plain"])
        chosen = installation.config("literals", state_dir=tmp_path / "literals")
        agents = [installation.start("collect", config, prelude=NOTHING_IS_SENT) for config in (plain, chosen)]
        until(lambda: all(successes(port, 0) >= READ for port in ports.values()), 60)
        plants.change()
        changed_at = time.time() + 2 * INTERVAL_S
        until(lambda: all(successes(port, changed_at) >= READ for port in ports.values()), 60)
        for agent in agents:
            agent.kill()
        reached = found_in(repr(spooled(tmp_path / "plain", installation.schemas)).encode()) & set(plants.places)
        kept = spooled(tmp_path / "literals", installation.schemas)
        everything = {f"spooled {metric}": repr(bodies).encode() for metric, bodies in kept.items()}
        everything |= {f"spool's file {path.name}": path.read_bytes() for path in (tmp_path / "literals").iterdir()}
        everything |= all_services(installation, chosen)
    told = {service: installation.log(chosen, service).read_bytes() for service in ("collect", "streams", "sink")}
    everything |= {f"log of {service}": text for service, text in told.items()}
    planned = {secret for secret, place in plants.places.items() if place.reaches}
    tell(plants, reached, everything)
    assert len(plants.places) >= 200
    assert {plants.places[secret] for secret in reached ^ planned} == set()
    assert {place: found for place, data in everything.items() if (found := found_in(data) & set(plants.places))} == {}
    assert [place for place, data in everything.items() if settings_password(settings) in data] == []
    assert {place for place, data in everything.items() if VISIBLE.encode() in data} >= VISIBLE_IN
    assert all(told.values())
    assert b'relation "public.quoted" does not exist' in told["collect"], "what is said of the query itself is shown"
    assert NOT_SHOWN.encode() in told["collect"]


def all_services(installation: Installation, config: Path) -> dict[str, bytes]:
    """Send what is spooled through all services; what is then in topics, tables, /metrics and the output of `check`."""
    settings = installation.settings
    store.set_up(settings)
    children = [installation.start(service, config) for service in ("collect", "streams", "sink")]
    until(lambda: all(stored(settings, metric) for metric in TEXTS), 60)
    found = {f"/metrics of {service}": served(port) for service, port in installation.ports.items()}
    found["check"] = installation.check(config).encode()
    assert [child.terminate(40) for child in children] == [0, 0, 0]
    return found | written(installation, settings)


def stored(settings: Settings, metric: str) -> int:
    """Records of a metric in the store."""
    asked, table = Store(settings), f"metrics.{metric}"
    return int(asked.one(f"select count(*) from {table}")) if asked.one("select to_regclass(%s)", table) else 0


def settings_password(settings: Settings) -> bytes:
    """The store's."""
    assert settings.store.password_file is not None
    return settings.store.password_file.read_bytes().strip()


def tell(plants: Planted, reached: set[str], everything: dict[str, bytes]) -> None:
    """The figures, with `--log-cli-level=info`."""
    kinds = Counter(place.kind for place in plants.places.values())
    arrived = Counter(plants.places[secret].kind for secret in reached)
    shares = ", ".join(f"{kind} {arrived[kind]} of {count}" for kind, count in kinds.items())
    logger.info("%d secrets, %d of them in readings: %s", len(plants.places), len(reached), shares)
    logger.info("searched %d places, %d bytes", len(everything), sum(map(len, everything.values())))
