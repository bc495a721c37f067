"""The oracle: what was emitted, written and fsynced before the spool got it; and the comparison with the store, as sets.

A batch is emitted when the spool has committed it. The oracle says so after each; of the one batch whose commit an agent did not
live to hear of, the spool says it at the agent's next start, before anything is sent: then the oracle has a line about its epoch.
"""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from pganalytics.schemas.identity import Identity, Lane
from pganalytics.schemas.metric import MetricSchema, load_schema

Key = tuple[str, int, str, int]
POISON = b""
"""In place of the digest of what nobody can decode, and so must not be stored."""


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
    """Appends and fsyncs. One thread. A line that an earlier life left unfinished never came before the spool, and goes."""

    def __init__(self, path: Path) -> None:
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        self._file = path.open("a", encoding="utf-8")

    def write(self, entries: Iterable[tuple[Identity, dict[str, Any] | None]]) -> None:
        """A batch that goes to the spool next, None for the content of poison; returns when the disk has it."""
        for who, content in entries:
            self._file.write(json.dumps([[who.collector, who.epoch, who.lane.value, who.seq], content]) + "\n")
        self._sync()

    def committed(self) -> None:
        """The spool has the batch."""
        self._file.write("{}\n")
        self._file.flush()

    def counted(self, collector: str, epoch: int, emitted: dict[str, int]) -> None:
        """What an earlier life of the agent had got into the spool, by lane; returns when the disk has it."""
        self._file.write(json.dumps({"collector": collector, "epoch": epoch, "emitted": emitted}) + "\n")
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def read_oracle(*paths: Path, doubtful: bool = False) -> dict[Key, bytes]:
    """What was emitted: a digest of the content by identity. `doubtful`: also what perhaps was, where no spool can say."""
    emitted: dict[Key, bytes] = {}
    for path in paths:
        ours, perhaps = _read(path)
        assert doubtful or not perhaps, f"{path.name}: nobody has said whether the spool has {min(perhaps)} and what follows"
        assert not emitted.keys() & ours.keys(), f"{path.name} has what another oracle has"
        emitted |= ours | perhaps
    return emitted


def unclear(path: Path) -> set[tuple[str, int]]:
    """(collector, epoch) of the batch of which the oracle does not say whether the spool has it."""
    batch: list[str] = []
    for line in _whole_lines(path) if path.exists() else ():
        if line.startswith("["):
            batch.append(line)
        else:
            batch = []
    return {(key[0], key[1]) for key, _ in map(json.loads, batch)}


def _read(path: Path) -> tuple[dict[Key, bytes], dict[Key, bytes]]:
    """What was emitted, and what perhaps was."""
    emitted: dict[Key, bytes] = {}
    batch: dict[Key, bytes] = {}
    for line in _whole_lines(path):
        match json.loads(line):
            case [[collector, epoch, lane, seq], content]:
                key = (collector, epoch, lane, seq)
                assert key not in emitted, f"the oracle has {key} twice"
                batch[key] = POISON if content is None else digest(content)
            case {"collector": collector, "epoch": epoch, "emitted": counts}:
                ours = {key: batch.pop(key) for key in list(batch) if key[:2] == (collector, epoch)}
                emitted |= {key: one for key, one in ours.items() if key[3] <= counts[key[2]]}
            case _:
                emitted |= batch
                batch = {}
    return emitted, batch


def _whole_lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line for line in file if line.endswith("\n"))


def digest(content: dict[str, Any]) -> bytes:
    """Equal for equal content."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).digest()


@dataclass
class Difference:
    """How the store differs from the oracle, by identity."""

    missing: set[Key] = field(default_factory=set)
    double: set[Key] = field(default_factory=set)
    altered: set[Key] = field(default_factory=set)
    unknown: set[Key] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.missing or self.double or self.altered or self.unknown)


def compare(emitted: dict[Key, bytes], conninfo: str) -> Difference:
    """Set equality by identity and by content."""
    found: Counter[Key] = Counter()
    difference = Difference()
    for schema in SCHEMAS.values():
        for key, content in _rows(schema, conninfo):
            found[key] += 1
            if not emitted.get(key):
                difference.unknown.add(key)
            elif emitted[key] != digest(content):
                difference.altered.add(key)
    difference.missing = {key for key, one in emitted.items() if one} - found.keys()
    difference.double = {key for key, count in found.items() if count > 1}
    return difference


def tamper(emitted: dict[Key, bytes], conninfo: str) -> tuple[Key, Key, Key]:
    """For controls: lose a row, double a row, alter a row; whose they were."""
    table = sql.Identifier("metrics", SCHEMAS[Lane.NORMAL].name)
    lost, doubled, altered = sorted(key for key in emitted if key[2] == Lane.NORMAL)[10:13]
    where = sql.SQL("where collector = %s and epoch = %s and lane = %s and seq = %s")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("delete from {} {}").format(table, where), lost)
        connection.execute(sql.SQL("insert into {} select * from {} {}").format(table, table, where), doubled)
        connection.execute(sql.SQL("update {} set flag = not flag {}").format(table, where), altered)
    return lost, doubled, altered


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
