"""The agent's self-metrics. Whoever moves something says so here; what is counted elsewhere is read at each scrape."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pganalytics.producers.control import Controls
from pganalytics.producers.failures import CURES
from pganalytics.producers.pools import Pools
from pganalytics.producers.results import Collected, Discovered, Failed, Outcome, Unavailable
from pganalytics.producers.risks import wraparound_share
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.spool import Spool
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.health import Health
from pganalytics.runtime.measurements import Measurements
from pganalytics.schemas.identity import LANES, Lane

JOBS = "pganalytics_collect_jobs_total"
STUBS = "pganalytics_collect_stubs_total"
ACKNOWLEDGED = "pganalytics_collect_records_acknowledged_total"
NOT_DONE = ("skipped", "held_back")
"""What `TargetState` counts of jobs, as in skipped.running."""
STUB = "stubs"
Named = Callable[[], Collection[str]]
"""The collectors that the settings name at this moment."""


@dataclass(frozen=True, slots=True)
class _JobCounters:
    """What each job of a collector adds to."""

    busy_s: Callable[[float], None]
    rows_read: Callable[[float], None]
    body_bytes: Callable[[float], None]
    collected: Callable[[float], None]

    @classmethod
    def of(cls, measurements: Measurements, collector: str) -> "_JobCounters":
        return cls(
            busy_s=measurements.counter("pganalytics_collect_busy_seconds_total", collector=collector),
            rows_read=measurements.counter("pganalytics_collect_rows_read_total", collector=collector),
            body_bytes=measurements.counter("pganalytics_collect_body_bytes_total", collector=collector),
            collected=measurements.counter(JOBS, collector=collector, outcome="collected", reason=""),
        )


class Meters:
    """For one agent. Any thread may call."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements
        self._shown: set[tuple[str, bool]] = set()
        self._of_jobs: dict[str, _JobCounters] = {}
        for lane in LANES:
            measurements.count(ACKNOWLEDGED, 0, lane=lane)

    def settings_read(self, *, usable: bool, pending: int = 0) -> None:
        """The settings file was read; `pending`: keys that are not in force before a restart."""
        self._measurements.put("pganalytics_collect_settings_usable", int(usable))
        if usable:
            self._measurements.put("pganalytics_collect_settings_pending_restart", pending)
            self._measurements.put_now("pganalytics_collect_settings_last_success_timestamp_seconds")

    def forget(self, collector: str, metrics: Collection[str] = ()) -> None:
        """Nobody reads these metrics of it any more; without any, nothing of it."""
        if not metrics:
            self._of_jobs.pop(collector, None)
            self._measurements.forget(collector=collector)
        for metric in metrics:
            self._measurements.forget(collector=collector, metric=metric)

    def job_ended(self, key: JobKey, outcome: Outcome, elapsed_s: float) -> None:
        """A job came to its end. What was held back is counted by the collector's state."""
        if (counters := self._of_jobs.get(key.collector)) is None:
            counters = self._of_jobs[key.collector] = _JobCounters.of(self._measurements, key.collector)
        counters.busy_s(elapsed_s)
        if isinstance(outcome, Collected):
            counters.rows_read(outcome.read)
            counters.body_bytes(outcome.size)
        match outcome:
            case Collected() | Discovered():
                counters.collected(1)
                self._measurements.put_now(
                    "pganalytics_collect_last_success_timestamp_seconds", collector=key.collector, metric=key.metric
                )
            case Unavailable():
                self._job(key.collector, "unavailable", "")
            case Failed():
                self._job(key.collector, "failed", reason_of(outcome.kind))

    def acknowledged(self, lane: Lane) -> None:
        """Kafka has a record."""
        self._measurements.count(ACKNOWLEDGED, lane=lane)

    def send_failed(self, error: str) -> None:
        """Kafka has not; `error` is the name of its error."""
        self._measurements.count("pganalytics_collect_send_failures_total", error=error)

    def heartbeat_made(self) -> None:
        """The spool has a heartbeat."""
        self._measurements.count("pganalytics_collect_heartbeats_total")

    def show_health(self, health: Health) -> None:
        """What the endpoint says of health, as numbers."""
        self._measurements.show_health(health, alive="pganalytics_collect_alive", ready="pganalytics_collect_ready")

    def read_at_scrape(self, spool: Spool, pools: Pools, states: Mapping[str, TargetState], named: Named) -> None:
        """Take these over at each scrape. Collectors that the settings do not name have no target."""

        def read() -> None:
            self._read_spool(spool)
            self._read_pools(pools)
            connections, with_target = pools.by_collector(), named()
            of_all = dict(states)
            self._show({(collector, collector in with_target) for collector in of_all})
            for collector, state in of_all.items():
                if collector in with_target:
                    self._measurements.put("pganalytics_collect_target_connections", connections[collector], collector=collector)
                self._read_state(collector, state, has_target=collector in with_target)

        self._measurements.read_at_scrape(read)

    def read_controls(self, controls: Controls, named: Named) -> None:
        """Take over at each scrape what the streams ask of these collectors."""

        def read() -> None:
            for collector in named():
                version = controls.version(collector)
                self._measurements.put("pganalytics_collect_control_version", version, collector=collector)
                for lane in LANES:
                    stretch = controls.stretch(collector, lane)
                    self._measurements.put("pganalytics_collect_stretch_ratio", stretch, collector=collector, lane=lane)

        self._measurements.read_at_scrape(read)

    def _show(self, shown: set[tuple[str, bool]]) -> None:
        """Collectors, and whether they have a target: what was shown of others, or while it was otherwise, goes."""
        for collector, _ in self._shown - shown:
            self._measurements.forget(collector=collector)
        self._shown = shown

    def _job(self, collector: str, outcome: str, reason: str) -> None:
        self._measurements.count(JOBS, collector=collector, outcome=outcome, reason=reason)

    def _read_spool(self, spool: Spool) -> None:
        records, size = spool.usage
        self._measurements.put("pganalytics_collect_spool_records", records)
        self._measurements.put("pganalytics_collect_spool_bytes", size)
        self._measurements.put("pganalytics_collect_spool_soft_limit_ratio", spool.fill)

    def _read_pools(self, pools: Pools) -> None:
        connections, waiting = pools.totals()
        self._measurements.put("pganalytics_collect_connections", connections)
        self._measurements.put("pganalytics_collect_connections_waiting", waiting)

    def _read_state(self, collector: str, state: TargetState, *, has_target: bool) -> None:
        last, counts = state.seen()
        if has_target:
            self._measurements.put("pganalytics_collect_target_up", int(last.up), collector=collector)
            self._read_risks(collector, state, wraparound_share(last.values))
        for name, count in counts.items():
            what, _, why = name.partition(".")
            if what in NOT_DONE:
                self._measurements.take_count(JOBS, count, collector=collector, outcome=what, reason=why)
            elif what == STUB:
                self._measurements.take_count(STUBS, count, collector=collector, error=why)

    def _read_risks(self, collector: str, state: TargetState, wraparound: float | None) -> None:
        """Numbers for alarms; what was not read yet is absent."""
        self._measurements.put("pganalytics_collect_unreadable_metrics", state.board.unreadable(), collector=collector)
        risks = state.risks()
        for metric, share in risks.coverage.items():
            self._measurements.put("pganalytics_collect_coverage_ratio", share, collector=collector, metric=metric)
        if wraparound is not None:
            self._measurements.put("pganalytics_collect_wraparound_ratio", wraparound, collector=collector)
        if risks.slots_at_risk is not None:
            self._measurements.put("pganalytics_collect_slots_at_risk", risks.slots_at_risk, collector=collector)


def reason_of(kind: str) -> str:
    """The kind of a failure as a label: a word of ours. SQLSTATEs are what the target says; those with a cure are known."""
    return kind if kind in CURES or not kind.startswith("sqlstate:") else "sqlstate:other"
