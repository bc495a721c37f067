"""The closed list of self-metrics: what a service says of itself at /metrics. Data only; `measurements` keeps the numbers.

`docs/self-metrics.md` is made from it, by `self_metrics_page`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Service(StrEnum):
    """Who has a self-metric."""

    COLLECT = "collect"
    STREAMS = "streams"
    SINK = "sink"


class Kind(StrEnum):
    """A counter only rises while its process lives; a gauge is what is so now."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class SelfMetric:
    """One name. `about`: one sentence; for a label whose words are few, with the words."""

    service: Service
    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()


LABELS = {
    "cause": "whom the sink waits for: store or kafka",
    "collector": "a collector's id, of those that the agent's settings name and of those that only its spool knows",
    "error": "the name of Kafka's error",
    "kind": "what happened, by the name of its event",
    "lane": "critical, normal or bulk; of what the sink reads also deferred and events",
    "metric": "a metric's name",
    "outcome": "what became of it; the metric's own line has the words",
    "reason": "why, in a word of pganalytics; empty where the outcome says all. Of SQLSTATEs those that have a cure are named, "
    "the others are sqlstate:other",
    "state": "what became of records: stored, dead, shed or missing; under_way: in a spool or in Kafka",
    "verdict": "passed, deferred for being over quota, or shed for being beyond its ceiling",
}
"""What labels mean. Values are ours or of the settings: nothing that a target says becomes one."""


def _health(service: Service) -> Iterator[SelfMetric]:
    """What /livez and /readyz say, for who cannot ask them."""
    about = "1 when /livez says ok at this moment, 0 when the service does not go on."
    yield SelfMetric(service, f"pganalytics_{service}_alive", Kind.GAUGE, about)
    about = "1 when /readyz says ok at this moment, 0 while something that the service needs is missing."
    yield SelfMetric(service, f"pganalytics_{service}_ready", Kind.GAUGE, about)


def _lag(service: Service, done: str) -> Iterator[SelfMetric]:
    """What a consumer group has before it."""
    name = f"pganalytics_{service}_lag"
    yield SelfMetric(
        service,
        f"{name}_records",
        Kind.GAUGE,
        f"Records in Kafka that are not {done} yet, of all partitions, whoever reads them: each process says the same. Absent "
        "before the first look.",
        ("lane",),
    )
    yield SelfMetric(
        service,
        f"{name}_seconds",
        Kind.GAUGE,
        f"Age of the oldest record that is not {done} yet, since Kafka took it; 0 when there is none.",
        ("lane",),
    )
    about = "How long Kafka keeps a record of the lane; services compare it with the topics when they start."
    yield SelfMetric(service, f"{name}_retention_seconds", Kind.GAUGE, about, ("lane",))
    about = "When the lag was last asked of Kafka; while Kafka is away the numbers stay as they were."
    yield SelfMetric(service, f"{name}_last_look_timestamp_seconds", Kind.GAUGE, about)


COLLECT = (
    *_health(Service.COLLECT),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_settings_usable",
        Kind.GAUGE,
        "1 when the settings file could be used when it was last read, 0 while older settings stay in force because it cannot.",
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_settings_last_success_timestamp_seconds",
        Kind.GAUGE,
        "When the settings that are in force were read.",
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_settings_pending_restart",
        Kind.GAUGE,
        "Keys of the agent that differ in the settings file and are not in force before a restart.",
    ),
    SelfMetric(Service.COLLECT, "pganalytics_collect_spool_records", Kind.GAUGE, "Records in the spool."),
    SelfMetric(Service.COLLECT, "pganalytics_collect_spool_bytes", Kind.GAUGE, "Size of what is in the spool."),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_spool_soft_limit_ratio",
        Kind.GAUGE,
        "Share of the spool's soft limit that is taken; from 1 on readings are held back.",
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_jobs_total",
        Kind.COUNTER,
        "Jobs and heartbeats that came due: collected, unavailable, failed, held_back (the next delta covers the interval) or "
        "skipped; of heartbeats only those that were not made.",
        ("collector", "outcome", "reason"),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_stubs_total",
        Kind.COUNTER,
        "Records that Kafka refused for good and that go without their bodies.",
        ("collector", "error"),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_records_acknowledged_total",
        Kind.COUNTER,
        "Records, heartbeats among them, that Kafka has acknowledged.",
        ("lane",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_send_failures_total",
        Kind.COUNTER,
        "Attempts to send a record or a schema that failed; what failed stays in the spool.",
        ("error",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_heartbeats_total",
        Kind.COUNTER,
        "Heartbeats that were put into the spool, without the last ones at a stop.",
    ),
    SelfMetric(
        Service.COLLECT, "pganalytics_collect_connections", Kind.GAUGE, "Connections to all targets that are held or being made."
    ),
    SelfMetric(
        Service.COLLECT, "pganalytics_collect_connections_waiting", Kind.GAUGE, "Jobs that wait for a connection in the budget."
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_target_up",
        Kind.GAUGE,
        "1 when the target answered its last reading, 0 when it did not or was not read yet.",
        ("collector",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_unreadable_metrics",
        Kind.GAUGE,
        "Metrics that could not be read at the last try, each database counted; without those that the server's version lacks.",
        ("collector",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_coverage_ratio",
        Kind.GAUGE,
        "Share of the time of all rows that those sent in detail had in the last interval, of metrics that rank their rows.",
        ("collector", "metric"),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_wraparound_ratio",
        Kind.GAUGE,
        "Share of the transaction ids, or multixacts where that is more, that are used up before the server must stop writing.",
        ("collector",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_slots_at_risk",
        Kind.GAUGE,
        "Replication slots that are lost or about to be, past half of the WAL they may keep, or without both reader and limit.",
        ("collector",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_busy_seconds_total",
        Kind.COUNTER,
        "Time that workers spent on a collector's readings, from the connection to the commit in the spool.",
        ("collector",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_rows_read_total",
        Kind.COUNTER,
        "Rows of a target's answers, without those of heartbeats and of the list of databases.",
        ("collector",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_body_bytes_total",
        Kind.COUNTER,
        "Size of the bodies of the records made of those answers, before compression.",
        ("collector",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_target_connections",
        Kind.GAUGE,
        "Connections to a target that are held or being made.",
        ("collector",),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_last_success_timestamp_seconds",
        Kind.GAUGE,
        "When a metric was last read; absent before the first time.",
        ("collector", "metric"),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_stretch_ratio",
        Kind.GAUGE,
        "How many times longer than set the intervals of a lane are, as the streams ask; 1 when they ask nothing.",
        ("collector", "lane"),
    ),
    SelfMetric(
        Service.COLLECT,
        "pganalytics_collect_control_version",
        Kind.GAUGE,
        "Version of the order that is followed, a time in microseconds; 0 when none is.",
        ("collector",),
    ),
)
STREAMS = (
    *_health(Service.STREAMS),
    SelfMetric(
        Service.STREAMS,
        "pganalytics_streams_records_total",
        Kind.COUNTER,
        "Records that were dealt with, by the lane in which they were collected; one that is processed again counts again.",
        ("lane", "verdict"),
    ),
    SelfMetric(
        Service.STREAMS,
        "pganalytics_streams_events_total",
        Kind.COUNTER,
        "Events that were told, by kind; one that is told again counts again.",
        ("kind",),
    ),
    SelfMetric(
        Service.STREAMS,
        "pganalytics_streams_batches_total",
        Kind.COUNTER,
        "Batches of which everything is acknowledged by Kafka.",
    ),
    SelfMetric(
        Service.STREAMS,
        "pganalytics_streams_quota_overrides",
        Kind.GAUGE,
        "Overrides of quotas that are in effect, by collector or by pattern.",
    ),
    SelfMetric(
        Service.STREAMS, "pganalytics_streams_rebalances_total", Kind.COUNTER, "Times that partitions were assigned or revoked."
    ),
    SelfMetric(
        Service.STREAMS,
        "pganalytics_streams_last_batch_timestamp_seconds",
        Kind.GAUGE,
        "When the last batch was finished; 0 before the first.",
    ),
    *_lag(Service.STREAMS, "processed"),
    SelfMetric(
        Service.STREAMS,
        "pganalytics_streams_orders_total",
        Kind.COUNTER,
        "Orders to agents about one collector's intervals: changes, and the same again before they end.",
    ),
    SelfMetric(
        Service.STREAMS,
        "pganalytics_streams_slowed_collectors",
        Kind.GAUGE,
        "Collectors that this process has told to read less often.",
    ),
    SelfMetric(
        Service.STREAMS,
        "pganalytics_streams_sink_lag_ratio",
        Kind.GAUGE,
        "Age of the oldest record that the sink has not read, as a share of its topic's retention; in steps of 0.1 from 0.4 on.",
    ),
    SelfMetric(
        Service.STREAMS,
        "pganalytics_streams_rules_read_total",
        Kind.COUNTER,
        "Times that the settings file held other rules of priority and was taken, or could not be used and was refused.",
        ("outcome",),
    ),
)
SINK = (
    *_health(Service.SINK),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_records_total",
        Kind.COUNTER,
        "Records of batches that were committed: stored, dead (with its reason) or duplicate (stored before: not stored again).",
        ("outcome", "reason"),
    ),
    SelfMetric(Service.SINK, "pganalytics_sink_batches_total", Kind.COUNTER, "Batches that were committed to the store."),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_batch_seconds_total",
        Kind.COUNTER,
        "Time that it took to write them, dead letters included.",
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_waits_total",
        Kind.COUNTER,
        "Times that the sink had to wait and try again.",
        ("cause",),
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_waiting",
        Kind.GAUGE,
        "1 while the sink waits for the store or for Kafka, 0 when its last attempt succeeded.",
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_last_commit_timestamp_seconds",
        Kind.GAUGE,
        "When the last batch was committed to the store; 0 before the first.",
    ),
    *_lag(Service.SINK, "stored"),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_accountant_rounds_total",
        Kind.COUNTER,
        "Rounds of the accountant, each over one partition, that were judged.",
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_accountant_holes_total",
        Kind.COUNTER,
        "Records that were sent and, when their round was judged, lay nowhere on their way.",
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_accountant_repaired_total",
        Kind.COUNTER,
        "Records that never arrived and that were admitted again from the collected topics.",
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_accountant_missing_total",
        Kind.COUNTER,
        "Records that were named missing: sent, never arrived, not in the collected topics.",
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_accountant_last_round_timestamp_seconds",
        Kind.GAUGE,
        "When the last round was judged; 0 before the first. Without anything to settle there are none.",
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_accountant_last_look_timestamp_seconds",
        Kind.GAUGE,
        "When the accountant last went through all that is open and found store and Kafka well; 0 before the first time.",
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_ledger_records",
        Kind.GAUGE,
        "Records that were ever emitted, by what the ledger says became of them: of the whole store, each process says the same. "
        "Absent before the first look.",
        ("state",),
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_orphaned_epochs",
        Kind.GAUGE,
        "Epochs whose spool is gone and that no operator has retired yet, in the whole store.",
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_epochs_ended_total",
        Kind.COUNTER,
        "Epochs that ended: final, orphaned (the spool is gone), spool_rolled_back, or retired by an operator.",
        ("kind",),
    ),
    SelfMetric(
        Service.SINK,
        "pganalytics_sink_partitions_made_total",
        Kind.COUNTER,
        "Daily partitions of the store that were made ahead.",
    ),
    SelfMetric(Service.SINK, "pganalytics_sink_rows_dropped_total", Kind.COUNTER, "Rows of the store that retention dropped."),
)
SELF_METRICS = COLLECT + STREAMS + SINK
