"""Headers of records: ASCII text on every record of the collected and admitted topics.

Stream processors decide on these alone. `Headers.decode` is strict: an absent, doubled or malformed header is a HeaderError
that names it. Headers that this version does not know are left alone.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pganalytics.schemas.errors import HeaderError
from pganalytics.schemas.identity import LANES, MAX_LONG, Identity, Lane, is_collector_id

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,40}")
_SCHEMA = re.compile(r"[0-9a-f]{16}")
_ERROR = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
HEARTBEAT = "heartbeat"

Wire = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class HeartbeatFacts:
    """What a heartbeat says in its headers, so that processors need not decode it.

    `emitted`: highest seq per lane of the heartbeat's own epoch, its own seq included. `epochs`: the older epochs that its
    body lists. `final`: those epochs, its own among them when it ends, of which nothing will follow.
    """

    emitted: dict[Lane, int]
    epochs: tuple[int, ...]
    final: tuple[int, ...]
    up: bool
    control: int


@dataclass(frozen=True, slots=True)
class Headers:
    """`rows`: rows in the body; `size`: bytes of the body; times in microseconds UTC; `schema`: id of the writer's schema.

    `appended_at_us` (broker's append time of the collected record) and `src_offset` are put on by the streams. `error`: why
    Kafka refused the body of a stub, which has none.
    """

    identity: Identity
    metric: str
    rows: int
    size: int
    collected_at_us: int
    schema: str
    heartbeat: HeartbeatFacts | None = None
    appended_at_us: int | None = None
    src_offset: int | None = None
    error: str | None = None

    def encode(self) -> Wire:
        """As Kafka headers."""
        who = self.identity
        texts = {
            "collector": who.collector,
            "epoch": str(who.epoch),
            "lane": who.lane.value,
            "seq": str(who.seq),
            "metric": self.metric,
            "rows": str(self.rows),
            "bytes": str(self.size),
            "collected_at": str(self.collected_at_us),
            "schema": self.schema,
        }
        if self.heartbeat is not None:
            beat = self.heartbeat
            texts["emitted"] = ",".join(str(beat.emitted[lane]) for lane in LANES)
            texts["epochs"] = ",".join(map(str, beat.epochs))
            texts["final"] = ",".join(map(str, beat.final))
            texts["up"] = "1" if beat.up else "0"
            texts["control"] = str(beat.control)
        if self.error is not None:
            texts["error"] = self.error
        wire = [(name, text.encode("ascii")) for name, text in texts.items()]
        if self.appended_at_us is not None and self.src_offset is not None:
            wire += stamp(self.appended_at_us, self.src_offset)
        return wire

    @classmethod
    def decode(cls, wire: Iterable[tuple[str, bytes | None]] | None) -> Self:
        """Read Kafka headers; raises HeaderError."""
        got = _texts(wire or ())
        collector = _text(got, "collector")
        if not is_collector_id(collector):
            raise HeaderError(f"header collector: {collector[:60]!r} is not a collector id")
        lane = _text(got, "lane")
        if lane not in LANES:
            raise HeaderError(f"header lane: {lane[:60]!r} is none of {', '.join(LANES)}")
        identity = Identity(collector, _number(got, "epoch", least=1), Lane(lane), _number(got, "seq", least=1))
        metric = _matching(got, "metric", _METRIC)
        return cls(
            identity=identity,
            metric=metric,
            rows=_number(got, "rows"),
            size=_number(got, "bytes"),
            collected_at_us=_number(got, "collected_at"),
            schema=_matching(got, "schema", _SCHEMA),
            heartbeat=_heartbeat(got) if metric == HEARTBEAT else None,
            appended_at_us=_number(got, "appended_at") if "appended_at" in got else None,
            src_offset=_number(got, "src_offset") if "src_offset" in got else None,
            error=_matching(got, "error", _ERROR) if "error" in got else None,
        )


def stamp(appended_at_us: int, src_offset: int) -> Wire:
    """The two headers that the streams add to a collected record."""
    return [("appended_at", str(appended_at_us).encode()), ("src_offset", str(src_offset).encode())]


def _texts(wire: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    got: dict[str, str] = {}
    for name, value in wire:
        if name in got:
            raise HeaderError(f"header {name[:60]!r} is there twice")
        try:
            got[name] = (value or b"").decode("ascii")
        except UnicodeDecodeError as error:
            if name in _KNOWN:
                raise HeaderError(f"header {name}: not ASCII") from error
    return got


_KNOWN = frozenset(
    "collector epoch lane seq metric rows bytes collected_at schema "
    "emitted epochs final up control appended_at src_offset error".split()
)


def _text(got: dict[str, str], name: str) -> str:
    if name not in got:
        raise HeaderError(f"header {name} is absent")
    return got[name]


def _matching(got: dict[str, str], name: str, pattern: re.Pattern[str]) -> str:
    text = _text(got, name)
    if pattern.fullmatch(text) is None:
        raise HeaderError(f"header {name}: {text[:60]!r} does not match {pattern.pattern}")
    return text


def _as_number(name: str, text: str, least: int = 0) -> int:
    if _NUMBER.fullmatch(text) is None or not least <= int(text) <= MAX_LONG:
        raise HeaderError(f"header {name}: {text[:60]!r} is not a whole number from {least} to 2^63-1")
    return int(text)


def _number(got: dict[str, str], name: str, least: int = 0) -> int:
    return _as_number(name, _text(got, name), least)


def _numbers(got: dict[str, str], name: str, least: int = 0) -> tuple[int, ...]:
    text = _text(got, name)
    return tuple(_as_number(name, part, least) for part in text.split(",")) if text else ()


def _heartbeat(got: dict[str, str]) -> HeartbeatFacts:
    emitted = _numbers(got, "emitted")
    if len(emitted) != len(LANES):
        raise HeaderError(f"header emitted: {len(emitted)} numbers, not one for each of {', '.join(LANES)}")
    up = _text(got, "up")
    if up not in ("0", "1"):
        raise HeaderError(f"header up: {up[:60]!r} is neither 0 nor 1")
    return HeartbeatFacts(
        emitted=dict(zip(LANES, emitted, strict=True)),
        epochs=_numbers(got, "epochs", least=1),
        final=_numbers(got, "final", least=1),
        up=up == "1",
        control=_number(got, "control"),
    )
