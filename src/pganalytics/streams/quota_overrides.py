"""Which quota a collector has: its own, else that of the first pattern that fits, else the default of the settings. Pure.

Overrides are records of the topic `quotas`. The key is a collector's id, or a pattern with `*` (any characters) or `?` (any
one); brackets are themselves, they occur in ids. Of several patterns that fit the one with most other characters counts, of
equal ones the alphabetically first: not which was written last. What an override leaves out is as in the default.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pganalytics.runtime.settings import BurstS, BytesPerS, RecordsPerS, RowsPerS
from pganalytics.schemas.identity import is_collector_id
from pganalytics.streams.bounded import Bounded
from pganalytics.streams.quota import Limits, QuotaSettings

Input = TypeVar("Input")

MOST_REMEMBERED = 50_000
MOST_TOLD = 300
_PATTERN = re.compile(r"[A-Za-z0-9._:@/\[\]*?-]{1,200}")


class BadOverride(Exception):
    """A key or value that cannot be used; the message says why."""


class Override(BaseModel):
    """What an override sets; at least one of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    records_per_s: RecordsPerS | None = None
    rows_per_s: RowsPerS | None = None
    bytes_per_s: BytesPerS | None = None
    burst_s: BurstS | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.given:
            raise ValueError(f"set at least one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def given(self) -> dict[str, float]:
        """The keys that are set."""
        return self.model_dump(exclude_none=True)

    def encode(self) -> bytes:
        """As the topic holds it."""
        return self.model_dump_json(exclude_none=True).encode()


@dataclass(frozen=True, slots=True)
class Rates:
    """A whole quota."""

    records_per_s: float
    rows_per_s: float
    bytes_per_s: float
    burst_s: float
    critical_burst_s: float
    ceiling_s: float


def is_pattern(name: str) -> bool:
    """Whether it may fit several collectors."""
    return "*" in name or "?" in name


def read_name(key: bytes) -> str:
    """A collector's id or a pattern; raises BadOverride."""
    name = key.decode("utf-8", "backslashreplace")
    if not is_collector_id(name) and not (is_pattern(name) and _PATTERN.fullmatch(name)):
        raise BadOverride("neither the id of a collector nor a pattern of * and ? and characters of ids")
    return name


def read_override(value: bytes) -> Override:
    """A value of the topic; raises BadOverride with all that is wrong."""
    return _checked(Override.model_validate_json, value)


def make_override(given: Mapping[str, float]) -> Override:
    """An override as an operator gives it; raises BadOverride with all that is wrong."""
    return _checked(Override.model_validate, given)


def in_order(names: Iterable[str]) -> list[str]:
    """Collectors by name, then patterns, each before those that give way to it."""
    return sorted(names, key=lambda name: (is_pattern(name), -_weight(name) if is_pattern(name) else 0, name))


def merged(override: Override, default: QuotaSettings) -> Rates:
    """The quota that an override makes of the default."""
    return Rates(
        **{
            "records_per_s": default.records_per_s,
            "rows_per_s": default.rows_per_s,
            "bytes_per_s": default.bytes_per_s,
            "burst_s": default.burst_s,
            **override.given,
        },
        critical_burst_s=default.critical_burst_s,
        ceiling_s=default.ceiling_s,
    )


def override_of(collector: str, overrides: Mapping[str, Override]) -> Override | None:
    """The one that counts: its own, else that of the first pattern that fits; None: the default is its quota."""
    if collector in overrides:
        return overrides[collector]
    return next((overrides[name] for name in in_order(overrides) if is_pattern(name) and _fits(name)(collector)), None)


class Tariff:
    """All quotas at one time. For one thread: it remembers what it found, in bounds."""

    def __init__(self, default: QuotaSettings, overrides: Mapping[str, Override]) -> None:
        self._default = Limits.of(default)
        limits = {name: Limits.of(merged(overrides[name], default)) for name in in_order(overrides)}
        self._own = {name: each for name, each in limits.items() if not is_pattern(name)}
        self._patterns: list[tuple[Callable[[str], object], Limits]] = [
            (_fits(name), each) for name, each in limits.items() if is_pattern(name)
        ]
        self._found: Bounded[str, Limits] = Bounded(MOST_REMEMBERED)

    def limits_of(self, collector: str) -> Limits:
        """The limits of a collector; the same object each time they are the same quota's."""
        own = self._own.get(collector)
        if own is not None or not self._patterns:
            return own or self._default
        found = self._found.get(collector)
        if found is None:
            found = next((limits for fits, limits in self._patterns if fits(collector)), self._default)
            self._found.put(collector, found)
        return found


def _fits(pattern: str) -> Callable[[str], object]:
    return re.compile(translate(pattern.replace("[", "[[]"))).match


def _weight(pattern: str) -> int:
    return sum(char not in "*?" for char in pattern)


def _checked(validate: Callable[[Input], Override], given: Input) -> Override:
    try:
        return validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise BadOverride("; ".join(_told(each["loc"], each["msg"]) for each in problems)[:MOST_TOLD]) from None


def _told(place: tuple[int | str, ...], problem: str) -> str:
    problem = problem.removeprefix("Value error, ")
    return f"{place[0]}: {problem}" if place else problem
