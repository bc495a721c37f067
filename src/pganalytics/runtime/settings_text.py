"""Settings as TOML text, each key with its description: what `pganalytics config show` prints. Secrets are masked."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, SecretStr

from pganalytics.runtime.settings import Settings

MASK = "********"
SECRET = re.compile(r"passw|secret|\.pem$|oauthbearer\.config|credential|token(?!\.endpoint)", re.IGNORECASE)
"""Keys whose values may be secrets: options of librdkafka are the user's own."""


def as_toml(settings: Settings) -> str:
    """A settings file that means the same; keys that are not set stand in comments."""
    return "\n".join(_table(settings, "")).strip()


def as_json(settings: Settings) -> str:
    """The same as JSON."""
    found = settings.model_dump(mode="json")
    options = found["kafka"]["options"]
    found["kafka"]["options"] = {key: MASK if SECRET.search(key) else value for key, value in options.items()}
    return json.dumps(found, indent=2)


def _table(model: BaseModel, path: str) -> Iterator[str]:
    tables: list[tuple[str, object, str]] = []
    for key, field in type(model).model_fields.items():
        value = getattr(model, key)
        about = field.description or ""
        if isinstance(value, BaseModel | dict) or (isinstance(value, list) and (key in ("targets", "rules"))):
            tables.append((key, value, about))
        elif value is None:
            yield f"# {key} =  # {about}"
        else:
            yield f"{key} = {_value(value)}  # {about}"
    for key, value, about in tables:
        yield from _nested(f"{path}.{key}" if path else key, value, about)


def _nested(name: str, value: object, about: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield f"\n[{name}]  # {about}"
        yield from _table(value, name)
    elif isinstance(value, list):
        for element in value:
            yield f"\n[[{name}]]  # {about}"
            yield from _table(element, name)
        if not value:
            yield f"\n# [[{name}]]  # {about}"
    elif isinstance(value, dict) and value and all(isinstance(one, BaseModel) for one in value.values()):
        for key, one in value.items():
            yield from _nested(f"{name}.{_key(key)}", one, about)
    elif isinstance(value, dict):
        yield f"\n[{name}]  # {about}"
        yield from (f"{_key(key)} = {_value(MASK if SECRET.search(key) else one)}" for key, one in value.items())


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: object) -> str:
    if isinstance(value, SecretStr):
        return json.dumps(MASK)
    if isinstance(value, Path):
        return json.dumps(str(value))
    return json.dumps(value)
