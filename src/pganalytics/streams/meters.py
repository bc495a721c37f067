"""The streams' self-metrics. Nothing here names a collector: the streams read whatever comes."""

from collections import Counter
from collections.abc import Iterable, Sequence

from pganalytics.runtime.lag import LagNames
from pganalytics.runtime.measurements import Measurements
from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Topics
from pganalytics.streams.controller import Controller
from pganalytics.streams.positions import Positions
from pganalytics.streams.quotas import Quotas
from pganalytics.streams.records import Arrival, Outgoing

RECORDS = "pganalytics_streams_records_total"
EVENTS = "pganalytics_streams_events_total"
LAG = LagNames(
    records="pganalytics_streams_lag_records",
    seconds="pganalytics_streams_lag_seconds",
    retention="pganalytics_streams_lag_retention_seconds",
    looked="pganalytics_streams_lag_last_look_timestamp_seconds",
)
PASSED, DEFERRED, SHED = "passed", "deferred", "shed"
OF_GAPS = (
    EventKind.GAP,
    EventKind.GAP_FILLED,
    EventKind.GAP_CONFIRMED,
    EventKind.TAIL,
    EventKind.SILENT,
    EventKind.BACK,
    EventKind.RESTARTED,
    EventKind.CONFLICT,
    EventKind.CLOCK_SKEW,
    EventKind.SEQ_REUSED,
)
TOLD = (EventKind.DEFERRED, EventKind.SHED, EventKind.POSITION_OUTSIDE_LOG, EventKind.SLOWED, EventKind.RESUMED, *OF_GAPS)
RULES_READ = "pganalytics_streams_rules_read_total"


class Meters:
    """For one worker. Called from its event loop; `positions` is read at each scrape, in another thread."""

    def __init__(self, measurements: Measurements, topics: Topics, positions: Positions) -> None:
        self._measurements = measurements
        self._deferred = topics.deferred
        for lane in LANES:
            for verdict in (PASSED, DEFERRED, SHED):
                measurements.count(RECORDS, 0, lane=lane, verdict=verdict)
        for kind in TOLD:
            measurements.count(EVENTS, 0, kind=kind)
        for outcome in ("taken", "refused"):
            measurements.count(RULES_READ, 0, outcome=outcome)
        measurements.read_at_scrape(lambda: measurements.take_count("pganalytics_streams_rebalances_total", positions.generation))

    def watch(self, quotas: Quotas) -> None:
        """Show how many overrides are in effect."""
        measurements = self._measurements
        measurements.read_at_scrape(lambda: measurements.put("pganalytics_streams_quota_overrides", quotas.overrides))

    def delivered(
        self,
        arrivals: Sequence[Arrival],
        records: Sequence[Outgoing | None],
        events: Iterable[Event],
        orders: Sequence[Outgoing] = (),
    ) -> None:
        """A batch is acknowledged: one record for each arrival, in its order, None where it is shed."""
        verdicts = Counter((arrival.lane, self._verdict(record)) for arrival, record in zip(arrivals, records, strict=True))
        for (lane, verdict), count in verdicts.items():
            self._measurements.count(RECORDS, count, lane=lane, verdict=verdict)
        self.told(events)
        self._measurements.count("pganalytics_streams_orders_total", len(orders))
        self._measurements.count("pganalytics_streams_batches_total")
        self._measurements.put_now("pganalytics_streams_last_batch_timestamp_seconds")

    def told(self, events: Iterable[Event]) -> None:
        """Events are acknowledged."""
        for event in events:
            self._measurements.count(EVENTS, kind=event.kind)

    def _verdict(self, record: Outgoing | None) -> str:
        if record is None:
            return SHED
        return DEFERRED if record.topic == self._deferred else PASSED

    def read_control(self, controller: Controller) -> None:
        """Take over at each scrape what the controller knows."""

        def read() -> None:
            self._measurements.put("pganalytics_streams_slowed_collectors", controller.slowed())
            self._measurements.put("pganalytics_streams_sink_lag_ratio", max(controller.lag.values(), default=0.0))

        self._measurements.read_at_scrape(read)

    def rules_read(self, *, taken: bool) -> None:
        """The settings file has changed."""
        self._measurements.count(RULES_READ, outcome="taken" if taken else "refused")
