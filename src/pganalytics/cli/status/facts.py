"""What is known of the installation now: from Kafka, and from the store. Either may be away; the other is shown all the same."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaException

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.kafka import admin, topic_problems
from pganalytics.runtime.lag import Lag, LagWatch
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Topics
from pganalytics.sink.consumer import group_of
from pganalytics.sink.overview import Overview, read_overview
from pganalytics.sink.shares import weights
from pganalytics.streams.quota_topic import Listed, list_quotas


@dataclass(frozen=True, slots=True)
class LaneLag:
    """What a service has before it in one topic. `retention_s`: how long the topic keeps it. `seconds` is None when the age of
    the oldest record could not be read."""

    service: str
    lane: str
    records: int
    seconds: float | None
    retention_s: float


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a service by the members of its consumer group: client and machine, as Kafka says. None: not known."""

    service: str
    members: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class KafkaSide:
    """All that Kafka says. `problems`: of topics."""

    groups: tuple[Group, ...]
    lags: tuple[LaneLag, ...]
    quotas: Listed
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known; a side that is away is None, and `away` says why, a line each."""

    kafka: KafkaSide | None
    store: Overview | None
    away: tuple[str, ...]


def read_facts(settings: Settings) -> Facts:
    """Ask both; raises only for settings that cannot be used."""
    away: list[str] = []
    kafka = stored = None
    try:
        kafka = read_kafka(settings)
    except Unreachable as error:
        away += str(error).splitlines()
    except KafkaException as error:
        away.append(f"kafka {settings.kafka.bootstrap}: {error.args[0].str()}: try again")
    try:
        stored = read_overview(settings)
    except Unreachable as error:
        away += str(error).splitlines()
    return Facts(kafka, stored, tuple(away))


def read_kafka(settings: Settings) -> KafkaSide:
    """Raises Unreachable, KafkaException."""
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    problems = topic_problems(settings.kafka, topics.table())
    missing = [problem for problem in problems if problem.endswith("run `pganalytics setup`")]
    if missing:
        raise Unreachable("\n".join(missing))
    collected = {topics.collected(lane): str(lane) for lane in LANES}
    admitted = {topics.admitted(lane): str(lane) for lane in LANES} | {topics.deferred: "deferred", topics.events: "events"}
    kept = {topic.name: int(topic.config.get("retention.ms", 0)) / 1000 for topic in topics.table()}
    streams = f"{topics.prefix}.streams"
    lags = _lags(settings, streams, tuple(collected)), _lags(settings, group_of(topics), tuple(weights(topics)))
    now_s = time.time()
    return KafkaSide(
        groups=_groups(settings, {"streams": streams, "sink": group_of(topics)}),
        lags=tuple(
            LaneLag(service, lanes[topic], lag.records, _age_s(lag, now_s), kept[topic])
            for service, lanes, found in (("streams", collected, lags[0]), ("sink", admitted, lags[1]))
            for topic, lag in found.items()
        ),
        quotas=list_quotas(settings),
        problems=tuple(problems),
    )


def _lags(settings: Settings, group: str, topics: Sequence[str]) -> Mapping[str, Lag]:
    watch = LagWatch(settings.kafka, group, topics, known=dict, tell=_keep_quiet)
    try:
        return watch.look()
    finally:
        watch.close()


def _keep_quiet(lags: Mapping[str, Lag], now_s: float) -> None:
    del lags, now_s


def _age_s(lag: Lag, now_s: float) -> float | None:
    if lag.oldest_s is None:
        return None if lag.records else 0.0
    return max(0.0, now_s - lag.oldest_s)


def _groups(settings: Settings, groups: Mapping[str, str]) -> tuple[Group, ...]:
    client = admin(settings.kafka)  # it must outlive its answers
    asked = client.describe_consumer_groups(list(groups.values()), request_timeout=settings.kafka.timeout_s)
    found = []
    for service, group in groups.items():
        try:
            members = asked[group].result(settings.kafka.timeout_s + 1).members
        except (KafkaException, TimeoutError):  # no right to describe it
            found.append(Group(service, None))
        else:
            found.append(Group(service, tuple(sorted(f"{one.client_id} at {one.host.lstrip('/')}" for one in members))))
    return tuple(found)
