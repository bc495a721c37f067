"""Value is conserved from the counter to the record: what the stored deltas add up to is what the counters moved.

The real runner, diff, baseline log, encoder and spool; a server, a broker and a store of a few lines. Histories of work, resets,
evictions, crashes of the server, readings that are torn, refused by the spool, or end in a death of the agent just before or
just after the commit, after which the next agent finds the files as they were.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pganalytics.producers.answers import Answer, Questions
from pganalytics.producers.collectors import Job
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.records import Snapshot
from pganalytics.producers.results import Collected, Failed, HeldBack
from pganalytics.producers.runner import Runner
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.spool import Spool
from pganalytics.producers.tables import Table
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.settings import Target
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.identity import Identity
from pganalytics.schemas.metric import builtin_schemas

SCHEMA = builtin_schemas()["statements"]
WHO, SECOND_US, BEGIN_US = "one:5432", 1_000_000, 1_000_000_000_000_000
CONTEXT = ["server_time", "system_identifier", "postmaster_start", "lineage", "crash", "stats_reset", "dealloc"]
ROWS = ["queryid", "dbid", "userid", "toplevel", "stats_since", "calls", "total_exec_time"]
Moved = Counter[tuple[int, str]]


class Died(BaseException):
    """The agent is no more."""


@dataclass
class Server:
    """Counters, and what happened to them. `moved` since the first durable reading; `seen` is the last durable reading."""

    clock_us: int = BEGIN_US
    lineage_us: int = BEGIN_US
    crash_us: int | None = None
    entries: dict[int, Counter[str]] = field(default_factory=dict)
    since: dict[int, int] = field(default_factory=dict)
    unseen: Moved = field(default_factory=Counter)
    moved: Moved | None = None
    torn: bool = False

    def work(self, key: int, calls: int, time: int) -> None:
        """A statement is executed."""
        self.since.setdefault(key, self.clock_us)
        self.entries.setdefault(key, Counter()).update(calls=calls, total_exec_time=time)
        self.unseen.update({(key, "calls"): calls, (key, "total_exec_time"): time})

    def evict(self, key: int) -> None:
        """PostgreSQL forgets an entry, and with it what nobody has read."""
        self.entries.pop(key, None)
        self.since.pop(key, None)
        for name in ("calls", "total_exec_time"):
            self.unseen.pop((key, name), None)

    def reset(self, *, by_crash: bool = False) -> None:
        """PostgreSQL forgets everything, and says when."""
        for key in list(self.entries):
            self.evict(key)
        self.lineage_us = self.clock_us
        if by_crash:
            self.crash_us = self.clock_us

    def was_read(self) -> None:
        """A reading became durable: what moved before it counts from now on."""
        if self.moved is None:
            self.moved = Counter()
        else:
            self.moved.update(self.unseen)
        self.unseen.clear()

    def ask_together(self, jobs: Sequence[Job]) -> list[Answer]:
        """As `Questions.ask_together`."""
        return [self.ask() for _ in jobs]

    def ask(self) -> Answer:
        """One reading."""
        before = self._context()
        rows = [
            (key, 5, 10, True, self.since[key], counters["calls"], counters["total_exec_time"])
            for key, counters in self.entries.items()
        ]
        if self.torn:
            self.clock_us += SECOND_US
            self.reset()
        return Answer(self.clock_us, self.clock_us, before, {"rows": Table(ROWS, rows)}, self._context())

    def _context(self) -> Table:
        return Table(CONTEXT, [(self.clock_us, "7", BEGIN_US, self.lineage_us, self.crash_us, self.lineage_us, 0)])


class TroubledSpool(Spool):
    """Its next append may be refused, or be the last thing that the agent does."""

    trouble = ""

    def append_many(self, snapshots: Sequence[Snapshot]) -> list[Identity | None]:
        trouble, self.trouble = self.trouble, ""
        if trouble == "refused":
            raise Refused("disk")
        if trouble == "dies-before":
            raise Died
        identities = super().append_many(snapshots)
        if trouble == "dies-after":
            raise Died
        return identities


@dataclass
class World:
    """A server, an agent with its files, and a store. `limit`: rows in detail."""

    folder: Path
    limit: int
    spool_type: type[TroubledSpool] = TroubledSpool
    server: Server = field(default_factory=Server)
    store: dict[Identity, bytes] = field(default_factory=dict)
    lives: int = 0

    def begin(self) -> None:
        """An agent starts with what the one before left."""
        self.lives += 1
        self.spool = self.spool_type.open(self.folder / str(self.lives))
        self.spool.start_epoch(WHO, self.lives)
        questions = cast(Questions, self.server)
        self.runner = Runner(questions, self.spool, {WHO: self.lives}, {WHO: TargetState()})

    def die(self) -> None:
        """The files stay as they are at this moment; the next agent gets them."""
        shutil.copytree(self.folder / str(self.lives), self.folder / str(self.lives + 1))
        self.spool.close()
        self.begin()

    def read(self, trouble: str = "") -> None:
        """One job."""
        self.server.torn = trouble == "torn"
        self.spool.trouble = trouble
        job = Job(JobKey(WHO, SCHEMA.name), Target(user="nobody"), SCHEMA, 60.0, 1.0, self.limit, {})
        try:
            (outcome,) = self.runner.run([job])
        except Died:
            if trouble == "dies-after":
                self.server.was_read()
            self.die()
            return
        expected = {"torn": Failed, "refused": HeldBack}.get(trouble, Collected)
        assert isinstance(outcome, expected), outcome
        if expected is Collected:
            self.server.was_read()

    def send(self, *, twice: bool) -> None:
        """What is in the spool is stored by identity; without an acknowledgement it is sent again later."""
        for one in self.spool.unsent(SCHEMA.lane, limit=1000, exclude=(), schemas=[SCHEMA.id]):
            assert one.body is not None
            assert self.store.setdefault(one.headers.identity, one.body) == one.body
            if not twice:
                self.spool.acknowledge([one.id])

    def stored(self) -> Moved:
        """The sums of all deltas, by queryid; what no row names in detail is under -1."""
        sums: Moved = Counter()
        for body in self.store.values():
            columns = fill(SCHEMA.groups["rows"], RecordCodec(SCHEMA).decode(body))
            for row, remainder in enumerate(columns["remainder"]):
                key = -1 if remainder else columns["queryid"][row]
                sums.update({(key, name): columns[name][row] for name in ("calls", "total_exec_time")})
        return sums

    def play(self, history: list[tuple[Any, ...]]) -> None:
        """A history between a first and a last reading."""
        self.begin()
        try:
            for step in [("read", ""), *history, ("read", ""), ("send", False)]:
                self.server.clock_us += SECOND_US
                name, *arguments = step
                match name:
                    case "read":
                        self.read(*arguments)
                    case "send":
                        self.send(twice=arguments[0])
                    case "die":
                        self.die()
                    case "crash":
                        self.server.reset(by_crash=True)
                    case _:
                        getattr(self.server, name)(*arguments)
        finally:
            self.spool.close()


def totals(moved: Moved) -> Counter[str]:
    sums: Counter[str] = Counter()
    for (_, name), amount in moved.items():
        sums[name] += amount
    return +sums


@contextmanager
def played(
    history: list[tuple[Any, ...]], *, limit: int = 1000, spool_type: type[TroubledSpool] = TroubledSpool
) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), limit, spool_type)
        world.play(history)
        yield world


KEYS = st.integers(1, 4)
TROUBLES = ("", "", "refused", "torn", "dies-before", "dies-after")
HISTORIES = st.lists(
    st.one_of(
        st.tuples(st.just("work"), KEYS, st.integers(0, 9), st.integers(0, 10**12)),
        st.tuples(st.just("evict"), KEYS),
        st.tuples(st.just("read"), st.sampled_from(TROUBLES)),
        st.tuples(st.just("send"), st.booleans()),
        st.sampled_from([("reset",), ("crash",), ("die",)]),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(history=HISTORIES, limit=st.sampled_from([2, 1000]))
def test_what_is_stored_adds_up_to_what_moved(history: list[tuple[Any, ...]], limit: int) -> None:
    with played(history, limit=limit) as world:
        moved = world.server.moved
        assert moved is not None
        assert totals(world.stored()) == totals(moved)
        if limit > 4:
            assert +world.stored() == +moved


class BaselineMovesAlone(TroubledSpool):
    """What is refused is the record only."""

    def append_many(self, snapshots: Sequence[Snapshot]) -> list[Identity | None]:
        if self.trouble == "refused":
            Spool.append_many(self, [Snapshot(None, one.movement) for one in snapshots])
        return super().append_many(snapshots)


class RecordGoesAlone(TroubledSpool):
    """The baseline is to follow later, and does not when the agent dies."""

    def append_many(self, snapshots: Sequence[Snapshot]) -> list[Identity | None]:
        if self.trouble == "dies-after":
            snapshots = [Snapshot(one.record, None) for one in snapshots]
        return super().append_many(snapshots)


@pytest.mark.parametrize(
    ("spool", "trouble", "stored"),
    [(BaselineMovesAlone, "refused", 2), (RecordGoesAlone, "dies-after", 12), (TroubledSpool, "", 7)],
)
def test_control_a_record_without_its_baseline_or_the_reverse_is_caught(
    spool: type[TroubledSpool], trouble: str, stored: int
) -> None:
    """An interval is lost, or counts twice; and the sums tell."""
    history = [("work", 1, 5, 50), ("read", trouble), ("die",), ("work", 1, 2, 20)]
    with played(history, spool_type=spool) as world:
        assert world.server.moved == {(1, "calls"): 7, (1, "total_exec_time"): 70}
        assert world.stored()[1, "calls"] == stored
