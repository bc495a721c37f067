"""Loads that would hurt others if the streams let them: a noisy neighbour, a backlog, everybody's spool at once.

Latency is the time between two appends, of which the broker writes both: to the collected topic and to the admitted one.
"""

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from chaos.admission import Count, count_all
from integration.streams_feed import EPOCH, Feed, Got, caught_up, installation, outputs, running, topics_of
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Identity, Lane
from waiting import until

NOISY = "noisy"
TIMES_QUOTA = 100
FLOOR_S = 0.25
"""A calm latency below this is taken for it: a batch waits 0.05 s, a fetch 0.1 s, and others use the machine."""
WORSE = 1.5
CRITICAL_S = 3.0
BACKLOG_CRITICAL_S = 10.0
DRAIN_S = 300.0
TICK_S = 0.02


@dataclass(frozen=True)
class Noise:
    """Calm and noisy periods of `period_s` in turn. `ceiling_s` so that some of the noise is shed."""

    periods: int
    period_s: float
    collectors: int = 50
    rate: float = 1.0
    """Records a second of each that is not noisy, and of critical ones of the noisy one; one in ten is critical."""
    quota: float = 5.0
    burst_s: float = 10.0
    ceiling_s: float = 1200.0


LONG_NOISE = Noise(periods=2, period_s=60.0)
SHORT_NOISE = Noise(periods=1, period_s=6.0, ceiling_s=120.0)


@dataclass(frozen=True)
class Disturbed:
    """What the others and the noisy one saw, in seconds."""

    calm_s: Sequence[float]
    noisy_s: Sequence[float]
    own_critical_s: Sequence[float]
    counted: Count
    sent_noisy: int

    def problems(self) -> list[str]:
        """One line each; none when all is well."""
        found = []
        calm, noisy = percentile(self.calm_s, 99), percentile(self.noisy_s, 99)
        if noisy > WORSE * max(calm, FLOOR_S):
            found.append(f"p99 of the others is {noisy:.2f} s beside the noisy one, {calm:.2f} s without")
        if max(self.own_critical_s) > CRITICAL_S:
            found.append(f"a critical record of the noisy one took {max(self.own_critical_s):.2f} s")
        found += wrong(self.counted)
        if not self.counted.shed or not self.counted.deferred:
            found.append("nothing was deferred, or nothing shed: this was no noise")
        return found

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{len(self.calm_s)} records of the others in calm, p50 {percentile(self.calm_s, 50):.3f} s, "
            f"p99 {percentile(self.calm_s, 99):.3f} s",
            f"{len(self.noisy_s)} beside {self.sent_noisy} noisy ones, p50 {percentile(self.noisy_s, 50):.3f} s, "
            f"p99 {percentile(self.noisy_s, 99):.3f} s",
            f"critical records of the noisy one: {len(self.own_critical_s)}, at most {max(self.own_critical_s):.3f} s",
            str(self.counted),
        ]


@dataclass
class Clockwork:
    """Sends by a pace; each name has its seqs."""

    feed: Feed
    seqs: dict[tuple[str, Lane], "count[int]"] = field(default_factory=lambda: defaultdict(lambda: count(1)))
    sent: dict[Identity, str] = field(default_factory=dict)

    def send(self, collector: str, lane: Lane, period: str) -> None:
        """The next record of a sequence."""
        seq = next(self.seqs[collector, lane])
        self.feed.record(collector, seq, lane=lane)
        self.sent[Identity(collector, EPOCH, lane, seq)] = period

    def play(self, seconds: float, period: str, paces: Sequence[tuple[str, Lane, float]]) -> None:
        """Each of the sequences at its records per second."""
        began = time.monotonic()
        due = [number / len(paces) / rate for number, (_, _, rate) in enumerate(paces)]
        while (passed := time.monotonic() - began) < seconds:
            for number, (collector, lane, rate) in enumerate(paces):
                while due[number] <= passed:
                    self.send(collector, lane, period)
                    due[number] += 1 / rate
            time.sleep(TICK_S)


def disturb(bootstrap: str, folder: Path, noise: Noise, *, seed: int) -> Disturbed:
    """Calm, noisy, calm, noisy...; then everything is drained and counted."""
    quota = {"records_per_s": noise.quota, "burst_s": noise.burst_s, "ceiling_s": noise.ceiling_s}
    settings = installation(bootstrap, quota=quota)
    work = Clockwork(Feed(settings))
    others = [
        (f"db{seed}-{number}", lane, noise.rate * part)
        for number in range(noise.collectors)
        for lane, part in ((Lane.NORMAL, 0.9), (Lane.CRITICAL, 0.1))
    ]
    noisy = [(NOISY, Lane.NORMAL, TIMES_QUOTA * noise.quota), (NOISY, Lane.CRITICAL, noise.rate)]
    with running(settings, folder) as streams:
        work.play(1.0, "first", others)
        until(lambda: caught_up(settings), 60, every_s=0.2)
        for _ in range(noise.periods):
            work.play(noise.period_s, "calm", others)
            work.play(noise.period_s, "noisy", [*others, *noisy])
            until(lambda: caught_up(settings), DRAIN_S, every_s=0.2)
        work.feed.flush()
        until(lambda: caught_up(settings), DRAIN_S, every_s=0.2)
        assert streams.lives, streams.text()
    got = outputs(settings)
    latencies: dict[str, list[float]] = {"calm": [], "noisy": [], "first": [], "own": []}
    for each in admitted(settings, got):
        who = each.decoded.identity
        if who.collector != NOISY:
            latencies[work.sent[who]].append(latency_s(each))
        elif who.lane is Lane.CRITICAL:
            latencies["own"].append(latency_s(each))
    return Disturbed(
        latencies["calm"],
        latencies["noisy"],
        latencies["own"],
        count_all(settings, work.feed.sent, got),
        sum(who.collector == NOISY for who in work.feed.sent),
    )


@dataclass(frozen=True)
class Release:
    """What waits when the streams start, of each collector. `live_s`: in it each sends one more, critical."""

    collectors: int
    critical: int
    normal: int
    bulk: int
    quota: float
    burst_s: float
    live_s: float

    def per_collector(self) -> dict[Lane, int]:
        """Records of each lane."""
        return {Lane.BULK: self.bulk, Lane.NORMAL: self.normal, Lane.CRITICAL: self.critical}


LONG_BACKLOG = Release(collectors=500, critical=20, normal=60, bulk=40, quota=1000, burst_s=60, live_s=10)
SHORT_BACKLOG = Release(collectors=50, critical=20, normal=60, bulk=40, quota=1000, burst_s=60, live_s=3)
LONG_HERD = Release(collectors=500, critical=240, normal=720, bulk=480, quota=5, burst_s=60, live_s=20)
"""Two hours of collectors of one database, 12 records a minute, at the default quota."""
SHORT_HERD = Release(collectors=50, critical=24, normal=72, bulk=48, quota=0.5, burst_s=60, live_s=3)
"""A tenth of that at a tenth of the quota: what counts is their ratio."""


@dataclass(frozen=True)
class Released:
    """Seconds from the start of the streams, unless they say otherwise."""

    release: Release
    first_s: float
    critical_s: float
    all_s: float
    waiting: int
    live_latency_s: Sequence[float]
    most_admitted: int
    allowed: float
    counted: Count

    @property
    def rate(self) -> float:
        """Records per second, from the first admitted to the last that was passed on."""
        return self.waiting / max(self.all_s - self.first_s, 0.001)

    @property
    def critical_allowed_s(self) -> float:
        """10 s, and the critical backlog at the measured rate."""
        return BACKLOG_CRITICAL_S + self.release.collectors * self.release.critical / self.rate

    def problems(self) -> list[str]:
        """One line each; none when all is well."""
        found = wrong(self.counted)
        if self.critical_s > self.critical_allowed_s:
            found.append(f"critical records took {self.critical_s:.1f} s, {self.critical_allowed_s:.1f} s are allowed")
        if max(self.live_latency_s) > self.critical_allowed_s:
            found.append(f"a critical record that came meanwhile took {max(self.live_latency_s):.1f} s")
        if self.most_admitted > self.allowed:
            found.append(f"{self.most_admitted} of one collector were admitted, its quota allows {self.allowed:.0f}")
        return found

    def lines(self) -> list[str]:
        """For people."""
        live = self.live_latency_s
        return [
            f"{self.release.collectors} collectors, {self.waiting} records waiting, {self.rate:.0f} a second",
            f"first admitted after {self.first_s:.1f} s, the last critical one after {self.critical_s:.1f} s "
            f"(allowed {self.critical_allowed_s:.1f} s), all after {self.all_s:.1f} s",
            f"critical ones that came meanwhile: {len(live)}, p50 {percentile(live, 50):.2f} s, at most {max(live):.2f} s",
            f"admitted of one collector, without critical ones: at most {self.most_admitted}, quota allows {self.allowed:.0f}",
            str(self.counted),
        ]


def release_all(bootstrap: str, folder: Path, release: Release, *, seed: int) -> Released:
    """Everything waits when the streams start."""
    settings = installation(bootstrap, quota={"records_per_s": release.quota, "burst_s": release.burst_s})
    work = Clockwork(Feed(settings))
    names = [f"db{seed}-{number}" for number in range(release.collectors)]
    for lane, number in release.per_collector().items():
        for _ in range(number):
            for name in names:
                work.send(name, lane, "waiting")
    work.feed.flush(300)
    began = time.time()
    with running(settings, folder) as streams:
        work.play(release.live_s, "live", [(name, Lane.CRITICAL, 1 / release.live_s) for name in names])
        work.feed.flush()
        until(lambda: caught_up(settings), DRAIN_S, every_s=0.5)
        assert streams.lives, streams.text()
    got = outputs(settings)
    passed_s = max(each.at_ms for each in got if work.sent[each.decoded.identity] == "waiting") / 1000 - began
    counted = count_all(settings, work.feed.sent, got)
    return _released(release, work, admitted(settings, got), began=began, passed_s=passed_s, counted=counted)


def _released(release: Release, work: Clockwork, got: list[Got], *, began: float, passed_s: float, counted: Count) -> Released:
    waited = [each for each in got if work.sent[each.decoded.identity] == "waiting"]
    times = [each.at_ms / 1000 - began for each in waited]
    of_collector = Counter(each.decoded.identity.collector for each in got if each.decoded.identity.lane is not Lane.CRITICAL)
    appended = [each.decoded.appended_at_us or 0 for each in got]
    span_s = (max(appended) - min(appended)) / 1e6
    return Released(
        release,
        min(times),
        max(each.at_ms / 1000 - began for each in waited if each.decoded.identity.lane is Lane.CRITICAL),
        passed_s,
        release.collectors * sum(release.per_collector().values()),
        [latency_s(each) for each in got if work.sent[each.decoded.identity] == "live"],
        max(of_collector.values()),
        release.quota * (release.burst_s + span_s) + 1,
        counted,
    )


def admitted(settings: Settings, got: Iterable[Got]) -> list[Got]:
    """Those that need not wait."""
    deferred = topics_of(settings).deferred
    return [each for each in got if each.topic != deferred]


def latency_s(got: Got) -> float:
    """Between the two appends."""
    appended = got.decoded.appended_at_us
    assert appended is not None
    return got.at_ms / 1000 - appended / 1e6


def percentile(values: Sequence[float], of_100: int) -> float:
    """The smallest value that so many of a hundred do not exceed, near enough."""
    return statistics.quantiles(values, n=100, method="inclusive")[of_100 - 1]


def wrong(counted: Count) -> list[str]:
    """What no run without a crash may show."""
    return counted.problems(("lost", "strange", "both"))
