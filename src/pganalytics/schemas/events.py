"""Events: what the streams and the sink noticed. One schema for all kinds, deterministic ids.

An event that is made again from the same facts has the same id and the same time, so a restart repeats it harmlessly.
"""

import hashlib
import io
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from json import loads
from typing import Any

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from pganalytics.schemas.codec import MARKER, PREFIX_BYTES
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.identity import Lane, is_collector_id
from pganalytics.schemas.ranges import Ranges


class EventKind(StrEnum):
    """The closed list of events."""

    DEFERRED = "deferred"
    SHED = "shed"
    GAP = "gap"
    GAP_FILLED = "gap_filled"
    DEAD_LETTERED = "dead_lettered"
    POSITION_OUTSIDE_LOG = "position_outside_log"
    REPAIRED = "repaired"
    MISSING = "missing"
    ORPHANED = "orphaned"
    SPOOL_ROLLED_BACK = "spool_rolled_back"
    RETIRED = "retired"
    GAP_CONFIRMED = "gap_confirmed"
    TAIL = "tail"
    SILENT = "silent"
    BACK = "back"
    RESTARTED = "restarted"
    CONFLICT = "conflict"
    CLOCK_SKEW = "clock_skew"
    SEQ_REUSED = "seq_reused"
    SLOWED = "slowed"
    RESUMED = "resumed"


class Source(StrEnum):
    """The service that noticed."""

    STREAMS = "streams"
    SINK = "sink"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `at_us`: broker time of the record that caused it. `ranges`: the seqs concerned, of (collector, epoch, lane).

    An event that concerns no stream has epoch 0, lane None and no ranges. `topic`, `partition` and `offset` name the record
    at which it was noticed; the offset is -1 when it is the absence of records.
    """

    kind: EventKind
    source: Source
    at_us: int
    collector: str
    epoch: int
    lane: Lane | None
    ranges: Ranges
    topic: str
    partition: int
    offset: int
    detail: str

    @property
    def id(self) -> str:
        """32 hex digits that depend on nothing but what happened and where."""
        facts = (
            f"{self.kind}\n{self.source}\n{self.collector}\n{self.epoch}\n{self.lane or ''}\n{self.ranges}\n"
            f"{self.topic}\n{self.partition}\n{self.offset}"
        )
        return hashlib.sha256(facts.encode()).hexdigest()[:32]

    def encode(self) -> bytes:
        """As a single-object Avro body."""
        sink = io.BytesIO()
        fastavro.schemaless_writer(
            sink,
            _schema()[0],
            {
                "id": self.id,
                "kind": self.kind.value,
                "source": self.source.value,
                "at": self.at_us,
                "collector": self.collector,
                "epoch": self.epoch,
                "lane": self.lane.value if self.lane else "",
                "low": [low for low, _ in self.ranges.spans],
                "high": [high for _, high in self.ranges.spans],
                "topic": self.topic,
                "partition": self.partition,
                "offset": self.offset,
                "detail": self.detail,
            },
            strict=True,
        )
        return _schema()[1] + sink.getvalue()


def decode_event(body: bytes) -> Event:
    """Read an event; raises BodyError."""
    schema, prefix = _schema()
    if not body.startswith(prefix):
        raise BodyError("event: body does not begin with the marker and fingerprint of the event schema")
    source = io.BytesIO(body)
    source.seek(PREFIX_BYTES)
    try:
        got: Any = fastavro.schemaless_reader(source, schema, None)
        spans = list(zip(got["low"], got["high"], strict=True))
        if source.tell() != len(body) or any(low < 1 or high < low for low, high in spans):
            raise BodyError("event: bytes left over, or a range that is none")
        if not is_collector_id(got["collector"]) or got["epoch"] < 0:
            raise BodyError("event: no collector id, or a negative epoch")
        return Event(
            kind=EventKind(got["kind"]),
            source=Source(got["source"]),
            at_us=got["at"],
            collector=got["collector"],
            epoch=got["epoch"],
            lane=Lane(got["lane"]) if got["lane"] else None,
            ranges=Ranges.of(spans),
            topic=got["topic"],
            partition=got["partition"],
            offset=got["offset"],
            detail=got["detail"],
        )
    except BodyError:
        raise
    except Exception as error:
        raise BodyError(f"event: body is damaged: {error!r}") from error


@lru_cache(maxsize=1)
def _schema() -> tuple[Any, bytes]:
    text = resources.files("pganalytics.schemas").joinpath("event.avsc").read_text(encoding="utf-8")
    schema = loads(text)
    return parse_schema(schema), MARKER + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
