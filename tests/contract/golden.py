"""Golden examples: one JSON file each, with the values and the bytes of a body.

`python tests/contract/golden.py` writes the bytes and schema ids anew from the values: for a schema that is not released.
"""

import json
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pganalytics.schemas.codec import RecordCodec, identity_of
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.ranges import Ranges

EXAMPLES = Path(str(resources.files("pganalytics.schemas").joinpath("examples")))


@dataclass(frozen=True)
class GoldenExample:
    """One file."""

    path: Path
    metric: str
    values: dict[str, Any]
    body: bytes


def load_examples() -> list[GoldenExample]:
    """All examples, by name."""
    return [_load(path) for path in sorted(EXAMPLES.glob("*.json"))]


def event_of(example: GoldenExample) -> Event:
    """The event that an example describes."""
    got = example.values
    return Event(
        kind=EventKind(got["kind"]),
        source=Source(got["source"]),
        at_us=got["at"],
        collector=got["collector"],
        epoch=got["epoch"],
        lane=Lane(got["lane"]) if got["lane"] else None,
        ranges=Ranges.of(zip(got["low"], got["high"], strict=True)),
        topic=got["topic"],
        partition=got["partition"],
        offset=got["offset"],
        detail=got["detail"],
    )


def _load(path: Path) -> GoldenExample:
    got = json.loads(path.read_text(encoding="utf-8"))
    return GoldenExample(path, got["metric"], got["values"], bytes.fromhex(got["body"]))


def _write(path: Path) -> None:
    got = json.loads(path.read_text(encoding="utf-8"))
    example = GoldenExample(path, got["metric"], got["values"], b"")
    if example.metric == "event":
        event = event_of(example)
        got["values"]["id"] = event.id
        got["body"] = event.encode().hex()
    else:
        codec = RecordCodec(builtin_schemas()[example.metric])
        rest = {key: value for key, value in example.values.items() if key not in ("collector", "epoch", "lane", "seq")}
        got["schema"] = codec.schema.id
        got["body"] = codec.assemble(identity_of(example.values), codec.encode_rest(rest)).hex()
    path.write_text(json.dumps(got, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or [str(path) for path in sorted(EXAMPLES.glob("*.json"))]:
        _write(Path(name))
