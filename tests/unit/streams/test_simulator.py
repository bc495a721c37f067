"""Ten thousand simulated histories hold what was promised; and with a fault planted in the rules they are found not to."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos import soak
from pganalytics.schemas.events import EventKind
from pganalytics.streams import gaps, processor, pulses, quota
from pganalytics.streams.bounded import Bounded
from pganalytics.streams.partition_time import PartitionTime
from pganalytics.streams.processor import Decided, Processor, Run
from unit.streams.simulator import describe, simulate

HISTORIES = 10_000
TOLD = (
    EventKind.DEFERRED,
    EventKind.SHED,
    EventKind.GAP,
    EventKind.GAP_FILLED,
    EventKind.GAP_CONFIRMED,
    EventKind.TAIL,
    EventKind.SILENT,
    EventKind.BACK,
    EventKind.RESTARTED,
    EventKind.CONFLICT,
    EventKind.CLOCK_SKEW,
    EventKind.SEQ_REUSED,
)


def test_ten_thousand_histories_hold() -> None:
    """And they meet everything that may be told."""
    found = simulate(range(HISTORIES))
    assert found.problems == [], "\n".join(describe(found))
    assert found.histories == HISTORIES
    rare = min(TOLD, key=lambda kind: found.met[kind])
    assert found.met[rare] >= 10, describe(found)


Plant = Callable[[pytest.MonkeyPatch], None]


def _one_range_over_all(patch: pytest.MonkeyPatch) -> None:
    """A range covers seqs that went another way."""

    def note(outcome: Any, kind: EventKind, arrival: Any, who: Any, why: str) -> None:
        runs = outcome.held.setdefault((kind, who.stream), [])
        if runs:
            runs[0].low, runs[0].high = min(runs[0].low, who.seq), max(runs[0].high, who.seq)
        else:
            runs.append(Run(arrival, why, who.seq, who.seq))

    patch.setattr(processor, "_note_held", note)


def _a_record_goes_twice(patch: pytest.MonkeyPatch) -> None:
    real = Processor.process

    def process(self: Processor, arrivals: Any) -> Decided:
        decided = real(self, arrivals)
        return replace(decided, records=[*decided.records, *decided.records[6:7]])

    patch.setattr(Processor, "process", process)


def _ids_by_chance(patch: pytest.MonkeyPatch) -> None:
    """An event's place depends on how many there were before."""
    made: list[int] = []
    real = gaps._confirmed

    def confirmed(holes: list[gaps.Hole]) -> gaps.Finding:
        made.append(1)
        return replace(real(holes), offset=len(made))

    patch.setattr(gaps, "_confirmed", confirmed)


def _others_reading_is_ours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PartitionTime, "begin", lambda self, offset: None)


def _quiet_time_counts_in_full(patch: pytest.MonkeyPatch) -> None:
    def move(self: PartitionTime, at_us: int) -> bool:
        self.live_us += max(0, at_us - self.at_us)
        self.at_us = max(self.at_us, at_us)
        return self.deadlines.first_us <= self.live_us

    patch.setattr(PartitionTime, "move", move)


def _nothing_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Bounded, "put", lambda self, key, value: self._entries.update({key: value}))


def _time_is_forgiven(patch: pytest.MonkeyPatch) -> None:
    """Spent is what is left after half of it was earned twice."""
    real = quota._add
    patch.setattr(quota, "_add", lambda spent, granted, cost, most: real(spent, granted, cost // 2, most))


def _constant(module: Any, name: str, value: object) -> Plant:
    return lambda patch: patch.setattr(module, name, value)


FAULTS: dict[str, Plant] = {
    "ranges cover too much": _one_range_over_all,
    "a record goes twice": _a_record_goes_twice,
    "ids by chance": _ids_by_chance,
    "state outlives another's reading": _others_reading_is_ours,
    "an outage is silence": _quiet_time_counts_in_full,
    "memory without bounds": _nothing_is_forgotten,
    "half of the costs": _time_is_forgiven,
    "a verdict does not stick": _constant(quota, "STICKY_US", 0),
    "heartbeats have no right of way": _constant(quota, "BEATS_AT_ONCE", -9),
    "one hole is remembered": _constant(gaps, "MOST_HOLES", 1),
    "two changes are a conflict": _constant(pulses, "SWITCHES", 2),
    "silence lasts": _constant(pulses, "fall_silent", lambda pulse: pulse),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[fault](monkeypatch)
    found = simulate(range(HISTORIES), most_problems=1)
    assert len(found.problems) == 1
    assert "; again: make soak ARGS=" in found.problems[0]


def test_the_soak_simulates_and_tells_how_to_see_a_failure_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert soak.main(["--histories", "3", "--seed", "7"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "problems 0"
    FAULTS["a record goes twice"](monkeypatch)
    assert soak.main(["--histories", "20", "--seed", "7"]) == 1
    again = re.search(r'make soak ARGS="(--histories 1 --seed [0-9]+)"', capsys.readouterr().out)
    assert again is not None
    assert soak.main(again[1].split()) == 1
