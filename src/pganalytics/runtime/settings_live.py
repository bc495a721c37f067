"""Which settings a running service takes up, and which need a restart. Pure."""

from collections.abc import Collection, Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pganalytics.runtime.settings import LIVE, Settings


def is_live(field: FieldInfo) -> bool:
    """Whether the key, with all below it, is taken up without a restart."""
    return field.json_schema_extra == LIVE


def keys_for_restart(before: Settings, after: Settings, sections: Collection[str]) -> list[str]:
    """Keys of these sections that differ and are not taken up."""
    return [key for section in sections for key in _different(getattr(before, section), getattr(after, section), section)]


def _different(before: BaseModel, after: BaseModel, path: str) -> Iterator[str]:
    for key, field in type(before).model_fields.items():
        old, new = getattr(before, key), getattr(after, key)
        if old == new or is_live(field):
            continue
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from _different(old, new, f"{path}.{key}")
        else:
            yield f"{path}.{key}"
