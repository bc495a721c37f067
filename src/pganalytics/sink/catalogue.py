"""The schemas that the sink knows: those of the package, those of the store's tables, those of the schemas topic."""

from collections.abc import Iterable, Mapping

from pganalytics.runtime.compacted import CompactedReader
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.errors import SchemaError
from pganalytics.schemas.headers import HEARTBEAT
from pganalytics.schemas.metric import MetricSchema, builtin_schemas, load_schema
from pganalytics.sink.beats import tells_counts
from pganalytics.sink.intake import DAY_US, Known
from pganalytics.sink.layout import Conflict
from pganalytics.sink.packing import RowPacker
from pganalytics.sink.records import KnownSchema

READ_TIMEOUT_S = 10.0


def retention_days(schema: MetricSchema) -> int:
    """How long a metric's rows are kept: as the package says, else as the schema at hand does."""
    return builtin_schemas().get(schema.name, schema).retention_days


class Catalogue:
    """Schemas by id. For one thread. What the topic does not have when it is asked is unknown: agents publish a schema first."""

    def __init__(self, topic: CompactedReader) -> None:
        self._topic = topic
        self._known: dict[str, KnownSchema | Conflict] = {}
        self.add(builtin_schemas().values())

    @property
    def known(self) -> Known:
        """What records can be decoded with, and why some cannot."""
        return self._known

    def add(self, schemas: Iterable[MetricSchema]) -> None:
        """Learn schemas; one that was refused stays refused."""
        for schema in schemas:
            self._known.setdefault(schema.id, known_schema(schema))

    def refuse(self, identifier: str, conflict: Conflict) -> None:
        """A schema that cannot have a table."""
        self._known[identifier] = conflict

    def look_up(self, wanted: Iterable[str]) -> None:
        """Read the schemas topic to its end when one of these ids is unknown; raises Unreachable."""
        if any(identifier not in self._known for identifier in wanted):
            self.read_all(READ_TIMEOUT_S)

    def read_all(self, timeout_s: float) -> None:
        """Learn all that the schemas topic has; raises Unreachable."""
        for identifier, text in texts(self._topic.read_to_end(timeout_s)).items():
            if identifier not in self._known:
                self._known[identifier] = _read(identifier, text)


def texts(topic: Mapping[bytes, bytes]) -> dict[str, str]:
    """Schema texts by id, as the topic has them; what is not text fails when it is read as a schema."""
    return {key.decode("ascii", "replace"): value.decode("utf-8", "replace") for key, value in topic.items()}


def _read(identifier: str, text: str) -> KnownSchema | Conflict:
    try:
        schema = load_schema(text)
    except SchemaError as error:
        return Conflict(f"schema {identifier}: {error}")
    if schema.id != identifier:
        return Conflict(f"schema {identifier}: its text is that of schema {schema.id}")
    return known_schema(schema)


def known_schema(schema: MetricSchema) -> KnownSchema | Conflict:
    """A schema made ready; a Conflict when its records cannot be used."""
    if schema.name == HEARTBEAT and not tells_counts(schema):
        return Conflict(f"schema {schema.id}: a heartbeat without the counts that the ledger needs")
    return KnownSchema(schema, RecordCodec(schema), RowPacker(schema), retention_days(schema) * DAY_US)
