"""Designs that lose or cry wolf, each caught: what our own shape is for.

Others stand beside what they are controls of: no row locks, locks before inserts, a ledger of counts (`test_sink_ledger`),
no guard (`test_streams`, `test_losses`), no back-off and no limit of log lines (`test_store_outages`, `test_broker_outage`).
"""

import signal
import time
from pathlib import Path

import pytest

from chaos.test_losses import told
from integration.outages import running
from integration.sink_faults import DIES_AT_SEQ
from integration.sink_feed import EPOCH, Feed, Store, commit_as_streams, heartbeat, record, running_sink
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.sink.accountant import Accountant
from pganalytics.sink.audit import audit, wait_until_settled
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.settling import Open, Round
from pganalytics.sink.store import set_up
from waiting import until

DEADLINE_S = 0.5
BACKLOG_S = 6 * DEADLINE_S
COLLECTED = 200
EMITTED = 600


def test_control_what_faust_commits_by_its_own_logic_is_lost_and_named(settings: Settings, tmp_path: Path) -> None:
    """Faust acks a batch whose agent raised, and commits over it. The audit names each of these records, and no other."""
    chosen = settings.model_copy(update={"sink": settings.sink.model_copy(update={"repair": False, "settle_interval_s": 0.5})})
    set_up(chosen)
    feed, stored = Feed(chosen), Store(chosen)
    with running(chosen, tmp_path) as services:
        services.start("streams", fault="faust-commits")
        services.start("sink")
        for first in range(1, EMITTED, 20):
            feed.send(feed.topics.collected(Lane.NORMAL), *(record("c", seq) for seq in range(first, first + 20)))
        feed.send(feed.topics.collected(Lane.CRITICAL), heartbeat("c", 1, {Lane.NORMAL: EMITTED}))
        until(lambda: audit(chosen).total.emitted == EMITTED + 1, 60)
        wait_until_settled(chosen, timeout_s=60)
    lost = set(range(1, EMITTED + 1)) - {seq for (seq,) in stored.ask("select seq from metrics.database")}
    report = audit(chosen)
    assert lost
    assert not report.ok
    assert [(each.what, set(each.seqs)) for each in report.findings] == [("missing", lost)]
    assert (report.total.stored, report.total.missing) == (EMITTED + 1 - len(lost), len(lost))


@pytest.mark.parametrize(("fault", "lost"), [("dies", ""), ("dies-offsets-first", str(DIES_AT_SEQ))])
def test_control_offsets_that_are_committed_before_the_store_lose_a_batch(
    fault: str, lost: str, settings: Settings, tmp_path: Path
) -> None:
    """SIGKILL between the two. In our order nothing is lost by it; in the other the audit names the batch."""
    settings = settings.model_copy(update={"sink": settings.sink.model_copy(update={"session_timeout_s": 6.0})})
    set_up(settings)
    feed, stored = Feed(settings), Store(settings)
    with running(settings, tmp_path) as services:
        services.start("sink", fault=fault)
        feed.admit(*(record("c", seq) for seq in range(1, DIES_AT_SEQ)))
        until(lambda: stored.stored() == DIES_AT_SEQ - 1)
        feed.admit(record("c", DIES_AT_SEQ))
        assert services.children["sink"].wait(60) == -signal.SIGKILL, services.log("sink")
        services.start("sink", fault=fault)
        feed.admit(*(record("c", seq) for seq in range(DIES_AT_SEQ + 1, 41)))
        feed.admit(heartbeat("c", 1, {Lane.NORMAL: 40}), lane=Lane.CRITICAL)
        until(lambda: 40 in stored.seqs("stored", "c") and stored.seqs("stored", "c", Lane.CRITICAL))
        until(lambda: deep_audit(settings).total.in_kafka == 0)
    report = deep_audit(settings)
    assert report.ok is not bool(lost)
    assert [(each.what, each.stream.lane, str(each.seqs)) for each in report.findings] == (
        [("missing", Lane.NORMAL, lost)] if lost else []
    )
    assert report.total.stored == 41 - report.total.missing


def judge_by_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accountant that waits for a time, and not for positions."""
    seen: dict[int, tuple[Open, float]] = {}

    def is_old(accountant: Accountant, *args: object) -> bool:
        current = args[-1]
        assert isinstance(current, Round)
        return time.monotonic() - seen.setdefault(id(current.taken), (current.taken, time.monotonic()))[1] > DEADLINE_S

    monkeypatch.setattr(Accountant, "_is_committed", is_old)
    monkeypatch.setattr(Accountant, "_is_passed", is_old)


@pytest.mark.parametrize("repair", [True, False])
@pytest.mark.parametrize("by_age", [False, True])
def test_a_backlog_six_deadlines_long_alarms_nobody(
    by_age: bool, repair: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The streams have passed a heartbeat on and stand still before what it counts. With the control: who judges by age repairs
    all of it for nothing, or calls all of it missing. One record is really nowhere, and is found by both."""
    if by_age:
        judge_by_age(monkeypatch)
    chosen = settings.model_copy(update={"sink": settings.sink.model_copy(update={"repair": repair, "settle_interval_s": 0.1})})
    feed, stored = Feed(chosen), Store(chosen)
    backlog = [record("c", seq) for seq in range(1, COLLECTED + 1)]
    beat = heartbeat("c", 1, {Lane.NORMAL: COLLECTED + 1})
    feed.send(feed.topics.collected(Lane.NORMAL), *backlog)
    feed.send(feed.topics.collected(Lane.CRITICAL), beat)
    feed.admit(beat, lane=Lane.CRITICAL)
    commit_as_streams(chosen, [Lane.CRITICAL])
    with running_sink(chosen):
        until(lambda: stored.seqs("stored", "c", Lane.CRITICAL))
        time.sleep(BACKLOG_S)  # the streams' own standstill
        feed.admit(*backlog)
        commit_as_streams(chosen, [Lane.NORMAL])
        until(lambda: stored.stored() == COLLECTED + 1)
        until(lambda: ("c", EPOCH, "normal", COLLECTED + 1) in told(chosen, "missing"))
    alarms = {seq for kind in ("repaired", "missing") for _, _, _, seq in told(chosen, kind)} - {COLLECTED + 1}
    assert alarms == (set(range(1, COLLECTED + 1)) if by_age else set())
    report = deep_audit(chosen)
    assert (report.total.stored, report.total.missing, report.total.duplicates) == (COLLECTED + 1, 1, 0)
