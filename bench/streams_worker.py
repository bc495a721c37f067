"""The processes that `bench.streams` measures: `python -m bench.streams_worker VARIANT SETTINGS`."""

import sys
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer

from pganalytics.runtime.kafka import client_config, producer_config
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.logs import set_up_logging
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.events import Event
from pganalytics.schemas.headers import Headers
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Topics
from pganalytics.streams import service, worker
from pganalytics.streams.app import group_of
from pganalytics.streams.outputs import LINGER_MS
from pganalytics.streams.processor import Outcome, Processor
from pganalytics.streams.quota import Account, Limits, Verdict
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.records import Arrival
from pganalytics.streams.watch import Terms, Watch

BATCH = 500


class Unwatched(Watch):
    """Sees nothing."""

    def see(self, arrival: Arrival) -> list[Event]:
        """Nothing."""
        del arrival
        return []

    def see_headers(self, arrival: Arrival, headers: Headers) -> list[Event]:
        """Nothing."""
        del arrival, headers
        return []


class Unlimited(Processor):
    """Without quota and control."""

    def _judge(self, arrival: Arrival, headers: Headers, limits: Limits) -> tuple[Account, Verdict]:
        del headers
        return Account(limits, arrival.at_us), Verdict.ADMITTED

    def _control(self, arrival: Arrival, headers: Headers, limits: Limits, verdict: Verdict, outcome: Outcome) -> None:
        del arrival, headers, limits, verdict, outcome


class Blind(Processor):
    """Without gaps."""

    def __init__(self, topics: Topics, quotas: Quotas, terms: Terms, **others: Any) -> None:
        super().__init__(topics, quotas, terms, **others)
        self.watch = Unwatched(topics, terms, self._is_over_quota)


class Forward(Unlimited, Blind):
    """Without either: headers are read and stamped."""


PROCESSORS: dict[str, type[Processor]] = {"forward": Forward, "quota": Blind, "gaps": Unlimited, "all": Processor}


def main(variant: str, path: Path) -> None:
    """Work until SIGTERM."""
    settings = Settings.model_validate_json(path.read_text(encoding="utf-8"))
    lifecycle = Lifecycle()
    lifecycle.install_signals()
    set_up_logging(level="info", as_json=False)
    if variant == "plain":
        copy(settings, lifecycle)
        return
    setattr(worker, "Processor", PROCESSORS[variant])  # noqa: B010 - it exports no such name, and is not to
    service.run(settings, lifecycle)


def copy(settings: Settings, lifecycle: Lifecycle) -> None:
    """The least: each record as it is from collected to admitted, committed when all of a batch is acknowledged."""
    topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
    targets = {topics.collected(lane): topics.admitted(lane) for lane in LANES}
    kept = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "group_id": group_of(topics)}
    consumer = Consumer(client_config(settings.kafka, name="plain", **kept))
    producer = Producer(producer_config(settings.kafka, name="plain", linger_ms=LINGER_MS))
    consumer.subscribe(list(targets))
    while not lifecycle.stopping:
        messages = consumer.consume(BATCH, timeout=0.2)
        for message in messages:
            if message.error() is not None:
                raise RuntimeError(message.error())
            producer.produce(
                targets[str(message.topic())],
                key=message.key(),
                value=message.value(),
                headers=message.headers(),
                partition=int(message.partition() or 0),
            )
        if messages:
            producer.flush()
            consumer.commit(asynchronous=False)
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
