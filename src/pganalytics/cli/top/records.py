"""What top reads of the topics: records of the metrics that it shows, decoded. Pure, but for what it has learned of schemas."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.errors import BodyError, SchemaError
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.metric import MetricSchema, builtin_schemas, load_schema

SHOWN = frozenset("heartbeat database activity blocking statements query_text replication wal_receiver sizes".split())
"""All others are passed over by their header."""
MOST_SCHEMAS = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """One record. `appended_us`: when the broker appended it; `heard_us`: when it came to us, or when it was appended where it
    waited in the topic before that. Both by different clocks than the body's times."""

    headers: Headers
    schema: MetricSchema
    body: Mapping[str, Any]
    appended_us: int
    heard_us: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one group, of all parts of a snapshot one after the other."""

    parts: Sequence[Seen]
    group: str = "rows"

    def __len__(self) -> int:
        return sum(_length(part, self.group) for part in self.parts)

    def column(self, name: str) -> list[Any]:
        """One value per row: None for NULL, and where the schema of the record has no such column."""
        return [cell for part in self.parts for cell in _column(part, self.group, name)]


def scalar(seen: Seen, name: str) -> Any:
    """A value that a record has once: None for NULL, and where its schema has no such field."""
    for field in seen.schema.scalars:
        if field.name == name:
            value = seen.body[name]
            return None if _is_null(value, field.null) else value
    return None


def _length(part: Seen, group: str) -> int:
    columns = part.schema.groups.get(group)
    return len(part.body[columns[0].name]) if columns else 0


def _column(part: Seen, group: str, name: str) -> list[Any]:
    rows = _length(part, group)
    for field in part.schema.groups.get(group, ()):
        if field.name == name:
            cells = part.body[name]
            if not cells:
                return [{"long": 0, "double": 0.0, "string": "", "boolean": False}[field.primitive]] * rows
            return [None if _is_null(cell, field.null) else cell for cell in cells] if field.null is not None else list(cells)
    return [None] * rows


def _is_null(value: Any, null: int | float | str | None) -> bool:
    return null is not None and (value == null or (value != value and null != null))  # NaN is not equal to itself


class Decoder:
    """Decodes by the schemas of the package and by those that it has learned."""

    def __init__(self) -> None:
        self._codecs: dict[str, RecordCodec | None] = {}
        for schema in builtin_schemas().values():
            if schema.name in SHOWN:
                self._codecs[schema.id] = RecordCodec(schema)

    def wants(self, identifier: str) -> bool:
        """Whether a schema was never asked for; of so many nobody sends records, so further ones are not asked for."""
        return identifier not in self._codecs and len(self._codecs) < MOST_SCHEMAS

    def learn(self, texts: Mapping[str, str], wanted: Iterable[str]) -> None:
        """What the topic of schemas has of those that are wanted; what it lacks, or has damaged, is of no use from here on."""
        for identifier in wanted:
            try:
                schema = load_schema(texts[identifier])
                self._codecs[identifier] = RecordCodec(schema) if schema.id == identifier else None
            except (KeyError, SchemaError):
                self._codecs[identifier] = None

    def decode(self, headers: Headers, value: bytes | None, *, appended_us: int, heard_us: int) -> Seen | None:
        """None for what cannot be decoded, or whose body is of another record: the sink dead-letters it."""
        codec = self._codecs.get(headers.schema)
        if codec is None or value is None or codec.schema.name != headers.metric:
            return None
        try:
            body = codec.decode(value)
        except BodyError:
            return None
        who = headers.identity
        if (body["collector"], body["epoch"], body["lane"], body["seq"]) != (who.collector, who.epoch, who.lane, who.seq):
            return None
        return Seen(headers, codec.schema, body, appended_us, heard_us)
