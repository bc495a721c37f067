"""docs/settings.md, made from the settings' own descriptions: `python -m pganalytics.runtime.settings_reference`."""

import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_live import is_live

HEAD = """\
# Settings

One TOML file for all services, named by `-c FILE` or by `PGANALYTICS_CONFIG`; each reads its own sections. What is absent has
its default. A key that nobody knows is refused, with its name. `pganalytics config show -c FILE` prints what is in effect, with
secrets masked. Durations are seconds, sizes bytes.

Each key can come from the environment as `PGANALYTICS_SECTION__KEY`, which counts more than the file, for example
`PGANALYTICS_STREAMS__QUOTA__RECORDS_PER_S=20`; lists and tables are JSON there:
`PGANALYTICS_TARGETS='[{"host": "db1.example"}]'`.

What is marked **live** is taken up a few seconds after the file has changed, if all of it can be used; see
[operations.md](operations.md#other-settings). Every other key counts from the next start of its service on.
"""
MARK = " **Live.**"


@dataclass(frozen=True)
class Table:
    """A table of the file. `each`: there may be several, `[[name]]`; `live`: all of it is taken up without a restart."""

    name: str
    about: str
    model: type[BaseModel]
    each: bool
    live: bool


def as_markdown() -> str:
    """The document."""
    return "\n".join(_lines()) + "\n"


def tables(model: type[BaseModel] = Settings, path: str = "", *, live: bool = False) -> Iterator[Table]:
    """All tables of the file in the order of the settings, outer ones first."""
    for key, field in model.model_fields.items():
        found = _inner(field.annotation)
        if found is None:
            continue
        kind, inner = found
        name = f"{path}.{key}" if path else key
        named = f"{name}.NAME" if kind is dict else name
        about = inspect.cleandoc(inner.__doc__ or "")
        marked = live or is_live(field)
        yield Table(named, about, inner, each=kind is list, live=marked)
        yield from tables(inner, named, live=marked)


def _inner(annotation: Any) -> tuple[type, type[BaseModel]] | None:
    """(list, dict or itself, model) when this is a table, or tables."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, annotation
    for argument in get_args(annotation)[-1:]:
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return (list if len(get_args(annotation)) == 1 else dict), argument
    return None


def _lines() -> Iterator[str]:
    yield HEAD
    for table in tables():
        brackets = f"[[{table.name}]]" if table.each else f"[{table.name}]"
        lines = (table.about + (MARK if table.live else "")).splitlines()
        yield from (f"## `{brackets}`", "", *lines, "")
        yield from ("| key | default | values | says |", "|---|---|---|---|")
        for key, field in table.model.model_fields.items():
            if _inner(field.annotation) is None:
                says = (field.description or "") + (MARK if is_live(field) else "")
                cells = (f"`{key}`", _default(table, key, field), _values(table.model, key), says)
                yield f"| {' | '.join(_cell(cell) for cell in cells)} |"
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "\\<").split())


def _default(table: Table, key: str, field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if table.name == "store":
        value = getattr(Settings.model_fields["store"].get_default(call_default_factory=True), key)
    if value is None:
        return ""
    return f"`{json.dumps(str(value) if isinstance(value, Path) else value)}`"


def _values(model: type[BaseModel], key: str) -> str:
    """Choices or bounds, from the JSON schema of the field."""
    described = model.model_json_schema()["properties"][key]
    options = [described, *described.get("anyOf", [])]
    for option in options:
        if "enum" in option:
            return ", ".join(f"`{one}`" for one in option["enum"])
        low = option.get("minimum", option.get("exclusiveMinimum"))
        if low is not None:
            above = "above " if "exclusiveMinimum" in option else ""
            return f"{above}{low:.15g} to {option['maximum']:.15g}"
    kinds = {"string": "text", "boolean": "`true`, `false`", "array": "a list", "object": "a table", "integer": "a number"}
    return next((kinds[one["type"]] for one in options if one.get("type") in kinds), "")


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
