"""The sink's self-metrics. Nothing here names a collector: the sink reads whatever comes."""

from collections import Counter
from collections.abc import Callable, Mapping

from pganalytics.runtime.health import Health
from pganalytics.runtime.lag import Lag, LagNames, lag_meter
from pganalytics.runtime.measurements import Measurements
from pganalytics.schemas.events import EventKind
from pganalytics.schemas.identity import LANES, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.schemas.topics import Topics
from pganalytics.sink.batch import Batch, Plan
from pganalytics.sink.records import Reason
from pganalytics.sink.standing import Standing

RECORDS = "pganalytics_sink_records_total"
WAITS = "pganalytics_sink_waits_total"
WAITING = "pganalytics_sink_waiting"
EPOCHS = "pganalytics_sink_epochs_ended_total"
LAG = LagNames(
    records="pganalytics_sink_lag_records",
    seconds="pganalytics_sink_lag_seconds",
    retention="pganalytics_sink_lag_retention_seconds",
    looked="pganalytics_sink_lag_last_look_timestamp_seconds",
)
STORED, DEAD, DUPLICATE = "stored", "dead", "duplicate"
FINAL = "final"
STORE, KAFKA = "store", "kafka"


class Meters:
    """For one sink; its threads share it."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements
        for outcome in (STORED, DUPLICATE):
            measurements.count(RECORDS, 0, outcome=outcome, reason="")
        for reason in Reason:
            measurements.count(RECORDS, 0, outcome=DEAD, reason=reason)
        for cause in (STORE, KAFKA):
            measurements.count(WAITS, 0, cause=cause)
        for kind in (FINAL, EventKind.ORPHANED, EventKind.SPOOL_ROLLED_BACK, EventKind.RETIRED):
            measurements.count(EPOCHS, 0, kind=kind)

    def written(self, batch: Batch, plan: Plan, seconds: float) -> None:
        """A batch is committed. `seconds`: what it took."""
        self._records(STORED, len(plan.new))
        self._records(DUPLICATE, plan.duplicates)
        for reason, count in plan.dead.items():
            self._records(DEAD, count, reason)
        finals = [epoch for row in plan.new if row.beat for epoch in row.beat.epochs if epoch.final is not None]
        self.epochs_ended(FINAL, len(finals))
        kinds = Counter({noticed.event.id: noticed.event.kind for noticed in batch.noticed}.values())
        self.epochs_ended(EventKind.RETIRED, kinds[EventKind.RETIRED])
        self._measurements.count("pganalytics_sink_batches_total")
        self._measurements.count("pganalytics_sink_batch_seconds_total", seconds)
        self._measurements.put_now("pganalytics_sink_last_commit_timestamp_seconds")

    def waits(self, cause: str) -> None:
        """The sink must try again; `cause` is STORE or KAFKA."""
        self._measurements.count(WAITS, cause=cause)
        self._measurements.put(WAITING, 1)

    def goes_on(self) -> None:
        """It has succeeded."""
        self._measurements.put(WAITING, 0)

    def lags(self, topics: Topics) -> Callable[[Mapping[str, Lag], float], None]:
        """What takes the lags of the topics that the sink reads."""
        names = {topics.admitted(lane): str(lane) for lane in LANES} | {topics.deferred: "deferred", topics.events: "events"}
        return lag_meter(self._measurements, LAG, names, kept_s=topics.kept_s())

    def looked(self) -> None:
        """The accountant went through all that is open."""
        self._measurements.put_now("pganalytics_sink_accountant_last_look_timestamp_seconds")

    def judged(self) -> None:
        """The accountant has judged a round."""
        self._measurements.count("pganalytics_sink_accountant_rounds_total")
        self._measurements.put_now("pganalytics_sink_accountant_last_round_timestamp_seconds")

    def holes(self, found: Mapping[Stream, Ranges]) -> None:
        """Records that lay nowhere on their way."""
        self._measurements.count("pganalytics_sink_accountant_holes_total", _count(found))

    def repaired(self, count: int) -> None:
        """Records that are admitted again."""
        self._measurements.count("pganalytics_sink_accountant_repaired_total", count)

    def missing(self, lost: Mapping[Stream, Ranges]) -> None:
        """Records that are named missing."""
        self._measurements.count("pganalytics_sink_accountant_missing_total", _count(lost))

    def stands(self, standing: Standing) -> None:
        """The accountant has added up the ledger."""
        for state, count in standing.records.items():
            self._measurements.put("pganalytics_sink_ledger_records", count, state=state)
        self._measurements.put("pganalytics_sink_orphaned_epochs", standing.orphaned)

    def show_health(self, health: Health) -> None:
        """What the endpoint says of health, as numbers."""
        self._measurements.show_health(health, alive="pganalytics_sink_alive", ready="pganalytics_sink_ready")

    def epochs_ended(self, kind: str, count: int) -> None:
        """Epochs ended in this way."""
        self._measurements.count(EPOCHS, count, kind=kind)

    def partitions_made(self, count: int) -> None:
        """Days ahead."""
        self._measurements.count("pganalytics_sink_partitions_made_total", count)

    def rows_dropped(self, count: int) -> None:
        """A day of a metric is beyond its retention."""
        self._measurements.count("pganalytics_sink_rows_dropped_total", count)

    def _records(self, outcome: str, count: int, reason: str = "") -> None:
        self._measurements.count(RECORDS, count, outcome=outcome, reason=reason)


def _count(seqs: Mapping[Stream, Ranges]) -> int:
    return sum(len(ranges) for ranges in seqs.values())
