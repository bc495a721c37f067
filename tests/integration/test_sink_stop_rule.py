"""One sender's poison stops nothing; when most of what most send is poison, the sink stops before it buries any of it."""

import dataclasses
from collections.abc import Iterable

import pytest

from integration.sink_feed import EPOCH, Feed, Record, Store, now_us, record, running_services, running_sink
from integration.test_sink_dead_letters import read_topic
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.sink import service, store
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.errors import MostFail
from waiting import until

EACH = 40
NAMES = [f"c{number}" for number in range(10)]


def mixed(poisoned: Iterable[str], *, damaged: int = EACH) -> list[Record]:
    """EACH records of all ten, interleaved; the last `damaged` of each of the poisoned cannot be decoded."""
    bad = set(poisoned)
    return [
        dataclasses.replace(one, value=b"junk") if name in bad and seq > EACH - damaged else one
        for seq in range(1, EACH + 1)
        for name in NAMES
        for one in [record(name, seq)]
    ]


def dead(stored: Store) -> dict[str, str]:
    found = {name: stored.seqs("dead", name) for name in NAMES}
    return {name: str(seqs) for name, seqs in found.items() if seqs}


def with_sink(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"sink": settings.sink.model_copy(update=changes)})


@pytest.mark.parametrize(("damaged", "seqs"), [(4, "37-40"), (EACH, "1-40")])
def test_one_collector_is_dead_and_the_others_are_stored(
    settings: Settings, feed: Feed, stored: Store, damaged: int, seqs: str
) -> None:
    """One record of a hundred, or all that one of ten sends."""
    with running_sink(settings) as lifecycle:
        feed.admit(*mixed(["c3"], damaged=damaged))
        until(lambda: stored.stored() == 10 * EACH - damaged)
        until(lambda: dead(stored) == {"c3": seqs})
        assert not lifecycle.stopping
    assert deep_audit(settings).ok


def test_most_of_six_in_ten_stop_it_and_nothing_is_lost(settings: Settings, feed: Feed, stored: Store) -> None:
    """Started again it stops again; with the rule off, the control, the same records are dead and the others stored."""
    store.set_up(settings)
    feed.admit(*mixed(NAMES[:6]))
    careful = with_sink(settings, batch_wait_s=10, batch_records=10 * EACH)
    for _ in range(2):
        with pytest.raises(MostFail, match=r"240 of the last 400 records .* 6 of 10 collectors; 240 times damaged") as stopped:
            service.run(careful, Lifecycle())
        assert stopped.value.exit_code == 1
        assert (stored.stored(), dead(stored)) == (0, {})
        assert read_topic(settings, feed.topics.dead_letter) == []
        assert stored.one("select coalesce(sum(next_offset), 0) from pganalytics.positions") == 0
    with running_services(with_sink(settings, stop_on_failures=False)):
        until(lambda: stored.stored() == 4 * EACH)
        until(lambda: dead(stored) == dict.fromkeys(NAMES[:6], "1-40"))
    assert len(read_topic(settings, feed.topics.dead_letter)) == 6 * EACH
    assert deep_audit(settings).ok


def test_forged_headers_and_wrong_clocks_harm_no_neighbour(settings: Settings, feed: Feed, stored: Store) -> None:
    """A body of another record, no body at all, a clock two hours ahead and one that stands in 1970: each its own verdict."""
    hour = 3_600_000_000
    odd = {
        "body_disagrees": dataclasses.replace(record("c0", 1), value=record("c1", 2).value).header(
            "bytes", str(len(record("c1", 2).value or b"")).encode()
        ),
        "damaged": dataclasses.replace(record("c0", 2), value=None),
        "future": record("c0", 3, collected_at=now_us() + 2 * hour),
        "too_old": record("c0", 4, collected_at=hour),
    }
    with running_sink(settings):
        feed.admit(*(each for seq, one in enumerate(odd.values(), 1) for each in (one, record("c1", seq), record("c2", seq))))
        until(lambda: stored.stored() == 8)
        until(lambda: str(stored.seqs("dead", "c0", Lane.NORMAL, EPOCH)) == "1-4")
    assert stored.ask("select seq, reason from pganalytics.dead_letters order by 1") == list(enumerate(odd, 1))
    assert [str(stored.seqs("stored", name)) for name in ("c1", "c2")] == ["1-4", "1-4"]
    assert deep_audit(settings).ok
