"""An epoch ends by its own word, or is called orphaned or rolled back; what is left of it is named, never forgotten."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest

from integration.sink_feed import EPOCH, Feed, Record, Store, commit_as_streams, heartbeat, now_us, record, running_sink
from pganalytics.cli.advice import Advice
from pganalytics.cli.audit import problem_lines
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.sink.audit import audit
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.report import AuditReport
from pganalytics.sink.retire import retire
from pganalytics.sink.statements import statement
from pganalytics.sink.store import set_up
from waiting import until

LATER = EPOCH + 1


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """An accountant that does not take its time."""
    return settings.model_copy(update={"sink": settings.sink.model_copy(update={"settle_interval_s": 0.1})})


def beats(epoch: int, first: int, count: int, **options: Any) -> Iterator[Record]:
    """Heartbeats of one epoch, taken by the broker one after the other."""
    for seq in range(first, first + count):
        yield heartbeat("c", seq, {Lane.NORMAL: 5}, epoch=epoch, appended_at_us=next(TIMES), **options)


TIMES = itertools.count(now_us(), 1000)
UNSENT = [(EPOCH, Lane.NORMAL, 4, 5)]


def begin(feed: Feed) -> None:
    """An epoch with five records, of which three were sent and stored."""
    feed.admit(*(record("c", seq) for seq in range(1, 4)))
    feed.admit(*beats(EPOCH, 1, 1, unsent=UNSENT), lane=Lane.CRITICAL)


def orphans(settings: Settings) -> list[str]:
    return [odd.what for odd in audit(settings).epochs]


def told(stored: Store, kind: str) -> int:
    return int(stored.one("select count(*) from pganalytics.events where kind = %s", kind))


def settled_report(settings: Settings) -> AuditReport:
    """By the ledger; the deep audit must say the same."""
    report = audit(settings)
    assert deep_audit(settings).total == report.total
    return report


def test_a_spool_that_is_gone_is_named_with_its_bounds_until_it_is_retired(quick: Settings, feed: Feed, stored: Store) -> None:
    with running_sink(quick):
        begin(feed)
        feed.admit(*beats(LATER, 1, 2, unsent=[(LATER, Lane.NORMAL, 1, 5)]), lane=Lane.CRITICAL)
        until(lambda: stored.stored() == 6)
        assert orphans(quick) == []
        feed.admit(*beats(LATER, 3, 1, unsent=[(LATER, Lane.NORMAL, 1, 5)]), lane=Lane.CRITICAL)
        until(lambda: orphans(quick) == ["orphaned"])
        until(lambda: told(stored, "orphaned") == 1)
        report = settled_report(quick)
        assert (report.ok, report.total.in_spool, report.total.missing) == (False, 7, 0)
        line, advice = problem_lines(report, Advice())
        assert f"orphaned: epoch {EPOCH}: exact up to seq critical 1, normal 5, bulk 0; known and unsent: normal 4-5" in line
        assert advice.endswith(": pganalytics retire c")
        done = retire(quick, "c", silent_s=600, wait_s=30)
        assert done is not None
        assert [(one.epoch, one.left) for one in done.retired] == [(EPOCH, 2)]
        assert [one.epoch for one in done.kept] == [LATER]
        assert (done.missing, done.under_way) == (2, 0)
        report = settled_report(quick)
        assert (orphans(quick), report.ok, report.total.missing, report.total.in_spool) == ([], False, 2, 5)
        assert {str(finding.seqs) for finding in report.findings} == {"4-5"}
        until(lambda: (told(stored, "retired"), told(stored, "missing")) == (1, 1))
        feed.admit(record("c", 4), record("c", 5))
        until(lambda: audit(quick).ok)
        assert retire(quick, "nobody", silent_s=0, wait_s=0) is None


def test_a_silent_collector_is_retired_only_when_asked_for(quick: Settings, feed: Feed, stored: Store) -> None:
    """Its heartbeats stopped and no other came: nobody can tell a long outage from the end."""
    with running_sink(quick):
        begin(feed)
        until(lambda: stored.stored() == 4)
        kept = retire(quick, "c", silent_s=600, wait_s=0)
        assert kept is not None
        assert ([one.epoch for one in kept.kept], kept.retired) == ([EPOCH], ())
        assert audit(quick).total.in_spool == 2
        done = retire(quick, "c", silent_s=0, wait_s=30)
        assert done is not None
        assert (done.missing, done.under_way) == (2, 0)


def test_a_heartbeat_takes_orphaned_and_retired_back(quick: Settings, feed: Feed, stored: Store) -> None:
    with running_sink(quick):
        begin(feed)
        feed.admit(*beats(LATER, 1, 3), lane=Lane.CRITICAL)
        until(lambda: orphans(quick) == ["orphaned"])
        feed.admit(*beats(EPOCH, 2, 1, unsent=UNSENT), lane=Lane.CRITICAL)
        until(lambda: orphans(quick) == [])
        feed.admit(*beats(LATER, 4, 3), lane=Lane.CRITICAL)
        until(lambda: orphans(quick) == ["orphaned"])
        retire(quick, "c", silent_s=600, wait_s=0)
        feed.admit(*beats(LATER, 7, 1, old=[(EPOCH, (2, 5, 0), False)], unsent=UNSENT), lane=Lane.CRITICAL)
        until(lambda: stored.one("select count(*) from pganalytics.epochs where retired_at is null and omissions = 0") == 2)


def test_what_the_streams_lost_of_an_epoch_is_looked_for_before_it_is_called_orphaned(
    quick: Settings, feed: Feed, stored: Store
) -> None:
    """Here its final heartbeat, and a record that no heartbeat had told of."""
    with running_sink(quick):
        begin(feed)
        final = heartbeat("c", 2, {Lane.NORMAL: 6}, epoch=EPOCH, final=True)
        feed.send(feed.topics.collected(Lane.CRITICAL), final)
        feed.send(feed.topics.collected(Lane.NORMAL), *(record("c", seq) for seq in range(4, 7)))
        commit_as_streams(quick)
        feed.admit(*beats(LATER, 1, 3, unsent=[(LATER, Lane.NORMAL, 1, 5)]), lane=Lane.CRITICAL)
        until(lambda: stored.ask("select final from pganalytics.epochs where epoch = %s", EPOCH) == [(True,)])
        until(lambda: str(stored.seqs("stored", "c")) == "1-6")
        assert orphans(quick) == []
        assert told(stored, "orphaned") == 0


def test_with_repair_off_it_is_orphaned_at_once(quick: Settings, feed: Feed) -> None:
    """The control of the test above."""
    plain = quick.model_copy(update={"sink": quick.sink.model_copy(update={"repair": False})})
    with running_sink(plain):
        begin(feed)
        feed.send(feed.topics.collected(Lane.CRITICAL), heartbeat("c", 2, {Lane.NORMAL: 5}, epoch=EPOCH, final=True))
        commit_as_streams(plain)
        feed.admit(*beats(LATER, 1, 3), lane=Lane.CRITICAL)
        until(lambda: orphans(plain) == ["orphaned"])


def test_a_spool_that_was_put_back_is_noticed_by_its_final_heartbeat(quick: Settings, feed: Feed, stored: Store) -> None:
    """Five were known, the spool of an hour ago knows three: the two that are nowhere are missing, the epoch is named."""
    with running_sink(quick):
        begin(feed)
        until(lambda: stored.stored() == 4)
        feed.admit(*beats(LATER, 1, 1, old=[(EPOCH, (1, 3, 0), True)], unsent=[(LATER, Lane.NORMAL, 1, 5)]), lane=Lane.CRITICAL)
        until(lambda: orphans(quick) == ["rolled_back"])
        until(lambda: audit(quick).total.missing == 2)
        until(lambda: told(stored, "spool_rolled_back") == 1)
        assert stored.one("select seqs::text from pganalytics.events where kind = 'spool_rolled_back'") == "{[4,6)}"
        assert "rolled_back" in "\n".join(problem_lines(settled_report(quick), Advice()))


def test_a_final_heartbeat_that_is_right_raises_no_alarm(quick: Settings, feed: Feed, stored: Store) -> None:
    """The control of all of these: also when it comes before its records."""
    with running_sink(quick):
        feed.admit(heartbeat("c", 1, {Lane.NORMAL: 3}, final=True, appended_at_us=next(TIMES)), lane=Lane.CRITICAL)
        feed.admit(*beats(LATER, 1, 4, unsent=[(LATER, Lane.NORMAL, 1, 5)]), lane=Lane.CRITICAL)
        feed.admit(*(record("c", seq) for seq in range(1, 4)))
        until(lambda: stored.stored() == 8)
        report = settled_report(quick)
        assert (report.ok, report.epochs, report.total.in_kafka, report.total.in_spool) == (True, (), 0, 5)


@pytest.mark.parametrize("seed", range(20))
def test_listings_count_once_each_in_the_broker_s_order(settings: Settings, seed: int) -> None:
    """However they come in batches, and however often: against a model that takes them one by one."""
    chance = random.Random(seed)
    history = [(at, chance.choice((1, 2, 3, 6)), chance.sample(range(1, 6), chance.randint(1, 4))) for at in range(1, 30)]
    model: dict[int, int] = {}
    for _, sixths, named in history:
        model = {epoch: 0 if epoch in named else count + sixths for epoch, count in model.items()}
        model |= dict.fromkeys(named, 0)
    set_up(settings)
    with StoreConnection.open(settings.store, name="test") as store:
        place = 0
        while place < len(history):
            following = place + chance.randint(1, 6)
            batch = history[max(0, place - chance.randint(0, 4)) : following]
            chance.shuffle(batch)
            epochs = sorted({epoch for _, _, named in batch for epoch in named})
            nothing = [None] * len(epochs)
            plain = [["c"] * len(epochs), epochs, nothing, nothing, [False] * len(epochs), nothing, nothing, nothing]
            store.execute(statement("epochs_upsert"), plain)
            columns = zip(*(("c", at, sixths / 6, ",".join(map(str, named))) for at, sixths, named in batch), strict=True)
            store.execute(statement("epochs_omit"), [list(column) for column in columns])
            place = following
        found = store.execute("select epoch, omissions from pganalytics.epochs").fetchall()
        assert {epoch: round(omissions * 6) for epoch, omissions in found} == model
