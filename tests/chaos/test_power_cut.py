"""The agent's machine loses power: what its spool has said is durable is there, whatever the disk had not yet written.

SIGKILL does not show that, as the operating system writes what a dead process has left behind. Here the real spool runs on a
disk that forgets what was not fsynced, see `chaos.disk`. What was told before the cut is compared with what the spool has after
it; of the call that the cut ended all is there or nothing.
"""

import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from chaos.disk import UNCUT, Disk
from chaos.machines import Machines
from chaos.spool_history import History, read
from pganalytics.producers.group_commit import Refused, SpoolClosed
from pganalytics.producers.spool import Spool
from pganalytics.producers.spool_file import FILE, LOCK
from pganalytics.runtime.errors import Unreachable

SEEDS = range(30)
LIVES = 4
CALLS = 40
CHECKPOINT_PAGES = (20, 1000)
"""Pages of the log after which it is copied into the database: few, so that this happens often, or SQLite's own number."""
AT_ONCE = 16
"""Histories. A spool takes a tenth of a second to close."""


FILES = {FILE, f"{FILE}-wal", f"{FILE}-journal", LOCK}
Counted = TypeVar("Counted")


@dataclass
class Outcome:
    """What became of a history, over all its lives."""

    found: Counter[str] = field(default_factory=Counter)
    """How the spool differed from what was told."""
    cuts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Operation and file in which the power went."""
    happened: Counter[bool] = field(default_factory=Counter)
    """Whether the call that was cut had its effect all the same."""
    is_past: bool = True
    """Whether the spool was each time in some state that was told once."""


def kept_parts(chance: random.Random, worst: bool) -> Callable[[], bool]:
    """What a cut keeps of what was not fsynced: nothing, or a share of its sectors."""
    share = 0.0 if worst else chance.choice((0.1, 0.5, 0.9, 1.0, 1.0))
    return lambda: chance.random() < share


def disk_of(chance: random.Random, worst: bool) -> Disk:
    """A disk that loses power soon: in any operation; when something is all written and not synced; in a checkpoint."""
    keeps = kept_parts(chance, worst)
    match chance.randrange(6):
        case 0 | 1:
            return Disk(keeps, chance.randint(1, CALLS), lambda operation, _: operation == "sync")
        case 2:
            return Disk(keeps, chance.randint(1, 50), lambda _, file: file == FILE)
        case _:
            return Disk(keeps, chance.randrange(1, 2 ** chance.randint(4, 10)))


def judge(history: History, spool: Spool, outcome: Outcome) -> None:
    """Compare with what was told, and go on from what is there."""
    found = read(spool)
    outcome.found += history.differences(found)
    outcome.is_past &= found in (*history.past, history.doubtful)
    if history.doubtful not in (None, history.told):
        outcome.happened[found == history.doubtful] += 1
    outcome.found += Counter({"given again": len(history.resume(spool))})


def live(history: History, chance: random.Random, folder: Path, disk: Disk, outcome: Outcome) -> None:
    """One life of an agent, up to the power cut: in an operation of the disk, between two calls, or after a clean end."""
    with contextlib.closing(Spool.open(folder)) as spool:
        judge(history, spool, outcome)
        history.live(spool, chance.randrange(CALLS))
        if chance.random() < 0.5:
            disk.power_cut()


def run(seed: int, folder: Path, machines: Machines, *, worst: bool) -> Outcome:
    """Several lives of an agent, each ended by a power cut; what each finds, and what is there in the end."""
    chance = random.Random(seed)
    history, outcome = History(chance), Outcome()
    try:
        for _ in range(LIVES):
            disk = disk_of(chance, worst)
            with machines.running(folder, disk, chance.choice(CHECKPOINT_PAGES)):
                try:
                    live(history, chance, folder, disk, outcome)
                except (Refused, SpoolClosed, Unreachable, sqlite3.Error):
                    if disk.is_on:
                        raise
                if disk.is_on:
                    disk.power_cut()
            outcome.cuts[disk.cut_in] += 1
        with contextlib.closing(Spool.open(folder)) as spool:
            judge(history, spool, outcome)
    except (Refused, SpoolClosed, Unreachable, sqlite3.Error):
        outcome.found["damaged"] += 1
    if {path.name for path in folder.iterdir()} - FILES:
        outcome.found["damaged"] += 1  # and set aside
    return outcome


def run_all(folder: Path, monkeypatch: pytest.MonkeyPatch, *, worst: bool, synchronous: str = "full") -> list[Outcome]:
    """A history for each seed."""
    machines = Machines(synchronous)
    monkeypatch.setattr(sqlite3, "connect", machines.connect)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda seed: run(seed, folder / str(seed), machines, worst=worst), SEEDS))


def total(counters: Iterable[Counter[Counted]]) -> Counter[Counted]:
    """Of all histories."""
    return sum(counters, Counter())


@pytest.mark.parametrize("worst", [True, False], ids=["nothing", "random_sectors"])
def test_a_power_cut_takes_nothing_that_was_told(worst: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether nothing is left of what was not fsynced, or some of its sectors."""
    outcomes = run_all(tmp_path, monkeypatch, worst=worst)
    assert {seed: one.found for seed, one in zip(SEEDS, outcomes, strict=True) if one.found} == {}
    assert all(one.is_past for one in outcomes)
    cuts = total(one.cuts for one in outcomes)
    in_commit, in_checkpoint = (cuts["write", file] and cuts["sync", file] for file in (f"{FILE}-wal", FILE))
    assert all((in_commit, in_checkpoint, cuts[UNCUT])), f"the power never went there: {cuts}"
    happened = total(one.happened for one in outcomes)
    assert happened.keys() == ({False} if worst else {False, True}), happened


@pytest.mark.parametrize("worst", [True, False], ids=["nothing", "random_sectors"])
def test_without_fsync_it_is_noticed_what_a_power_cut_takes(worst: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control with `synchronous=off`: records are lost that were told, or the spool is damaged as a whole.

    For an audit that is a spool that was put back to an earlier state, or is gone: `chaos.test_spools` has both. What the ledger
    had heard of in heartbeats becomes `missing`, with `spool_rolled_back` or `orphaned` as the name; what was told after the last
    heartbeat is in nobody's count, and that is why fsync is not optional. What Kafka had acknowledged already goes out again and
    stops at the ledger. A baseline that went back makes the next delta cover an interval that the store has already.
    """
    found = total(one.found for one in run_all(tmp_path, monkeypatch, worst=worst, synchronous="off"))
    assert {"lost", "seqs forgotten", "baselines"} <= found.keys(), found
    assert worst or found["damaged"], found


def test_with_fsync_at_checkpoints_only_a_power_cut_takes_the_latest_and_this_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control with `synchronous=normal`: never damaged, always a state that was told once, and too old a one."""
    outcomes = run_all(tmp_path, monkeypatch, worst=True, synchronous="normal")
    found = total(one.found for one in outcomes)
    assert all(one.is_past for one in outcomes)
    assert {"lost", "came back", "seqs forgotten", "baselines", "given again"} <= found.keys(), found
    assert not found.keys() & {"damaged", "half of a call"}, found
