"""What a replay takes, and where each record goes. Pure.

A record goes to the admitted topic of the lane in which it was emitted, whatever topic it lies in. One that names nobody is
taken from dead letters only, back to where it was read, and by no filter on whose record it is.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pganalytics.runtime.errors import SettingsError
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.sink.buried import attributed, exhume
from pganalytics.sink.letters import Letter
from pganalytics.sink.records import Message, Reason


class ReplaySource(StrEnum):
    """Where records are taken from."""

    DEAD_LETTERS = "dead-letters"
    ADMITTED = "admitted"


class Skip(StrEnum):
    """Why a record that was found is not sent. A closed list."""

    UNATTRIBUTED = "it names nobody: it is in the dead letters"
    FOREIGN = "it comes from a topic that is not this installation's"
    BODY_LEFT_OUT = "the dead-letter topic has it without its body"
    NOT_STORABLE = "it cannot be stored as it is, so nothing was forgotten for it"
    OTHER_ROW = "the store has another record under its identity"


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters that all hold; None is any. Times are microseconds of the broker, of the copy that is read."""

    collector: str | None = None
    epoch: int | None = None
    lane: Lane | None = None
    seqs: Ranges | None = None
    metric: str | None = None
    reason: Reason | None = None
    since_us: int | None = None
    until_us: int | None = None

    @property
    def is_of_anybody(self) -> bool:
        """Whether also a record without an identity is meant."""
        return all(each is None for each in (self.collector, self.epoch, self.lane, self.seqs, self.metric))

    @property
    def is_any(self) -> bool:
        """Whether nothing is filtered."""
        return self.is_of_anybody and all(each is None for each in (self.reason, self.since_us, self.until_us))

    def takes(self, candidate: "Candidate") -> bool:
        """Whether a record is meant."""
        at_us, headers = candidate.message.place.at_us, candidate.headers
        if self.since_us is not None and at_us < self.since_us:
            return False
        if self.until_us is not None and at_us >= self.until_us:
            return False
        if self.reason is not None and candidate.reason != self.reason:
            return False
        return self.is_of_anybody if headers is None else self._is_of(headers)

    def _is_of(self, headers: Headers) -> bool:
        who = headers.identity
        pairs = ((self.collector, who.collector), (self.epoch, who.epoch), (self.lane, who.lane), (self.metric, headers.metric))
        same = all(wanted is None or wanted == had for wanted, had in pairs)
        return same and (self.seqs is None or who.seq in self.seqs)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that could be sent. `headers` only when its identity can be trusted; `topic`: where it goes."""

    message: Message
    headers: Headers | None
    topic: str | None
    reason: str | None = None
    left_out: bool = False

    @property
    def identity(self) -> Identity | None:
        """Whose record it is, when that can be told."""
        return self.headers.identity if self.headers else None

    @property
    def hindrance(self) -> Skip | None:
        """Why it cannot be sent."""
        if self.left_out:
            return Skip.BODY_LEFT_OUT
        if self.topic is None:
            return Skip.UNATTRIBUTED if self.reason is None else Skip.FOREIGN
        return None

    @property
    def letter(self) -> Letter:
        """The record to send, byte for byte."""
        assert self.topic is not None, "only what has no hindrance is sent"
        return Letter(self.topic, self.message.key, self.message.value, [*self.message.headers])

    @property
    def digest(self) -> bytes:
        """The same for the same key, body and headers, wherever they lie."""
        content = (self.message.key, self.message.value, self.message.headers)
        return hashlib.blake2b(repr(content).encode(), digest_size=16).digest()


def topics_of(source: ReplaySource, topics: Topics) -> list[str]:
    """What is read."""
    if source is ReplaySource.DEAD_LETTERS:
        return [topics.dead_letter]
    return [*map(topics.admitted, LANES), topics.deferred]


def candidate_of(message: Message, source: ReplaySource, topics: Topics) -> Candidate | None:
    """A record of these topics; None when it is no record of ours."""
    if source is ReplaySource.ADMITTED:
        headers = attributed(message)
        return Candidate(message, headers, topics.admitted(headers.identity.lane) if headers else None)
    buried = exhume(message)
    if buried is None:
        return None
    ours = {topics.events, *topics_of(ReplaySource.ADMITTED, topics)}
    headers = attributed(buried.original) if buried.source.topic != topics.events else None
    topic = buried.source.topic if buried.source.topic in ours else None
    if headers is not None and topic is not None:
        topic = topics.admitted(headers.identity.lane)
    return Candidate(buried.original, headers, topic, buried.reason, buried.left_out)


def identities(candidates: Iterable[Candidate]) -> list[Identity]:
    """Those that are known, in key order, each once."""
    return sorted({each.identity for each in candidates if each.identity is not None})


def parse_seqs(text: str) -> Ranges:
    """Such as 5-9,12; raises SettingsError."""
    spans = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        numbers = [low, high] if dash else [low, low]
        if not all(each.isascii() and each.isdecimal() and len(each) <= 18 for each in numbers):
            raise SettingsError(f"--seqs {text!r}: write numbers and ranges, such as 5-9,12")
        first, last = map(int, numbers)
        if not 1 <= first <= last:
            raise SettingsError(f"--seqs {text!r}: {part.strip()!r} is no range from 1 up")
        spans.append((first, last))
    return Ranges.of(spans)
