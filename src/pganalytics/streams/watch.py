"""Everything that is noticed of gaps, as events. Pure: records in, events out; the time is the broker's append time.

State is in memory and bounded; what is forgotten is seen anew. The same records in the same order tell the same events with
the same ids. `advance` moves the time of a partition in which nothing comes; whoever calls it knows that nothing is unread
there (see `ticks`). What it tells, a record that came at that time would have told.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.headers import Headers, HeartbeatFacts
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.topics import Topics
from pganalytics.streams import gaps, pulses
from pganalytics.streams.bounded import Bounded
from pganalytics.streams.causes import Facts, describe
from pganalytics.streams.events import make_event
from pganalytics.streams.gap_events import KIND, SECOND, SENTENCE, Cause, sentence_of
from pganalytics.streams.gaps import Change, Finding, Owed, Sight
from pganalytics.streams.partition_time import PartitionTime
from pganalytics.streams.pulses import OWED_LANES, Beat, Bounds, Clock, Noticed, Pulse, Word
from pganalytics.streams.records import Arrival, Partition

MOST_COLLECTORS = 50_000
MOST_SEQUENCES = 200_000


class GapSettings(Protocol):
    """The settings of gaps."""

    @property
    def confirm_after_s(self) -> float:
        """How long a hole may be filled."""

    @property
    def heartbeat_s(self) -> float:
        """Between two heartbeats."""

    @property
    def silent_after(self) -> int:
        """Heartbeats that must be absent."""

    @property
    def clock_skew_s(self) -> float:
        """Difference of clocks that is told."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings in microseconds."""

    confirm_us: int
    silent_us: int
    bounds: Bounds

    @classmethod
    def of(cls, gap: GapSettings) -> Self:
        """The terms of a section of the settings."""
        interval_us = round(gap.heartbeat_s * SECOND)
        silent_us = gap.silent_after * interval_us
        return cls(
            round(gap.confirm_after_s * SECOND), silent_us, Bounds(round(gap.clock_skew_s * SECOND), silent_us, interval_us)
        )


class Watch:
    """What is known of every sequence and every collector. `over_quota`: whether a collector is, at a time."""

    def __init__(self, topics: Topics, terms: Terms, over_quota: Callable[[str, int], bool]) -> None:
        self._terms = terms
        self._over_quota = over_quota
        self._lane_topics = {lane: topics.collected(lane) for lane in Lane}
        self._lanes = {topic: lane for lane, topic in self._lane_topics.items()}
        self._sights: Bounded[Stream, Sight] = Bounded(MOST_SEQUENCES)
        self._pulses: Bounded[str, Pulse] = Bounded(MOST_COLLECTORS)
        self._times: dict[Partition, PartitionTime] = {}

    @property
    def times(self) -> Mapping[Partition, PartitionTime]:
        """Every partition of which something was read; to look at."""
        return self._times

    def has_open_gap(self, stream: Stream) -> bool:
        """Whether a hole of this sequence is not filled yet."""
        sight = self._sights.get(stream)
        return sight is not None and bool(sight.holes)

    def begin(self, partition: Partition, offset: int) -> None:
        """Reading of a partition begins here, after an assignment."""
        if partition in self._times:
            self._times[partition].begin(offset)

    def see(self, arrival: Arrival) -> list[Event]:
        """Take any record into account, also one whose headers cannot be read: time goes on, and deadlines are reached."""
        time = self._times.get(arrival.place)
        if time is None:
            time = self._times[arrival.place] = PartitionTime(self._terms.bounds.interval_us, arrival.at_us, arrival.offset)
        time.following = max(time.following, arrival.offset + 1)
        return self._expire(arrival.place, time) if time.move(arrival.at_us) else []

    def see_headers(self, arrival: Arrival, headers: Headers) -> list[Event]:
        """Take the headers of a record into account, after the record itself."""
        time = self._times[arrival.place]
        stream = headers.identity.stream
        sight, finding = gaps.see(
            self._sights.get(stream),
            headers.identity.seq,
            era=time.era,
            at_us=arrival.at_us,
            collected_at_us=headers.collected_at_us,
            offset=arrival.offset,
            due_us=time.live_us + self._terms.confirm_us,
        )
        self._sights.put(stream, sight)
        events = []
        if finding is not None:
            if finding.change is Change.OPENED and (due_us := sight.due_us) is not None:
                time.deadlines.put(stream, due_us)
            events = [self._of_finding(stream, finding, arrival.place, arrival.at_us)]
        if headers.heartbeat is not None and arrival.lane is Lane.CRITICAL:
            events += self._beat(arrival, headers, headers.heartbeat)
        return events

    def advance(self, partition: Partition, at_us: int) -> list[Event]:
        """It is this late at the broker, and everything in this partition was read."""
        time = self._times[partition]
        return self._expire(partition, time) if time.move(at_us) else []

    def _expire(self, partition: Partition, time: PartitionTime) -> list[Event]:
        events: list[Event] = []
        for subject in time.deadlines.take(time.live_us):
            if isinstance(subject, str):
                events += self._fall_silent(subject, partition, time)
            else:
                events += self._expire_sequence(subject, partition, time)
        return events

    def _expire_sequence(self, stream: Stream, partition: Partition, time: PartitionTime) -> Iterable[Event]:
        sight = self._sights.get(stream)
        if sight is None or sight.era != time.era:
            return []
        sight, findings = gaps.expire(sight, time.live_us)
        self._sights.put(stream, sight)
        if (due_us := sight.due_us) is not None:
            time.deadlines.put(stream, due_us)
        return [self._of_finding(stream, each, partition, each.at_us + self._terms.confirm_us) for each in findings]

    def _fall_silent(self, collector: str, partition: Partition, time: PartitionTime) -> list[Event]:
        pulse = self._pulses.get(collector)
        if pulse is None or pulse.era != time.era or pulse.silent:
            return []
        self._pulses.put(collector, pulses.fall_silent(pulse))
        epoch = pulse.known[0].epoch
        sights = [self._sights.get(Stream(collector, epoch, lane)) for lane in OWED_LANES]
        others_came = any(sight is not None and sight.at_us > pulse.at_us for sight in sights)
        cause = Cause(*partition, pulse.offset, pulse.at_us + self._terms.silent_us)
        detail = describe(
            self._facts(EventKind.SILENT, collector, cause.at_us, pulse, others_came=others_came),
            f"no heartbeat for {self._terms.silent_us / SECOND:g} s",
        )
        return [make_event(EventKind.SILENT, cause, Stream(collector, epoch, Lane.CRITICAL), detail)]

    def _beat(self, arrival: Arrival, headers: Headers, facts: HeartbeatFacts) -> list[Event]:
        time, who = self._times[arrival.place], headers.identity
        before = self._pulses.get(who.collector)
        beat = Beat(who.epoch, who.seq, arrival.at_us, headers.collected_at_us, arrival.offset, facts)
        pulse, words = pulses.feel(before, beat, era=time.era, bounds=self._terms.bounds)
        if pulse is before:
            return []
        self._pulses.put(who.collector, pulse)
        time.deadlines.put(who.collector, time.live_us + self._terms.silent_us)
        for known in pulse.known:
            if known.epoch == who.epoch or known.epoch in facts.final:
                self._owe(arrival, Stream(who.collector, known.epoch, who.lane), known.emitted, final=known.epoch in facts.final)
        return [self._of_word(arrival, who.stream, word, before, beat) for word in words]

    def _owe(self, arrival: Arrival, stream: Stream, emitted: tuple[int, ...], *, final: bool) -> None:
        """Compare what a heartbeat says with the lanes. A lane that is read later than the heartbeats gets that time as well."""
        for lane, highest in zip(OWED_LANES, emitted, strict=True):
            whose = Stream(stream.collector, stream.epoch, lane)
            sight = self._sights.get(whose)
            time = self._times.get((self._lane_topics[lane], arrival.partition))
            if sight is None or time is None or sight.era != time.era or (highest < sight.following and sight.tail is None):
                continue
            due_us = time.live_us + max(0, arrival.at_us - time.at_us) + self._terms.confirm_us
            owing = gaps.owe(sight, Owed(highest, final, arrival.at_us, arrival.offset, due_us))
            if owing is not sight:
                self._sights.put(whose, owing)
                if (due := owing.due_us) is not None:
                    time.deadlines.put(whose, due)

    def _of_finding(self, stream: Stream, finding: Finding, partition: Partition, at_us: int) -> Event:
        topic, number = partition
        if finding.change in (Change.TAIL, Change.LOST_TAIL):  # a heartbeat said so
            topic = self._lane_topics[Lane.CRITICAL]
        kind = KIND[finding.change]
        facts = self._facts(kind, stream.collector, at_us, self._pulses.get(stream.collector))
        detail = describe(facts, SENTENCE[finding.change])
        return make_event(kind, Cause(topic, number, finding.offset, at_us), stream, detail, finding.ranges)

    def _of_word(self, arrival: Arrival, stream: Stream, word: Word, before: Pulse | None, beat: Beat) -> Event:
        kind = KIND[word.what]
        detail = sentence_of(word, stream.epoch)
        if word.what is Noticed.BACK and before is not None:
            same = beat.epoch == word.other or beat.epoch in before.listed
            waited = same and beat.at_us - beat.collected_at_us >= self._terms.bounds.interval_us
            waited = waited and before.known[0].clock is Clock.AGREES
            facts = Facts(kind, beat.facts.up, before.stopped, same_epoch=same, waited=waited)
            detail = describe(facts, detail)
        return make_event(kind, arrival, stream, detail)

    def _facts(self, kind: EventKind, collector: str, at_us: int, pulse: Pulse | None, *, others_came: bool = False) -> Facts:
        over = self._over_quota(collector, at_us)
        if pulse is None:
            return Facts(kind, over_quota=over)
        silent = pulse.silent and kind is not EventKind.SILENT
        return Facts(kind, pulse.up, pulse.stopped, silent, others_came=others_came, over_quota=over)
