"""One pass over the collected topics for records that never arrived, and how they are admitted again. Commits nothing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pganalytics.runtime.settings import Kafka
from pganalytics.schemas.errors import HeaderError
from pganalytics.schemas.headers import Headers, stamp
from pganalytics.schemas.identity import Identity, Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.sink.letters import Letter
from pganalytics.sink.records import Message, Partition, Span
from pganalytics.sink.settling import Open
from pganalytics.sink.unread import read_spans

FINDS_AT_ONCE = 200
_OURS = frozenset(name for name, _ in stamp(0, 0))


@dataclass(frozen=True, slots=True)
class Find:
    """A record that fills a hole, and what is to be sent for it."""

    identity: Identity
    letter: Letter


def find_holes(
    kafka: Kafka, topics: Topics, holes: Open, *, starts: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> Iterator[list[Find]]:
    """What the logs between `starts` and `ends` have of these holes, each once; sometimes an empty list. Raises Unreachable."""
    spans = {partition: Span(starts[partition], end) for partition, end in ends.items()}
    lanes = {topics.collected(lane): lane for lane in Lane}
    seen: set[Identity] = set()
    finds: list[Find] = []
    for read, message in enumerate(read_spans(kafka, spans), 1):
        find = as_find(message, lanes[message.place.topic], holes, topics)
        if find is not None and find.identity not in seen:
            seen.add(find.identity)
            finds.append(find)
        if len(finds) >= FINDS_AT_ONCE or read % 10_000 == 0:
            yield finds
            finds = []
    yield finds


def seqs_of(finds: Iterable[Find]) -> dict[Stream, Ranges]:
    """What was found, by stream."""
    found: dict[Stream, list[int]] = {}
    for find in finds:
        found.setdefault(find.identity.stream, []).append(find.identity.seq)
    return {stream: Ranges.numbers(seqs) for stream, seqs in found.items()}


def as_find(message: Message, lane: Lane, holes: Open, topics: Topics) -> Find | None:
    """The record as the streams would have passed it on, when it fills a hole. Pure."""
    try:
        headers = Headers.decode(message.headers)
    except HeaderError:
        return None
    who = headers.identity
    if who.lane is not lane or message.key != who.collector.encode() or who.seq not in holes.get(who.stream, ()):
        return None
    kept = [(name, value) for name, value in message.headers if name not in _OURS]
    stamped = [*kept, *stamp(message.place.at_us, message.place.offset)]
    return Find(who, Letter(topics.admitted(lane), message.key, message.value, [*stamped]))
