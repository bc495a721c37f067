"""Histories of collectors and of a stream processor, made from a seed: what is appended to the logs, and what is read when.

A history is a list of steps. Facts are beside each record, so that the model need not read headers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from pganalytics.schemas.headers import HeartbeatFacts
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.streams.records import Arrival, Partition
from unit.streams.arrivals import START_US, TOPICS, arrival
from unit.streams.quota_model import Quota

SECOND = 1_000_000
NAMES = ("a", "ab", "c")
MOST_STARTS = 3
"""Of one collector, beside its first: the watch remembers four epochs."""
METRICS = {Lane.CRITICAL: ("blocking",), Lane.NORMAL: ("database", "database", "query_text"), Lane.BULK: ("database",)}
END_TICKS = 5
BACK_US = (0, 0, 0, 0, 3 * SECOND)
"""How far the broker's clock is behind the latest that it has shown, at a record."""
CLOCKS_S = (0, 0, 0, 0, 0, 40, -70, 3600)
DEFAULTS = (
    Quota(1, 50, 400, burst_s=5, critical_burst_s=8, ceiling_s=4),
    Quota(2, 20, 5000, burst_s=3, critical_burst_s=5, ceiling_s=2),
    Quota(1000, 10**6, 10**8, burst_s=60, critical_burst_s=3600, ceiling_s=86400),
)
OVERRIDES: tuple[Mapping[str, Mapping[str, int]], ...] = (
    {},
    {"a": {"records_per_s": 1, "burst_s": 2}},
    {"a*": {"bytes_per_s": 300, "burst_s": 4}, "c": {"rows_per_s": 9}},
    {"*": {"records_per_s": 3}, "ab": {"records_per_s": 500, "burst_s": 9}},
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the headers of a record say."""

    collector: str
    epoch: int
    lane: Lane
    seq: int
    made_us: int
    metric: str
    rows: int
    beat: HeartbeatFacts | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it lies in a log. `facts`: None when nobody can read its headers."""

    arrival: Arrival
    facts: Facts | None


@dataclass(frozen=True, slots=True)
class Read:
    """One batch is decided."""

    batch: list[Record]


@dataclass(frozen=True, slots=True)
class Crash:
    """The process dies; another one begins with nothing in mind."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A partition is assigned again: reading goes on behind what was read when somebody else had it meanwhile."""

    place: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing of a partition is unread, and it is so late."""

    place: Partition
    at_us: int


@dataclass(frozen=True, slots=True)
class Change:
    """All overrides from now on."""

    overrides: Mapping[str, Mapping[str, int]]


Step = Read | Crash | Begin | Tick | Change


@dataclass(frozen=True, slots=True)
class History:
    """`two_agents`, `odd_clocks`: the collectors of which this is true at any time."""

    seed: int
    default: Quota
    steps: list[Step]
    two_agents: frozenset[str]
    odd_clocks: frozenset[str]

    @property
    def records(self) -> int:
        """How many are decided."""
        return sum(len(step.batch) for step in self.steps if isinstance(step, Read))


@dataclass(slots=True)
class Agent:
    """One start of a collector. `waiting`: made and not yet appended, in any order but for heartbeats, of which one waits."""

    name: str
    epoch: int
    clock_us: int
    seqs: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(LANES, 0))
    older: list["Agent"] = field(default_factory=list)
    waiting: list[tuple[Facts, bytes]] = field(default_factory=list)


class Maker:
    """Makes one history; every choice is the seed's."""

    def __init__(self, seed: int, actions: int) -> None:
        self._random = Random(seed)
        self._now_us = START_US
        self._logs: dict[Partition, list[Record]] = {}
        self._read: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}
        self._steps: list[Step] = []
        self._epochs = 1024
        self._starts = dict.fromkeys(NAMES, 0)
        self._sent: list[tuple[Agent, Facts, bytes]] = []
        self._two: set[str] = set()
        self._odd: set[str] = set()
        names = NAMES[: self._random.randint(1, 3)]
        self._agents = {name: [self._start(name)] for name in names}
        self._default = self._random.choice(DEFAULTS)
        self._acts = (
            *[self._emit] * 9, *[self._beat] * 5, *[self._wait] * 5, *[self._read_on] * 7, self._come_late, self._come_late,
            self._come_twice, self._restart, self._reuse, self._poison, self._change, self._tick, self._crash,
            self._begin, self._second, self._second, self._second,
        )  # fmt: skip
        for act in self._random.choices(self._acts, k=actions):
            act()
        self._end()
        self.made = History(seed, self._default, self._steps, frozenset(self._two), frozenset(self._odd))

    def _start(self, name: str, older: list[Agent] | None = None) -> Agent:
        self._epochs += 1024
        clock_s = self._random.choice(CLOCKS_S)
        if clock_s:
            self._odd.add(name)
        return Agent(name, self._epochs, clock_s * SECOND, older=older or [])

    def _some(self) -> Agent:
        return self._random.choice(self._random.choice(list(self._agents.values())))

    def _emit(self) -> None:
        """A few records of one lane; some are lost, some come later, some twice."""
        agent, lane = self._some(), self._random.choice(LANES)
        for _ in range(self._random.choice((1, 2, 3, 6))):
            size = self._random.choice((0, 10, 100, 700))
            metric = self._random.choice(METRICS[lane])
            self._make(agent, lane, metric, b"b" * size, None)

    def _make(self, agent: Agent, lane: Lane, metric: str, body: bytes, beat: HeartbeatFacts | None) -> None:
        agent.seqs[lane] += 1
        rows, made_us = self._random.choice((0, 1, 8, 99)), self._now_us + agent.clock_us
        facts = Facts(agent.name, agent.epoch, lane, agent.seqs[lane], made_us, metric, rows, beat)
        fate = self._random.random()
        if fate < 0.1:
            agent.waiting.append((facts, body))
        elif fate < 0.93:
            self._append(agent, facts, body)
            if fate > 0.9:
                self._append(agent, facts, body)

    def _beat(self) -> None:
        """The next is made only when the one before is appended, or lost."""
        agent = self._some()
        late = next((each for each in agent.waiting if each[0].beat is not None), None)
        if late is not None:
            agent.waiting.remove(late)
            self._append(agent, *late)
            return
        final = [each.epoch for each in agent.older if not each.waiting and self._random.random() < 0.5]
        if self._random.random() < 0.1:  # also one that forgets what is still on its way
            final.append(agent.epoch)
        emitted = {**agent.seqs, Lane.CRITICAL: agent.seqs[Lane.CRITICAL] + 1}
        epochs = tuple(each.epoch for each in agent.older)
        facts = HeartbeatFacts(emitted, epochs, tuple(final), up=self._random.random() < 0.9, control=0)
        self._make(agent, Lane.CRITICAL, "heartbeat", b"h", facts)

    def _append(self, agent: Agent, facts: Facts, body: bytes) -> None:
        log = self._logs.setdefault((TOPICS.collected(facts.lane), len(facts.collector) - 1), [])
        came = arrival(
            facts.seq,
            collector=facts.collector,
            lane=facts.lane,
            epoch=facts.epoch,
            rows=facts.rows,
            value=body,
            metric=facts.metric,
            partition=len(facts.collector) - 1,
            offset=len(log),
            at_us=self._now_us - self._random.choice(BACK_US),
            collected_at_us=facts.made_us,
            beat=facts.beat,
        )
        log.append(Record(came, facts))
        self._sent.append((agent, facts, body))

    def _poison(self) -> None:
        """Its key is not that of its headers."""
        log = self._logs.setdefault((TOPICS.collected(Lane.NORMAL), 0), [])
        came = arrival(collector="a", offset=len(log), at_us=self._now_us)
        log.append(Record(replace(came, key=b"other"), None))

    def _wait(self) -> None:
        self._now_us += self._random.choice((1, 5, 10, 25, 31, 31, 60, 300)) * SECOND + self._random.choice((0, 1, 333_333))

    def _come_late(self) -> None:
        agents = [
            each for running in self._agents.values() for agent in running for each in (agent, *agent.older) if each.waiting
        ]
        if agents:
            agent = self._random.choice(agents)
            self._append(agent, *agent.waiting.pop(self._random.randrange(len(agent.waiting))))

    def _come_twice(self) -> None:
        """As a sender does that saw no acknowledgement: of an agent that runs."""
        sent = [each for each in self._sent[-8:] if each[0] in self._agents[each[0].name]]
        if sent:
            self._append(*self._random.choice(sent))

    def _may_start(self, name: str) -> bool:
        self._starts[name] += 1
        return self._starts[name] <= MOST_STARTS

    def _restart(self) -> None:
        """With its spool, which the new epoch sends and names; or without."""
        agent = self._some()
        if self._may_start(agent.name):
            running = self._agents[agent.name]
            kept = self._random.random() < 0.7
            running[running.index(agent)] = self._start(agent.name, [*agent.older, agent] if kept else None)

    def _second(self) -> None:
        agent = self._some()
        if len(self._agents[agent.name]) == 1 and self._may_start(agent.name):
            self._agents[agent.name].append(self._start(agent.name))
            self._two.add(agent.name)

    def _reuse(self) -> None:
        """The machine is put back to an earlier state, and goes on."""
        agent, lane = self._some(), self._random.choice(LANES)
        if agent.seqs[lane] > 1 and not any(each[0].lane is lane for each in agent.waiting):
            agent.seqs[lane] -= 1

    def _change(self) -> None:
        self._steps.append(Change(self._random.choice(OVERRIDES)))

    def _read_on(self) -> None:
        """Within a partition in order, between partitions in any."""
        batch: list[Record] = []
        for place in self._random.sample(sorted(self._logs), len(self._logs)):
            first = self._read.get(place, 0)
            batch += self._logs[place][first : first + self._random.randint(0, 12)]
            self._read[place] = max(first, max((r.arrival.offset + 1 for r in batch if r.arrival.place == place), default=0))
        self._steps.append(Read(batch))
        if self._random.random() < 0.5:
            self._committed = dict(self._read)

    def _crash(self) -> None:
        self._read = dict(self._committed)
        self._steps.append(Crash())

    def _begin(self) -> None:
        """What is not committed is read again, or somebody else had the partition and read something of it."""
        for place in sorted(self._read)[:2]:
            first, read = self._committed.get(place, 0), self._read[place]
            self._read[place] = self._random.randint(first, read) if self._random.random() < 0.5 else len(self._logs[place])
            self._steps.append(Begin(place, self._read[place]))

    def _tick(self) -> None:
        """Everything is read, and then time goes on, perhaps until every deadline is reached."""
        self._read_all()
        self._pass_time(self._random.choice((1, END_TICKS)))

    def _pass_time(self, ticks: int) -> None:
        for _ in range(ticks):
            self._now_us += 31 * SECOND
            self._steps += [Tick(place, self._now_us) for place in sorted(self._logs)]

    def _read_all(self) -> None:
        self._steps.append(Read([r for place in sorted(self._logs) for r in self._logs[place][self._read.get(place, 0) :]]))
        self._read = {place: len(log) for place, log in self._logs.items()}

    def _end(self) -> None:
        """What waited comes after all, or never does."""
        self._read_all()
        self._pass_time(END_TICKS)
        if self._random.random() < 0.5:
            for _ in range(6):
                self._come_late()
            self._read_all()
            self._pass_time(END_TICKS)


def make_history(seed: int) -> History:
    """Mostly short; one of a hundred is long."""
    return Maker(seed, 300 if seed % 100 == 99 else 24).made
