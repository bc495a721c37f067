"""The quotas in effect: the default, and the overrides of the topic `quotas`, which change while the streams run."""

import logging
from collections.abc import Iterable, Mapping

from pganalytics.schemas.metric import builtin_schemas
from pganalytics.streams.quota import Limits, QuotaSettings
from pganalytics.streams.quota_overrides import BadOverride, Tariff, read_name, read_override

logger = logging.getLogger(__name__)


class Quotas:
    """`accept` and `take` are for the thread that follows the topic, `limits_of` for the one that decides."""

    def __init__(self, default: QuotaSettings, *, never_shed: Iterable[str] = ()) -> None:
        self._default = default
        self._tariff = Tariff(default, {})
        self._never_shed = dictionaries() | frozenset(never_shed)
        self.overrides = 0

    def limits_of(self, collector: str) -> Limits:
        """The limits of a collector, now."""
        return self._tariff.limits_of(collector)

    def is_kept(self, metric: str) -> bool:
        """Whether records of this metric are never shed."""
        return metric in self._never_shed

    def accept(self, key: bytes, value: bytes | None) -> bool:
        """Whether a record of the topic can be used. Of a key whose newest cannot the one before stays in effect."""
        if value is None:
            return True
        try:
            read_name(key)
            read_override(value)
        except BadOverride as bad:
            name = key[:200].decode("utf-8", "backslashreplace")
            logger.warning("quota is ignored; the last good one of this name stays", extra={"quota": name, "reason": str(bad)})
            return False
        return True

    def take(self, values: Mapping[bytes, bytes]) -> None:
        """These are all accepted overrides; they are in effect when this returns."""
        overrides = {read_name(key): read_override(value) for key, value in values.items()}
        self._tariff = Tariff(self._default, overrides)
        self.overrides = len(overrides)
        logger.info("quotas are in effect", extra={"overrides": len(overrides)})


def dictionaries() -> frozenset[str]:
    """Our metrics that send a row once, or when it has changed: one that were shed would be wanting for days."""
    return frozenset(name for name, schema in builtin_schemas().items() if schema.resend_s is not None)
