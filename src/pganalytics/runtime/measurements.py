"""The numbers of a service's self-metrics, and their text for Prometheus. Names are those of the closed list and no others.

`prometheus_client` writes the text. The numbers are kept here: its own counters add `_created` series that are on no list, and
cannot take over what something else counts already.
"""

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from pganalytics.runtime.health import Health
from pganalytics.runtime.self_metrics import SELF_METRICS, Kind, Service

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class NoSuchSelfMetric(LookupError):
    """The code names a self-metric, a type or labels that the closed list does not have: a mistake of ours."""


class Measurements(Collector):
    """The self-metrics of one service. Any thread may call. A number without labels is there from the start, as 0."""

    def __init__(self, service: Service, *, registry: CollectorRegistry) -> None:
        self._specs = {one.name: one for one in SELF_METRICS if one.service is service}
        self._labels = {name: frozenset(one.labels) for name, one in self._specs.items()}
        self._values: dict[str, dict[tuple[str, ...], float]] = {
            name: {} if one.labels else {(): 0.0} for name, one in self._specs.items()
        }
        self._lock = threading.Lock()
        self._registry = registry
        self._readers: list[Callable[[], None]] = []

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter; with 0 it is there before anything happens."""
        series, key = self._series(name, Kind.COUNTER, labels)
        if amount < 0:
            raise ValueError(f"{name}: a counter does not go back")
        with self._lock:
            series[key] = series.get(key, 0.0) + amount

    def counter(self, name: str, **labels: str) -> Callable[[float], None]:
        """`count` with these labels, for who counts often; the amount is not negative."""
        series, key = self._series(name, Kind.COUNTER, labels)

        def add(amount: float) -> None:
            with self._lock:
                series[key] = series.get(key, 0.0) + amount

        return add

    def take_count(self, name: str, total: float, **labels: str) -> None:
        """Set a counter to what something else has counted."""
        series, key = self._series(name, Kind.COUNTER, labels)
        with self._lock:
            series[key] = max(total, series.get(key, 0.0))

    def put(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        series, key = self._series(name, Kind.GAUGE, labels)
        with self._lock:
            series[key] = value

    def put_now(self, name: str, **labels: str) -> None:
        """Set a gauge to the time."""
        self.put(name, time.time(), **labels)

    def forget(self, **labels: str) -> None:
        """Drop the series that have these labels: what they tell of is gone."""
        wanted = labels.items()
        with self._lock:
            for name, spec in self._specs.items():
                if labels.keys() <= set(spec.labels):
                    series = self._values[name]
                    for key in [key for key in series if wanted <= dict(zip(spec.labels, key, strict=True)).items()]:
                        del series[key]

    def read_at_scrape(self, reader: Callable[[], None]) -> None:
        """Call this before each scrape: it takes over what need not be counted twice. In the scraper's thread."""
        with self._lock:
            self._readers.append(reader)

    def show_health(self, health: Health, *, alive: str, ready: str) -> None:
        """Two gauges that say at each scrape what /livez and /readyz say then."""

        def read() -> None:
            self.put(alive, int(not health.alive()))
            self.put(ready, int(not health.ready()))

        self.read_at_scrape(read)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format (`CONTENT_TYPE`)."""
        with self._lock:
            readers = list(self._readers)
        for read in readers:
            read()
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        with self._lock:
            values = {name: dict(series) for name, series in self._values.items()}
        for name, spec in self._specs.items():
            of_kind = CounterMetricFamily if spec.kind is Kind.COUNTER else GaugeMetricFamily
            family = of_kind(name, spec.about, labels=spec.labels)
            for key, value in values[name].items():
                family.add_metric([_encodable(one) for one in key], value)
            yield family

    def _series(self, name: str, kind: Kind, labels: dict[str, str]) -> tuple[dict[tuple[str, ...], float], tuple[str, ...]]:
        spec = self._specs.get(name)
        if spec is None or spec.kind is not kind or labels.keys() != self._labels[name]:
            raise NoSuchSelfMetric(f"{kind} {name} with labels {', '.join(sorted(labels)) or 'none'} is not in the list")
        return self._values[name], tuple([str(labels[label]) for label in spec.labels])


def build_measurements(service: Service) -> Measurements:
    """A service's numbers, in a registry of their own, with those of the process."""
    registry = CollectorRegistry()
    measurements = Measurements(service, registry=registry)
    registry.register(measurements)
    ProcessCollector(registry=registry)
    return measurements


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
