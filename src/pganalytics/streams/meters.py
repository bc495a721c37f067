"""The streams' self-metrics. Nothing here names a collector: the streams read whatever comes."""

from collections import Counter
from collections.abc import Iterable, Sequence

from pganalytics.runtime.measurements import Measurements
from pganalytics.schemas.events import Event, EventKind
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.topics import Topics
from pganalytics.streams.controller import Controller
from pganalytics.streams.positions import Positions
from pganalytics.streams.records import Arrival, Outgoing

RECORDS = "pganalytics_streams_records_total"
EVENTS = "pganalytics_streams_events_total"
RULES_READ = "pganalytics_streams_rules_read_total"
PASSED, DEFERRED = "passed", "deferred"
TOLD = (
    EventKind.DEFERRED,
    EventKind.GAP,
    EventKind.GAP_FILLED,
    EventKind.POSITION_OUTSIDE_LOG,
    EventKind.SLOWED,
    EventKind.RESUMED,
)


class Meters:
    """For one worker. Called from its event loop; `positions` is read at each scrape, in another thread."""

    def __init__(self, measurements: Measurements, topics: Topics, positions: Positions) -> None:
        self._measurements = measurements
        self._deferred = topics.deferred
        for lane in LANES:
            for verdict in (PASSED, DEFERRED):
                measurements.count(RECORDS, 0, lane=lane, verdict=verdict)
        for kind in TOLD:
            measurements.count(EVENTS, 0, kind=kind)
        for outcome in ("taken", "refused"):
            measurements.count(RULES_READ, 0, outcome=outcome)
        measurements.read_at_scrape(lambda: measurements.take_count("pganalytics_streams_rebalances_total", positions.generation))

    def delivered(
        self, arrivals: Sequence[Arrival], records: Sequence[Outgoing], events: Iterable[Event], orders: Sequence[Outgoing] = ()
    ) -> None:
        """A batch is acknowledged: one record for each arrival, in its order."""
        verdicts = Counter(
            (arrival.lane, DEFERRED if record.topic == self._deferred else PASSED)
            for arrival, record in zip(arrivals, records, strict=True)
        )
        for (lane, verdict), count in verdicts.items():
            self._measurements.count(RECORDS, count, lane=lane, verdict=verdict)
        for event in events:
            self._measurements.count(EVENTS, kind=event.kind)
        self._measurements.count("pganalytics_streams_orders_total", len(orders))
        self._measurements.count("pganalytics_streams_batches_total")
        self._measurements.put_now("pganalytics_streams_last_batch_timestamp_seconds")

    def read_control(self, controller: Controller) -> None:
        """Take over at each scrape what the controller knows."""

        def read() -> None:
            self._measurements.put("pganalytics_streams_slowed_collectors", controller.slowed())
            self._measurements.put("pganalytics_streams_sink_lag_ratio", max(controller.lag.values(), default=0.0))

        self._measurements.read_at_scrape(read)

    def rules_read(self, *, taken: bool) -> None:
        """The settings file has changed."""
        self._measurements.count(RULES_READ, outcome="taken" if taken else "refused")
