"""The Faust app: one agent on the three collected topics, in the one shape that lost nothing."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from faust.auth import Credentials

from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.schemas.topics import Topics
from pganalytics.streams.overrides import App
from pganalytics.streams.positions import Positions
from pganalytics.streams.records import Arrival

BATCH_WAIT_S = 0.05
"""How long a batch waits for more records: latency at low load, against wake-ups of an idle worker."""
COMMIT_INTERVAL_S = 0.5
METADATA_MAX_AGE_MS = 3000
"""After so long a worker asks again which partitions there are. A broker that has only just started may not know a topic yet:
aiokafka leaves it out of the assignment, so that nobody reads it, and asks again after five minutes."""

Process = Callable[[Sequence[Arrival]], Awaitable[None]]


def group_of(topics: Topics) -> str:
    """The streams' consumer group."""
    return f"{topics.prefix}.streams"


def build_app(
    settings: Settings,
    topics: Topics,
    positions: Positions,
    *,
    credentials: Credentials | None,
    process: Process,
    fail: Callable[[BaseException], None],
) -> App:
    """An app that hands batches to `process`. Must be called where the event loop runs.

    `fail` must end the process: an exception that left the agent would let Faust go on with the next batch.
    """
    app = App(
        group_of(topics),
        positions=positions,
        urgent=topics.collected(Lane.CRITICAL),
        **_options(settings, topics, credentials),
    )
    lanes = {topics.collected(lane): lane for lane in LANES}
    channel = app.topic(*lanes, key_serializer="raw", value_serializer="raw")

    async def assigned(*given: Any, **__: Any) -> None:
        partitions: Iterable[Any] = given[1]  # after the sender
        positions.forget()
        positions.assigned = frozenset((one.topic, one.partition) for one in partitions if one.topic in lanes)

    async def revoked(*_: Any, **__: Any) -> None:
        positions.forget()

    app.on_partitions_assigned.connect(assigned, weak=False)
    app.on_partitions_revoked.connect(revoked, weak=False)

    @app.agent(channel, name=f"{topics.prefix}.admit")  # type: ignore[misc, unused-ignore]
    async def admit(stream: Any) -> None:
        async for events in stream.noack_take(settings.streams.batch_records, within=BATCH_WAIT_S):
            try:
                await process([as_arrival(event.message, lanes) for event in events])
            except Exception as error:  # noqa: BLE001 - whatever it is, the process ends with it
                fail(error)
            for event in events:
                await stream.ack(event)

    return app


def as_arrival(message: Any, lanes: dict[str, Lane]) -> Arrival:
    """Faust's message as the pure parts want it; its time is in seconds, made of the broker's milliseconds."""
    at_ms = round(message.timestamp * 1000) if message.timestamp is not None else 0
    return Arrival(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        at_us=max(0, at_ms) * 1000,
        lane=lanes[message.topic],
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
    )


def _options(settings: Settings, topics: Topics, credentials: Credentials | None) -> dict[str, Any]:
    """Settings of Faust. What is off is off because it lost or doubled records, or is not used."""
    streams = settings.streams
    return {
        "broker": ["kafka://" + address for address in settings.kafka.bootstrap.split(",")],
        "broker_client_id": f"{topics.prefix}-streams",
        "broker_credentials": credentials,
        "broker_commit_interval": COMMIT_INTERVAL_S,
        "broker_max_poll_records": streams.poll_records,
        "broker_session_timeout": streams.session_timeout_s,
        "broker_rebalance_timeout": streams.session_timeout_s,
        "broker_heartbeat_interval": streams.session_timeout_s / 4,
        "consumer_auto_offset_reset": "earliest",
        "consumer_metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "stream_buffer_maxsize": streams.poll_records + 2 * streams.batch_records,  # a poll, and what the agent takes meanwhile
        "stream_recovery_delay": 0,
        "stream_wait_empty": True,
        "processing_guarantee": "at_least_once",
        "store": "memory://",
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "web_enabled": False,
        "autodiscover": False,
    }
