"""One slow, dead or hostile target harms only itself: how late are the others, beside sick ones and without them."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from chaos.proxy import BOTH, Proxy, Weather, deaf_sockets
from integration.fleet import Fleet, Reading, failures_of, p99
from integration.producers_feed import QUICK, Watched, silent_server, watched, with_targets
from integration.test_producers_databases import column, own_metric
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.workers import Workers
from pganalytics.runtime.settings import Settings
from waiting import until

HEALTHY = 15
RATIO = 1.5
"""What the sick may cost the others: their 99th percentile, against the one of the calm rounds."""
FLOOR_S = 0.5
"""Below this a percentile is the noise of a busy machine: whoever waits for a hung reading waits for up to TIMEOUT_S and more."""
ATTEMPTS = 3
"""The machine's noise comes and goes; harm that the sick do is there each time."""
TIMEOUT_S = 4.0
ROUND_S = 6.0
SICK = {
    "deaf": Weather(deaf=True),
    "silent": Weather(frozen=BOTH),
    "mute": Weather(queries=4),
    "trickling": Weather(trickles=True),
}
NAMED = {"deaf": {"timeout"}, "silent": {"timeout"}, "mute": {"timeout", "hung"}, "trickling": {"timeout", "hung"}}
"""Errors in their heartbeats. What answers a knock and then stops does so while it connects, or while it is read."""
MOST_LINES = 4
"""Of the log, per target that gets sick and well again: it fails, perhaps in another way than at first, and is read again."""
logger = logging.getLogger(__name__)
VISITS = """-- rows
select 'visits'::text as name, pg_catalog.count(*) as visits from public.visits;
"""


class Ward:
    """15 healthy targets, each a database of one server, and five that get sick and well again when told."""

    def __init__(self, patients: dict[str, Watched], folder: Path, settings: Settings, stack: ExitStack) -> None:
        self.illnesses = 0
        self.healthy = [name for name in patients if name.startswith("well")]
        locked = patients["locked"]
        self._lock = stack.enter_context(psycopg.connect(locked.server.conninfo(locked.dbname)))
        metrics = folder / "metrics"
        metrics.mkdir()
        fields = [column("name", "string", "key"), column("visits", "long", "gauge", unit="rows")]
        own_metric(metrics, "visits", "instance", VISITS, fields)
        self.proxies = {name: stack.enter_context(Proxy(locked.server.port)) for name in SICK}
        off = {"visits": {"enabled": False}}
        targets = [patients[name].target(name, metrics=off) for name in self.healthy]
        targets += [patients[name].target(name, port=self.proxies[name].port, metrics=off) for name in SICK]
        targets.append(locked.target("locked", metrics={"visits": {"interval_s": 1}}))
        made = with_targets(settings, *targets, metrics_dir=metrics, preset="minimal", connect_timeout_s=2, retry_max_s=2)
        sections = made.model_dump()
        sections["metrics"]["metric_status"] = {"interval_s": 1}
        for metric in sections["metrics"].values():
            metric["timeout_s"] = TIMEOUT_S
        self.settings = Settings.model_validate(sections)

    def fall_ill(self) -> None:
        self.illnesses += 1
        for name, weather in SICK.items():
            self.proxies[name].become(weather)
        self._lock.execute("lock table visits in access exclusive mode")

    def recover(self) -> None:
        for proxy in self.proxies.values():
            proxy.clear()
        self._lock.rollback()


@pytest.fixture(scope="module")
def patients(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Watched]:
    """Databases by the names of the targets; the role of `locked` may read its table."""
    folder = tmp_path_factory.mktemp("patients")
    names = [*(f"well{number:02}" for number in range(HEALTHY)), *SICK, "locked"]
    made = {name: watched(postgres, folder) for name in names}
    with psycopg.connect(postgres.conninfo(made["locked"].dbname)) as connection:
        connection.execute(f"grant select on visits to {made['locked'].user}")
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """No broker: what is read stays in the spool."""
    return Settings.model_validate({"collect": {"state_dir": tmp_path / "state"}})


@pytest.fixture
def ward(patients: dict[str, Watched], tmp_path: Path, settings: Settings) -> Iterator[Ward]:
    with ExitStack() as stack:
        yield Ward(patients, tmp_path, settings, stack)


def rounds(ward: Ward, fleet: Fleet, times: int) -> tuple[list[Reading], list[Reading]]:
    """Readings of the healthy targets that were due in calm rounds, and in rounds in which the others are ill; interleaved."""
    wait_until_warm(ward, fleet)
    calm: list[tuple[float, float]] = []
    sick: list[tuple[float, float]] = []
    for _ in range(times):
        calm.append(_one_round())
        ward.fall_ill()
        sick.append(_one_round())
        until(lambda: all(fleet.beat(name)["error"] in NAMED[name] for name in SICK), what="the name of each illness")
        until(lambda: ("visits", "sqlstate:55P03") in fleet.statuses("locked")[-1])
        assert fleet.beat("locked")["up"]
        ward.recover()
        until(lambda: all(fleet.beat(name)["up"] for name in SICK) and not fleet.statuses("locked")[-1])
    ends = [*fleet.watch.readings, *fleet.watch.open(time.monotonic())]
    of_healthy = [one for one in ends if one.key.collector in ward.healthy]
    due_in = [[one for one in of_healthy if any(low <= one.due_at < high for low, high in spans)] for spans in (calm, sick)]
    return due_in[0], due_in[1]


def wait_until_warm(ward: Ward, fleet: Fleet) -> None:
    """What is read every second was read three times of each healthy target: what the start costs is in no round."""

    def is_warm() -> bool:
        times = Counter(one.key for one in fleet.read())
        return all(times[JobKey(name, metric)] >= 3 for name in ward.healthy for metric in QUICK)

    until(lambda: is_warm() and all(fleet.first_read_s(name) is not None for name in (*SICK, "locked")), 120)


def lines_by_collector(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    """Of the log, from its last clearing on."""
    told = [vars(record) for record in caplog.records if record.name.startswith("pganalytics.")]
    return Counter(fields["collector"] for fields in told if "collector" in fields)


def _one_round() -> tuple[float, float]:
    """The time is what is tested."""
    began = time.monotonic()
    time.sleep(ROUND_S)
    return began, time.monotonic()


def is_unharmed(title: str, calm: list[Reading], sick: list[Reading]) -> bool:
    for name, readings in (("calm", calm), ("sick", sick)):
        late = sorted(one.late_s for one in readings)
        figures = len(late), late[len(late) // 2], p99(readings), late[-1]
        logger.info("%s, %s: %d readings, p50 %.3f s, p99 %.3f s, most %.3f s", title, name, *figures)
    return p99(sick) <= max(RATIO * p99(calm), FLOOR_S)


def test_five_ways_to_be_sick_cost_the_others_nothing_and_each_is_named(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They get sick while they are read, and well again, twice. What the others' readings are late is the same."""
    caplog.set_level(logging.INFO)
    with Fleet(ward.settings, monkeypatch) as fleet:
        for _ in range(ATTEMPTS):
            wait_until_warm(ward, fleet)  # while all of them begin, a busy machine lets one time out
            caplog.clear()
            before = ward.illnesses
            calm, sick = rounds(ward, fleet, 2)
            lines = lines_by_collector(caplog)
            harmed = {*failures_of([*calm, *sick]), *(set(lines) & set(ward.healthy))}
            if is_unharmed("isolated", calm, sick) and not harmed:
                break
        else:
            late = f"{p99(calm)} s without the sick, {p99(sick)} s with them"
            pytest.fail(f"the healthy were harmed in each of {ATTEMPTS} attempts: {harmed or 'none'} failed, late by {late}")
    assert len(sick) >= 0.8 * len(calm)
    assert set(lines) == {*SICK, "locked"}
    assert max(lines.values()) <= MOST_LINES * (ward.illnesses - before)


def test_control_without_isolation_the_others_are_late(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    with Fleet(ward.settings, monkeypatch, workers=partial(Workers, isolate=False)) as fleet:
        harmed = (not is_unharmed("not isolated", *rounds(ward, fleet, 1)) for _ in range(ATTEMPTS))
        assert any(harmed), "a noisy machine is late in calm rounds as well, but not each time"


CONNECT_S = 6.0
NEWCOMERS = [f"new{number:02}" for number in range(10)]


@contextmanager
def beside_twenty_that_hang(one: Watched, settings: Settings) -> Iterator[Settings]:
    """Ten new targets that are well, ten that accept and never answer, ten of which not even a SYN is answered."""
    with silent_server() as silent, ExitStack() as stack:
        port = free_port()
        for part in deaf_sockets(port):
            stack.enter_context(part)
        hung = [
            {"name": f"{kind}{number}", "host": "127.0.0.1", "port": at}
            for number in range(10)
            for kind, at in (("silent", silent), ("deaf", port))
        ]
        targets = [*(one.target(name) for name in NEWCOMERS), *hung]
        yield with_targets(settings, *targets, preset="minimal", connect_timeout_s=CONNECT_S)


def first_readings(settings: Settings, patch: pytest.MonkeyPatch, workers: Callable[[int], Workers]) -> list[float]:
    """Seconds from the start to the first reading of each of the newcomers that was read before a hung one gives up."""
    with Fleet(settings, patch, workers=workers) as fleet:
        with contextlib.suppress(AssertionError):
            until(lambda: all(fleet.first_read_s(name) is not None for name in NEWCOMERS), CONNECT_S)
        read = [fleet.first_read_s(name) for name in NEWCOMERS]
    found = sorted(one for one in read if one is not None and one < CONNECT_S)
    logger.info("first readings within %s s: %d, the last after %.3f s", CONNECT_S, len(found), found[-1] if found else -1)
    return found


def test_new_targets_do_not_wait_for_others_that_hang(one: Watched, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """First runs are spread over FIRST_WITHIN_S; none comes later than that because of somebody else."""
    with beside_twenty_that_hang(one, settings) as chosen:
        assert len(first_readings(chosen, monkeypatch, Workers)) == len(NEWCOMERS)


def test_control_new_ones_among_the_suspects_wait_in_line(
    one: Watched, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is new shares a quarter of the workers with all others that are new, and nobody asks at doors."""
    with beside_twenty_that_hang(one, settings) as chosen:
        names = [target.name or "" for target in chosen.targets]
        rules = partial(Workers, suspects=set(names), answered=dict.fromkeys(names, float("inf")))
        assert len(first_readings(chosen, monkeypatch, rules)) < len(NEWCOMERS)
