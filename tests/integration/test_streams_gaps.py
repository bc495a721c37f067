"""What does not come is told by a real broker's time, also when nothing else comes."""

from pathlib import Path

from integration.streams_feed import EPOCH, Feed, events, installation, running
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.identity import Lane
from waiting import until

K = EventKind
GAPS = {"confirm_after_s": 2, "heartbeat_s": 0.5, "silent_after": 10}
OTHER = 2 * EPOCH


def beat(feed: Feed, seq: int, epoch: int = EPOCH) -> None:
    feed.record("db0", seq, lane=Lane.CRITICAL, metric="heartbeat", epoch=epoch)


def told(settings: Settings, kind: EventKind) -> list[Event]:
    return [event for event in events(settings) if event.kind is kind]


def test_gaps_silence_restarts_and_conflicts(kafka: KafkaBroker, tmp_path: Path) -> None:
    """One collector in its partitions: what is due while nothing comes only a tick can tell."""
    settings = installation(kafka.bootstrap, gaps=GAPS)
    feed = Feed(settings)
    with running(settings, tmp_path) as streams:
        for seq in (1, 5, 4):
            feed.record("db0", seq)
        beat(feed, 1)
        feed.flush()
        until(lambda: told(settings, K.GAP_CONFIRMED), 60, every_s=0.3)
        until(lambda: told(settings, K.SILENT), 60, every_s=0.3)
        beat(feed, 2)
        feed.flush()
        until(lambda: told(settings, K.BACK), 60, every_s=0.3)
        for seq in range(3, 6):
            beat(feed, seq)
            beat(feed, seq, OTHER)
        feed.flush()
        until(lambda: told(settings, K.CONFLICT), 60, every_s=0.3)
        assert streams.stop() == 0, streams.text()
    [confirmed], [silent, *_], [back, *_] = (told(settings, kind) for kind in (K.GAP_CONFIRMED, K.SILENT, K.BACK))
    assert (confirmed.lane, str(confirmed.ranges), confirmed.offset) == (Lane.NORMAL, "2-3", 1)
    [gap] = told(settings, K.GAP)
    assert confirmed.at_us == gap.at_us + 2_000_000
    assert (silent.collector, silent.epoch, silent.offset) == ("db0", EPOCH, 0)
    assert back.at_us >= silent.at_us
    assert (back.epoch, back.detail) == (EPOCH, "unknown: a heartbeat came")
    [restarted], [conflict] = told(settings, K.RESTARTED), told(settings, K.CONFLICT)
    assert (restarted.epoch, restarted.detail) == (OTHER, f"epoch {OTHER} follows epoch {EPOCH}")
    assert str(EPOCH) in conflict.detail
    assert str(OTHER) in conflict.detail
