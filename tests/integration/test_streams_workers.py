"""`pganalytics streams --workers N` on a real broker: a worker that dies comes back, and none outlives its parent."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil

from integration.streams_feed import Feed, Streams, caught_up, identities, installation, outputs, running
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.ports import HOST, free_port
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import LANES
from waiting import until

AMPLE = {"records_per_s": 100_000, "rows_per_s": 10**7, "bytes_per_s": 10**9}


def workers_of(parent: int) -> set[int]:
    return {child.pid for child in psutil.Process(parent).children() if child.status() != psutil.STATUS_ZOMBIE}


def feed_turn(feed: Feed, first: int) -> None:
    for seq in range(first, first + 40):
        for lane in LANES:
            for number in range(8):
                feed.record(f"db{number}", seq, lane=lane)
    feed.flush()


def started(text: Callable[[], str], times: int) -> None:
    until(lambda: text().count("streams started") >= times, 60)


def test_a_worker_that_is_killed_comes_back_and_nothing_is_lost(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = installation(kafka.bootstrap, quota=AMPLE)
    feed = Feed(settings)
    with running(settings, tmp_path, workers=2) as streams:
        started(streams.text, 2)
        before = workers_of(streams.child.pid)
        assert len(before) == 2
        feed_turn(feed, 1)
        os.kill(min(before), signal.SIGKILL)
        feed_turn(feed, 41)
        until(lambda: caught_up(settings), 90, every_s=0.2)
        started(streams.text, 3)
        after = workers_of(streams.child.pid)
        assert len(after) == 2
        assert after & before == before - {min(before)}
        assert "worker ended; it is started again" in streams.text()
        assert streams.stop(60) == 0, streams.text()
    assert streams.text().count("streams stopped") == 2, streams.text()
    assert identities(outputs(settings)) == feed.sent


def test_no_worker_outlives_its_parent(kafka: KafkaBroker, tmp_path: Path) -> None:
    """The parent is started without the leash of the tests, which would end its workers as well."""
    streams = Streams(installation(kafka.bootstrap), tmp_path, workers=2)
    with streams.log.open("ab") as log:
        parent = subprocess.Popen(streams.command, env=streams.env(), cwd=tmp_path, stdout=log, stderr=log)
    try:
        started(streams.text, 2)
        workers = workers_of(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    assert len(workers) == 2
    until(lambda: not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in workers))


def test_what_somebody_has_to_mend_ends_all_with_the_workers_own_code(tmp_path: Path) -> None:
    kafka = {"bootstrap": f"{HOST}:{free_port()}", "development": True, "timeout_s": 1}
    settings = Settings.model_validate({"kafka": kafka, "streams": {"http_port": 0}})
    with running(settings, tmp_path, workers=2) as streams:
        assert streams.child.wait(60) == 69, streams.text()
    assert "cannot start, for the reason above" in streams.text()
