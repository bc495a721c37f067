"""The one table of topics: names, partitions, retention, settings."""

from dataclasses import dataclass
from enum import StrEnum

from pganalytics.schemas.identity import LANES, Lane

HOUR_MS = 3_600_000
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Largest batch that a topic takes; also the clients' `message.max.bytes`."""


class Role(StrEnum):
    """What a topic is for."""

    COLLECTED = "collected"
    ADMITTED = "admitted"
    DEFERRED = "deferred"
    EVENTS = "events"
    DEAD_LETTER = "dead-letter"
    COMPACTED = "compacted"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. Compacted topics have one partition; all others have the partition count of the settings."""

    name: str
    role: Role
    lane: Lane | None
    partitions: int
    config: dict[str, str]

    @property
    def compacted(self) -> bool:
        """Read whole, to the end, by a plain consumer without a group."""
        return self.role is Role.COMPACTED


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one installation. `prefix` and `partitions` are settings fixed by `pganalytics setup`."""

    prefix: str
    partitions: int

    def collected(self, lane: Lane) -> str:
        """What agents emit, by lane of emission."""
        return f"{self.prefix}.collected.{lane}"

    def admitted(self, lane: Lane) -> str:
        """What the streams let through, by the lane they chose."""
        return f"{self.prefix}.admitted.{lane}"

    @property
    def deferred(self) -> str:
        """What is over quota and waits for spare capacity of the sink."""
        return f"{self.prefix}.admitted.deferred"

    @property
    def events(self) -> str:
        """What the streams and the sink noticed."""
        return f"{self.prefix}.events"

    @property
    def dead_letter(self) -> str:
        """What the sink cannot store."""
        return f"{self.prefix}.dead-letter"

    @property
    def control(self) -> str:
        """Streams to agents: slow down."""
        return f"{self.prefix}.control"

    @property
    def quotas(self) -> str:
        """Operator to streams: overrides of quotas."""
        return f"{self.prefix}.quotas"

    @property
    def schemas(self) -> str:
        """Agents to sink: schema texts under their ids."""
        return f"{self.prefix}.schemas"

    def table(self) -> tuple[Topic, ...]:
        """All topics, in the order in which `setup` makes them."""
        kept = [self._log(self.collected(lane), Role.COLLECTED, lane, 96) for lane in LANES]
        kept += [self._log(self.admitted(lane), Role.ADMITTED, lane, 72) for lane in LANES]
        kept.append(self._log(self.deferred, Role.DEFERRED, None, 72))
        kept.append(self._log(self.events, Role.EVENTS, None, 14 * 24))
        kept.append(self._log(self.dead_letter, Role.DEAD_LETTER, None, 14 * 24))
        kept += [self._compacted(name) for name in (self.control, self.quotas, self.schemas)]
        return tuple(kept)

    def kept_s(self) -> dict[str, float]:
        """How long each topic keeps a record, in seconds, by name; not of the compacted ones, which keep each key's last."""
        return {topic.name: int(topic.config["retention.ms"]) / 1000 for topic in self.table() if not topic.compacted}

    def _log(self, name: str, role: Role, lane: Lane | None, retention_h: int) -> Topic:
        return Topic(
            name,
            role,
            lane,
            self.partitions,
            {
                "cleanup.policy": "delete",
                "retention.ms": str(retention_h * HOUR_MS),
                "message.timestamp.type": "LogAppendTime",
                "max.message.bytes": str(MAX_MESSAGE_BYTES),
            },
        )

    def _compacted(self, name: str) -> Topic:
        return Topic(
            name,
            Role.COMPACTED,
            None,
            1,
            {
                "cleanup.policy": "compact",
                "message.timestamp.type": "LogAppendTime",
                "max.message.bytes": str(MAX_MESSAGE_BYTES),
            },
        )
