"""A broker, a store, and a proxy on every edge between them and the services. All of it belongs to one run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos.plan import EDGES
from chaos.proxy import Proxy
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.kafka_files import Listener
from pganalytics.embedded.ports import HOST, free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.kafka import make_topics
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.topics import Topics
from pganalytics.sink.store import set_up
from servers import new_database, settings_for

TO_KAFKA = tuple(edge for edge in EDGES if edge.endswith("-kafka"))
CHOSEN = {
    "streams": {
        "quota": {"records_per_s": 60.0, "rows_per_s": 10_000.0, "bytes_per_s": 2_000_000.0, "burst_s": 10.0},
        "http_port": 0,
    },
    "sink": {"settle_interval_s": 0.5, "retry_max_s": 2.0, "session_timeout_s": 6.0, "batch_records": 300, "http_port": 0},
    "log": {"format": "json"},
}
"""Short waits; a quota that only the busy collectors exceed, and only when they catch up."""


@dataclass(frozen=True)
class Stage:
    """`settings` are those of whoever comes without a proxy; `by_role` lead through them."""

    broker: KafkaBroker
    store: PostgresServer
    proxies: dict[str, Proxy]
    settings: Settings
    by_role: dict[str, Settings]


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Everything runs, topics and store are set up."""
    inner = {edge: free_port() for edge in TO_KAFKA}
    with ExitStack() as stack:
        proxies = {edge: stack.enter_context(Proxy(port)) for edge, port in inner.items()}
        ways_in = [Listener(edge.split("-")[0].upper(), inner[edge], proxies[edge].port) for edge in TO_KAFKA]
        broker = stack.enter_context(KafkaBroker.start(folder / "kafka", listeners=ways_in))
        store = stack.enter_context(PostgresServer.start(folder / "store"))
        proxies["sink-store"] = stack.enter_context(Proxy(store.port))
        base = settings_for(broker, store, new_database(store), folder)
        settings = Settings.model_validate(base.model_dump() | CHOSEN)
        make_topics(settings.kafka, Topics(settings.kafka.prefix, settings.kafka.partitions).table())
        set_up(settings)
        yield Stage(
            broker, store, proxies, settings, {role: _led(settings, role, proxies) for role in ("agent", "streams", "sink")}
        )


def _led(settings: Settings, role: str, proxies: dict[str, Proxy]) -> Settings:
    """The same settings by way of the role's proxies."""
    kafka = settings.kafka.model_copy(update={"bootstrap": f"{HOST}:{proxies[f'{role}-kafka'].port}"})
    store = settings.store.model_copy(update={"port": proxies["sink-store"].port}) if role == "sink" else settings.store
    return settings.model_copy(update={"kafka": kafka, "store": store})
