"""The oracle: what was emitted, written and fsynced before the spool got it; and the comparison with the store, as sets."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import MetricSchema, load_schema

Key = tuple[str, int, str, int]


def chaos_schema(lane: Lane) -> MetricSchema:
    """A metric that no package knows: its text has to travel on the schemas topic."""
    fields: list[dict[str, Any]] = [
        {"name": name, "type": kind, "role": "key", "doc": "Common field."}
        for name, kind in (("collector", "string"), ("epoch", "long"), ("lane", "string"), ("seq", "long"))
    ]
    fields += [
        {"name": name, "type": "long", "role": "label", "doc": "Common field."}
        for name in ("collected_at", "since", "part", "parts")
    ]
    least = -(2**63)
    fields += [
        {"name": "text", "type": "string", "role": "label", "null": "\0", "doc": "Any text, or NULL."},
        {"name": "number", "type": "double", "role": "gauge", "unit": "1", "null": "NaN", "doc": "Any number, or NULL."},
        {"name": "flag", "type": "boolean", "role": "label", "doc": "True or false."},
        {"name": "id", "type": {"type": "array", "items": "long"}, "role": "key", "doc": "Key."},
        {
            "name": "count",
            "type": {"type": "array", "items": "long"},
            "role": "counter",
            "unit": "1",
            "null": least,
            "doc": "Count.",
        },
        {"name": "label", "type": {"type": "array", "items": "string"}, "role": "label", "null": "\0", "doc": "Label."},
        {"name": "share", "type": {"type": "array", "items": "double"}, "role": "gauge", "unit": "ratio", "doc": "Share."},
    ]
    head = {"type": "record", "name": f"chaos_{lane}", "doc": "Made by the load generator.", "lane": lane.value}
    policy = {"scope": "instance", "interval_s": 1, "timeout_s": 1, "retention_days": 7}
    return load_schema(json.dumps({**head, **policy, "fields": fields}))


SCHEMAS = {lane: chaos_schema(lane) for lane in (Lane.NORMAL, Lane.BULK)}
"""Lane critical has the heartbeats, whose seqs come between."""


def stored_value(value: Any, null: Any) -> Any:
    """What the store has for a value of a record: None for the value that stands for NULL."""
    if isinstance(value, list):
        return [stored_value(one, null) for one in value]
    if isinstance(null, float):
        return None if isinstance(value, float) and math.isnan(value) else value
    return None if null is not None and value == null else value


def stored_content(schema: MetricSchema, values: dict[str, Any]) -> dict[str, Any]:
    """The row that a record must become; the common fields but the identity are among it."""
    content = {name: values[name] for name in ("collected_at", "since", "part", "parts")}
    return content | {one.name: stored_value(values[one.name], one.null) for one in schema.fields}


class OracleFile:
    """Appends and fsyncs. One thread."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, entries: Iterable[tuple[Identity, dict[str, Any]]]) -> None:
        """Returns when the disk has them."""
        for who, content in entries:
            self._file.write(json.dumps([[who.collector, who.epoch, who.lane.value, who.seq], content]) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_oracle(path: Path) -> dict[Key, dict[str, Any]]:
    """What was emitted, by identity."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    emitted = {(key[0], key[1], key[2], key[3]): content for key, content in entries}
    assert len(emitted) == len(entries), "the oracle has an identity twice"
    return emitted


@dataclass
class Difference:
    """How the store differs from the oracle, by identity."""

    missing: set[Key] = field(default_factory=set)
    double: set[Key] = field(default_factory=set)
    altered: set[Key] = field(default_factory=set)
    unknown: set[Key] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.missing or self.double or self.altered or self.unknown)


def compare(emitted: dict[Key, dict[str, Any]], conninfo: str) -> Difference:
    """Set equality by identity and by content."""
    found: Counter[Key] = Counter()
    difference = Difference()
    for schema in SCHEMAS.values():
        for key, content in _rows(schema, conninfo):
            found[key] += 1
            if key not in emitted:
                difference.unknown.add(key)
            elif emitted[key] != content:
                difference.altered.add(key)
    difference.missing = emitted.keys() - found.keys()
    difference.double = {key for key, count in found.items() if count > 1}
    return difference


def _rows(schema: MetricSchema, conninfo: str) -> Iterable[tuple[Key, dict[str, Any]]]:
    times = [
        sql.SQL("(extract(epoch from {0}) * 1000000)::bigint").format(sql.Identifier(name)) for name in ("collected_at", "since")
    ]
    names = ["part", "parts", *(one.name for one in schema.fields)]
    columns = [*map(sql.Identifier, ("collector", "epoch", "lane", "seq")), *times, *map(sql.Identifier, names)]
    query = sql.SQL("select {} from {}").format(sql.SQL(", ").join(columns), sql.Identifier("metrics", schema.name))
    with psycopg.connect(conninfo) as connection:
        for row in connection.execute(query):
            yield (row[0], row[1], row[2], row[3]), dict(zip(("collected_at", "since", *names), row[4:], strict=True))
