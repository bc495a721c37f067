"""Record schemas: an .avsc file read, checked against the rules of the house, and made ready for use.

A metric's `.avsc` is the source of truth for its encoding, its table and its reference. The rules:

- the first eight fields are the identity (`collector epoch lane seq`) and `collected_at since part parts`;
- every other field is a long, double, string or boolean, or an array of one of these: no unions, no maps, no nesting;
- arrays belong to a `group` (default `rows`) and are its columns. The group's first column is always full; any other is
  empty when all its values are zero, false or "";
- `send` says which rows a snapshot carries, see `Send`;
- every field has a `role` and a `doc`; counters and gauges have a `unit`; `null` is the value that stands for SQL NULL;
  `redact` marks a text of SQL, which passes the agent's redaction.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any, TypeVar

from pganalytics.schemas.errors import SchemaError
from pganalytics.schemas.identity import Lane

COMMON: tuple[tuple[str, str], ...] = (
    ("collector", "string"),
    ("epoch", "long"),
    ("lane", "string"),
    ("seq", "long"),
    ("collected_at", "long"),
    ("since", "long"),
    ("part", "long"),
    ("parts", "long"),
)
IDENTITY_FIELDS = 4
PRIMITIVES = ("long", "double", "string", "boolean")
UNITS = frozenset({"1", "ns", "us", "ms2", "bytes", "blocks", "rows", "transactions", "ratio", "timestamp_us"})
MOST_FIELDS = 400
REDACTIONS = ("sql", "setting")
GONE = "gone"
"""Column of a metric that is sent by content: the row was there and is not any more."""

_E = TypeVar("_E", bound=StrEnum)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,62}")


class FieldRole(StrEnum):
    """What a field is to a reader: `counter` values are deltas over (`since`, `collected_at`]."""

    KEY = "key"
    COUNTER = "counter"
    GAUGE = "gauge"
    LABEL = "label"


class Send(StrEnum):
    """Which rows a snapshot carries.

    `all` of them, as a rule; `changed`: those of which a counter moved, or, without counters, those that differ from what was
    sent last or were not sent for `resend_s`, and those that are `gone`; `any`: all, and no record is made when there are none
    and there were none before; `new`: those whose key was not sent for `resend_s`, and no record when there are none (a
    dictionary).
    """

    ALL = "all"
    CHANGED = "changed"
    ANY = "any"
    NEW = "new"


class Scope(StrEnum):
    """Read once per server, or once per database."""

    INSTANCE = "instance"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Field:
    """One column. `primitive` is the type of the value, or of the elements when `group` is not None.

    `redact`: it is a text of SQL (`sql`) or the value of a setting (`setting`), from which the agent takes out what must not
    leave the server; empty for others.
    """

    name: str
    primitive: str
    group: str | None
    role: FieldRole
    unit: str | None
    null: int | float | str | None
    doc: str
    redact: str = ""

    @property
    def is_array(self) -> bool:
        """Whether a record holds one value per row of the group."""
        return self.group is not None


@dataclass(frozen=True)
class MetricSchema:
    """One checked record schema. `text` is its canonical JSON, `id` the first 16 hex digits of the text's SHA-256.

    `parameters`: whole numbers that its queries use, with their defaults; the settings may replace them.
    `tracked`: what changes between two readings is also told by the metric `change`.
    `keys_from`: a metric whose last reading has all keys that this one can find; nothing is read while each of them is known.
    """

    name: str
    lane: Lane
    scope: Scope
    interval_s: int
    timeout_s: int
    retention_days: int
    send: Send
    rank_by: str | None
    resend_s: int | None
    keys_from: str | None
    tracked: bool
    parameters: Mapping[str, int]
    doc: str
    fields: tuple[Field, ...]
    text: str
    id: str

    @cached_property
    def groups(self) -> dict[str, tuple[Field, ...]]:
        """Array columns by group, in order."""
        groups: dict[str, tuple[Field, ...]] = {}
        for field in self.fields:
            if field.group is not None:
                groups[field.group] = (*groups.get(field.group, ()), field)
        return groups

    @cached_property
    def scalars(self) -> tuple[Field, ...]:
        """Fields with one value per record, the common ones not among them."""
        return tuple(field for field in self.fields if not field.is_array)

    @cached_property
    def scalar_names(self) -> frozenset[str]:
        """Of `scalars`."""
        return frozenset(field.name for field in self.scalars)

    @cached_property
    def row_names(self) -> frozenset[str]:
        """Columns of the group `rows`."""
        return frozenset(field.name for field in self.groups.get("rows", ()))

    @cached_property
    def counts(self) -> bool:
        """Whether anything in it is a counter: then what is not read now is in the next delta."""
        return any(field.role is FieldRole.COUNTER for field in self.fields)

    @cached_property
    def avro(self) -> dict[str, Any]:
        """The schema as an Avro library wants it."""
        schema: dict[str, Any] = json.loads(self.text)
        return schema

    def row_count(self, record: Mapping[str, Any]) -> int:
        """Rows in a record: the length of the first column of the group `rows`, or 1 for a metric of one row."""
        columns = self.groups.get("rows")
        return len(record[columns[0].name]) if columns else 1


def canonical_text(schema: Mapping[str, Any]) -> str:
    """The JSON text whose hash is the schema's id: reformatting an .avsc does not change it."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=True)


def schema_id(text: str) -> str:
    """First 16 hex digits of the SHA-256 of a canonical text."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def load_schema(text: str) -> MetricSchema:
    """Read and check one .avsc; raises SchemaError that names the metric and the field."""
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise SchemaError(f"schema is not JSON: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise SchemaError("schema is not an Avro record")
    name = schema.get("name")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise SchemaError(f"metric name {name!r} does not match {_NAME.pattern}")
    fields = schema.get("fields")
    if not isinstance(fields, list) or not all(isinstance(field, dict) for field in fields) or len(fields) > MOST_FIELDS:
        raise SchemaError(f"metric {name}: `fields` must be a list of at most {MOST_FIELDS} fields")
    common = tuple((field.get("name"), field.get("type")) for field in fields[: len(COMMON)])
    if common != COMMON:
        raise SchemaError(f"metric {name}: the first fields must be {' '.join(column for column, _ in COMMON)}")
    own = tuple(_field(name, field) for field in fields[len(COMMON) :])
    names = [field["name"] for field in fields]
    if len(set(names)) != len(names):
        raise SchemaError(f"metric {name}: two fields have one name")
    send = _choice(name, {"send": "all", **schema}, "send", Send)
    _check_send(name, send, own)
    canonical = canonical_text(schema)
    return MetricSchema(
        name=name,
        lane=_choice(name, schema, "lane", Lane),
        scope=_choice(name, schema, "scope", Scope),
        interval_s=_whole(name, schema, "interval_s", 1, 7 * 86400),
        timeout_s=_whole(name, schema, "timeout_s", 1, 3600),
        retention_days=_whole(name, schema, "retention_days", 1, 3650),
        send=send,
        rank_by=_rank_by(name, schema, names),
        resend_s=_whole(name, schema, "resend_s", 3600, 90 * 86400) if remembers(send, own) else None,
        keys_from=_keys_from(name, schema, send),
        tracked=_tracked(name, schema, send, own),
        parameters=_parameters(name, schema),
        doc=_doc(name, schema),
        fields=own,
        text=canonical,
        id=schema_id(canonical),
    )


@lru_cache(maxsize=1)
def builtin_schemas() -> dict[str, MetricSchema]:
    """The metrics that come with the package, by name."""
    folder = resources.files("pganalytics.schemas").joinpath("avro")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".avsc")), key=lambda entry: entry.name)
    loaded = (load_schema(entry.read_text(encoding="utf-8")) for entry in files)
    return {schema.name: schema for schema in loaded}


def _field(metric: str, field: Mapping[str, Any]) -> Field:
    name = field.get("name")
    where = f"metric {metric}, field {name!r}"
    if not isinstance(name, str) or _COLUMN.fullmatch(name) is None:
        raise SchemaError(f"{where}: the name must match {_COLUMN.pattern}")
    kind = field.get("type")
    array = isinstance(kind, dict) and kind.get("type") == "array" and set(kind) <= {"type", "items", "default"}
    primitive = kind["items"] if array and isinstance(kind, dict) else kind
    if primitive not in PRIMITIVES:
        raise SchemaError(f"{where}: the type must be one of {', '.join(PRIMITIVES)} or an array of one")
    group = field.get("group", "rows" if array else None)
    if array != (group is not None) or (group is not None and _NAME.fullmatch(str(group)) is None):
        raise SchemaError(f"{where}: `group` is for arrays and must match {_NAME.pattern}")
    try:
        role = FieldRole(str(field.get("role")))
    except ValueError as error:
        raise SchemaError(f"{where}: `role` must be one of {', '.join(FieldRole)}") from error
    unit = field.get("unit")
    if (role in (FieldRole.COUNTER, FieldRole.GAUGE) or unit is not None) and unit not in UNITS:
        raise SchemaError(f"{where}: `unit` must be one of {', '.join(sorted(UNITS))}")
    redact = field.get("redact", "")
    if "redact" in field and not (redact in REDACTIONS and primitive == "string" and role is FieldRole.LABEL):
        raise SchemaError(f"{where}: `redact` must be {' or '.join(REDACTIONS)}, and is for labels of type string")
    return Field(name, primitive, group, role, unit, _null(where, primitive, field), _doc(where, field), redact)


def remembers(send: Send, fields: tuple[Field, ...]) -> bool:
    """Whether it is known of each key when it was sent."""
    return send is Send.NEW or (send is Send.CHANGED and not any(field.role is FieldRole.COUNTER for field in fields))


def _tracked(metric: str, schema: Mapping[str, Any], send: Send, fields: tuple[Field, ...]) -> bool:
    tracked = schema.get("tracked", False)
    if not isinstance(tracked, bool) or (tracked and not (send is Send.CHANGED and remembers(send, fields))):
        raise SchemaError(f"metric {metric}: `tracked` is true or false, and is for `send` changed without counters")
    return tracked


def _check_send(metric: str, send: Send, fields: tuple[Field, ...]) -> None:
    counts = any(field.role is FieldRole.COUNTER for field in fields)
    in_rows = [field for field in fields if field.group == "rows"]
    by_content = send is Send.CHANGED and not counts
    gone = any((field.name, field.primitive, field.role) == (GONE, "boolean", FieldRole.LABEL) for field in in_rows)
    if by_content and not gone:
        raise SchemaError(f"metric {metric}: `send` is changed without counters: its rows must have a boolean label `{GONE}`")
    if any(field.role is FieldRole.COUNTER and field.group not in (None, "rows") for field in fields):
        raise SchemaError(f"metric {metric}: counters must be in the group rows, or one per record")
    if counts and any(field.redact for field in fields):
        raise SchemaError(f"metric {metric}: `redact` is for metrics without counters")
    if send in (Send.ANY, Send.NEW) and (counts or not in_rows):
        raise SchemaError(f"metric {metric}: `send` is {send}: it must have rows and no counter")
    keys = [field for field in in_rows if field.role is FieldRole.KEY]
    if remembers(send, fields) and (not keys or any(field.null is not None for field in keys)):
        raise SchemaError(f"metric {metric}: `send` is {send}: its rows must have a key, which is never NULL")


def _parameters(metric: str, schema: Mapping[str, Any]) -> Mapping[str, int]:
    parameters = schema.get("parameters", {})
    well = isinstance(parameters, dict) and all(
        _NAME.fullmatch(name) and type(value) is int and value >= 0 for name, value in parameters.items()
    )
    if not well:
        raise SchemaError(f"metric {metric}: `parameters` must be whole numbers from 0 by names that match {_NAME.pattern}")
    return dict(parameters)


def _keys_from(metric: str, schema: Mapping[str, Any], send: Send) -> str | None:
    other = schema.get("keys_from")
    if other is not None and (send is not Send.NEW or not isinstance(other, str)):
        raise SchemaError(f"metric {metric}: `keys_from` names a metric, and is for dictionaries (`send` new)")
    return other


def _null(where: str, primitive: str, field: Mapping[str, Any]) -> int | float | str | None:
    if "null" not in field:
        return None
    wanted: dict[str, int | str] = {"long": -(2**63), "double": "NaN", "string": "\0"}
    if primitive not in wanted or field["null"] != wanted[primitive]:
        raise SchemaError(f"{where}: `null` of a {primitive} must be {wanted.get(primitive, 'absent')!r}")
    return float("nan") if primitive == "double" else wanted[primitive]


def _doc(where: str, holder: Mapping[str, Any]) -> str:
    doc = holder.get("doc")
    if not isinstance(doc, str) or not doc.strip():
        raise SchemaError(f"{where}: `doc` is missing")
    return doc


def _choice(metric: str, schema: Mapping[str, Any], key: str, kind: type[_E]) -> _E:
    try:
        return kind(str(schema.get(key)))
    except ValueError as error:
        raise SchemaError(f"metric {metric}: `{key}` must be one of {', '.join(kind)}") from error


def _whole(metric: str, schema: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = schema.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise SchemaError(f"metric {metric}: `{key}` must be a whole number from {least} to {most}")
    return value


def _rank_by(metric: str, schema: Mapping[str, Any], names: list[str]) -> str | None:
    rank_by = schema.get("rank_by")
    if rank_by is not None and rank_by not in names:
        raise SchemaError(f"metric {metric}: `rank_by` names no field")
    return rank_by
