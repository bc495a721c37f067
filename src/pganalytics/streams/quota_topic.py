"""The topic `quotas` as an operator sees and writes it: `pganalytics quota`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pganalytics.runtime.compacted import CompactedReader
from pganalytics.runtime.errors import SettingsError, Unreachable
from pganalytics.runtime.kafka import producer_config, topic_problems
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.topics import Topics
from pganalytics.streams.quota_overrides import BadOverride, Override, in_order, make_override, read_name, read_override


@dataclass(frozen=True, slots=True)
class Listed:
    """What the topic holds. `overrides`: in effect, in the order in which they are looked for. `ignored`: records, and why."""

    overrides: Mapping[str, Override]
    ignored: Mapping[str, str]


@dataclass(slots=True)
class _Judge:
    """Accepts what the streams accept, and remembers the rest."""

    ignored: dict[bytes, str] = field(default_factory=dict)

    def accept(self, key: bytes, value: bytes | None) -> bool:
        """Whether a record can be used; the newest of its name counts."""
        self.ignored.pop(key, None)
        try:
            if value is not None:
                read_name(key)
                read_override(value)
        except BadOverride as bad:
            self.ignored[key] = str(bad)
            return False
        return True


def list_quotas(settings: Settings) -> Listed:
    """All overrides; raises Unreachable."""
    topic = _existing(settings)
    judge = _Judge()
    with CompactedReader(settings.kafka, topic, name="quota", accept=judge.accept) as reader:
        values = reader.read_to_end(settings.kafka.timeout_s)
    overrides = {read_name(key): read_override(value) for key, value in values.items()}
    ignored = {key.decode("utf-8", "surrogateescape"): why for key, why in judge.ignored.items()}
    return Listed({name: overrides[name] for name in in_order(overrides)}, dict(sorted(ignored.items())))


def set_quota(settings: Settings, name: str, given: Mapping[str, float]) -> Override:
    """Write an override in place of what the name had; raises SettingsError before anything is written, or Unreachable."""
    try:
        key = name.encode("utf-8", "surrogateescape")
        read_name(key)
        override = make_override(given)
    except BadOverride as bad:
        raise SettingsError(f"quota {name!r}: {bad}") from bad
    _write(settings, key, override.encode())
    return override


def unset_quota(settings: Settings, name: str) -> bool:
    """Delete what a name has; False when it has nothing. Raises Unreachable."""
    listed = list_quotas(settings)
    if name not in listed.overrides and name not in listed.ignored:
        return False
    _write(settings, name.encode("utf-8", "surrogateescape"), None)
    return True


def _write(settings: Settings, key: bytes, value: bytes | None) -> None:
    """Returns when the broker has the record."""
    topic = _existing(settings)
    failures: list[KafkaError] = []

    def report(error: KafkaError | None, message: Message) -> None:
        del message
        if error is not None:
            failures.append(error)

    timeout_s = settings.kafka.timeout_s
    producer = Producer(producer_config(settings.kafka, name="quota", message_timeout_ms=round(timeout_s * 1000)))
    try:
        producer.produce(topic, key=key, value=value, on_delivery=report)
        left = producer.flush(timeout_s + 1)
    except KafkaException as error:
        raise Unreachable(f"topic {topic}: the quota is not written: {error.args[0].str()}") from error
    if failures or left:
        why = failures[0].str() if failures else "no answer"
        raise Unreachable(f"topic {topic}: the quota is not known to be written: {why}: see `pganalytics quota list`")


def _existing(settings: Settings) -> str:
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    wanted = [topic for topic in topics.table() if topic.name == topics.quotas]
    if problems := topic_problems(settings.kafka, wanted):
        raise Unreachable("\n".join(problems))
    return topics.quotas
