"""One dead letter looked up in the dead-letter topic, and its body decoded as far as it can be. Needs no store."""

from dataclasses import dataclass
from typing import Any

from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.kafka import admin
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.identity import LANES, Identity, Lane
from pganalytics.schemas.partitioner import partition_of
from pganalytics.schemas.topics import Topics
from pganalytics.sink.buried import Buried, attributed, exhume
from pganalytics.sink.catalogue import Catalogue
from pganalytics.sink.intake import Known, schema_of
from pganalytics.sink.log_ends import log_ends, log_starts
from pganalytics.sink.records import KnownSchema, Span
from pganalytics.sink.unread import read_spans


@dataclass(frozen=True, slots=True)
class Found:
    """`body`: the decoded record, when its schema is known and fits; else `why_not`."""

    buried: Buried
    body: dict[str, Any] | None
    why_not: str


def parse_wanted(text: str) -> tuple[str, int, int] | Identity:
    """TOPIC/PARTITION/OFFSET or COLLECTOR/EPOCH/LANE/SEQ; raises SettingsError. Pure."""
    parts = text.rsplit("/", 3)
    if len(parts) == 4 and parts[2] in LANES and all(_is_number(part) for part in (parts[1], parts[3])):
        return Identity(parts[0], int(parts[1]), Lane(parts[2]), int(parts[3]))
    parts = text.rsplit("/", 2)
    if len(parts) == 3 and parts[0] and all(_is_number(part) for part in parts[1:]):
        return parts[0], int(parts[1]), int(parts[2])
    raise SettingsError(
        f"{text}: neither TOPIC/PARTITION/OFFSET nor COLLECTOR/EPOCH/LANE/SEQ: `pganalytics dead-letters list` prints places"
    )


def search(settings: Settings, wanted: tuple[str, int, int] | Identity) -> Found | None:
    """The newest dead letter of that place or identity; None when the topic has none. Raises Unreachable."""
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    numbers: list[int] = list(range(topics.partitions))
    if isinstance(wanted, Identity):
        numbers = [partition_of(wanted.collector, topics.partitions)]
    client = admin(settings.kafka)
    partitions = [(topics.dead_letter, number) for number in numbers]
    ends = log_ends(client, partitions, settings.kafka.timeout_s)
    starts = log_starts(client, partitions, settings.kafka.timeout_s)
    newest: Buried | None = None
    for message in read_spans(settings.kafka, {where: Span(starts[where], end) for where, end in ends.items()}):
        buried = exhume(message)
        if buried is not None and _is_wanted(buried, wanted):
            newest = buried if newest is None or buried.source.at_us >= newest.source.at_us else newest
    if newest is None:
        return None
    with CompactedReader(settings.kafka, topics.schemas, name="dead-letters-schemas") as texts:
        catalogue = Catalogue(texts)
        catalogue.look_up([identifier] if (identifier := schema_of(newest.original)) else [])
        return decode(newest, catalogue.known)


def decode(buried: Buried, known: Known) -> Found:
    """A dead letter with its body, when that can be read. Pure."""
    identifier = schema_of(buried.original)
    entry = known.get(identifier or "")
    if buried.original.value is None:
        return Found(buried, None, "it was too large for the dead-letter topic" if buried.left_out else "it has no body")
    if not isinstance(entry, KnownSchema):
        return Found(buried, None, f"schema {identifier} is not known" if entry is None else entry.detail)
    try:
        return Found(buried, entry.codec.decode(buried.original.value), "")
    except BodyError as error:
        return Found(buried, None, str(error))


def _is_wanted(buried: Buried, wanted: tuple[str, int, int] | Identity) -> bool:
    if isinstance(wanted, Identity):
        headers = attributed(buried.original)
        return headers is not None and headers.identity == wanted
    return wanted in [(each.topic, each.partition, each.offset) for each in (buried.source, buried.original.place)]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19
