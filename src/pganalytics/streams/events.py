"""Events of the streams: each tells of a record, where it lay and when the broker appended it."""

from typing import Protocol

from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Stream
from pganalytics.schemas.ranges import Ranges

NO_SEQS = Ranges()


class Place(Protocol):
    """A record of a collected topic, by its place. `at_us`: of its append."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def at_us(self) -> int: ...


def make_event(kind: EventKind, place: Place, about: Stream | str, detail: str, ranges: Ranges = NO_SEQS) -> Event:
    """An event about seqs of a stream, about a stream, or about a collector."""
    stream = about if isinstance(about, Stream) else None
    return Event(
        kind=kind,
        source=Source.STREAMS,
        at_us=place.at_us,
        collector=about if isinstance(about, str) else about.collector,
        epoch=stream.epoch if stream else 0,
        lane=stream.lane if stream else None,
        ranges=ranges,
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        detail=detail,
    )
