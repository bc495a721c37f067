"""The table of DESIGN section 9, row by row: what is done, and what the screen must say of it within which time."""

from dataclasses import dataclass

from chaos.watched_faults import (
    Fault,
    changed_password,
    dead_broker,
    dead_store,
    dead_target,
    destroyed_spool,
    hung_target,
    killed,
    locked_store,
    low_quota,
    passed_retention,
    poison,
    restored_store,
    skipping_streams,
    suspended_streams,
)
from chaos.watched_scene import BEAT_S
from chaos.watched_screen import ALERTS, Sight

SILENT_S = 3 * BEAT_S
SESSION_S = 6.0
READ_S = 2 + 1 + BEAT_S
SCRAPE_S = 10.0
START_S = 12.0
SILENT = "three heartbeats must be absent"
SESSION = "session time-out of a consumer group"
READ = "time-out of a reading, and the interval between two"
START = "start of a service"


@dataclass(frozen=True)
class Row:
    """`did`: as a sentence of the report. `stays`: what `status` rightly goes on to call wrong when the fault is over."""

    name: str
    title: str
    did: str
    fault: Fault
    sights: tuple[Sight, ...]
    stays: tuple[str, ...] = ()


def down(name: str, why: str) -> tuple[Sight, ...]:
    """A target that its agent cannot read; the other one is well."""
    return (
        Sight("status", rf"^wrong {name}: the target does not answer: .*{why}", READ_S, READ),
        Sight("status", r"^db1 +up ", new=False),
        Sight("top", rf"^{name} +down", READ_S, READ),
        Sight(ALERTS, rf"^PganalyticsTargetDown.*: {name} ", READ_S, READ),
    )


ROWS = (
    Row("target-hung", "A target hangs", "`db2`, all of its processes, was stopped by SIGSTOP.", hung_target, down("db2", "")),
    Row("target-down", "A target is down", "`db2` was killed.", dead_target, down("db2", "refused")),
    Row(
        "password",
        "A password is changed",
        "The password of the agent's role was changed on `db2`, and its sessions ended; afterwards in the agent's file, too.",
        changed_password,
        down("db2", "authentication"),
    ),
    Row(
        "broker-down",
        "The broker is down",
        "The only broker was killed.",
        dead_broker,
        (
            Sight("status", r"^kafka .*no broker answers", 3, "`kafka.timeout_s`"),
            Sight("top", r"no broker answers|Kafka", 3, "`kafka.timeout_s`"),
            Sight("/readyz of collect", r"^kafka has taken nothing", 20, "the agent waits 20 s for Kafka"),
            Sight("/readyz of sink", r"^kafka (does not answer|has not answered)", 20, "two looks at the lag"),
            Sight("/livez of collect", r"^ok$", new=False),
            Sight(ALERTS, r"^PganalyticsNotReady.*: pganalytics-collect ", 20, "the agent waits 20 s for Kafka"),
        ),
    ),
    Row(
        "agent-killed",
        "The agent is killed",
        "SIGKILL to `pganalytics collect`; afterwards it was started again, with its spool.",
        killed("collect"),
        (
            Sight("status", r"^wrong db1: no heartbeat for", SILENT_S, SILENT),
            Sight("status", r"^db2 +silent", SILENT_S, SILENT),
            Sight("top", r"^db1 +(silent|\?)", SILENT_S, SILENT),
            Sight(ALERTS, r"^PganalyticsServiceDown.*pganalytics-collect"),
            Sight(ALERTS, r"^PganalyticsCollectorSilent", SILENT_S, SILENT),
        ),
    ),
    Row(
        "spool-destroyed",
        "The spool is destroyed",
        "The agent was killed, its `state_dir` deleted, and it was started again without. "
        "Afterwards `pganalytics retire` was typed for both collectors.",
        destroyed_spool,
        (
            Sight("status", r"^wrong db1: the spool of epoch \d+ is gone", START_S + SILENT_S, f"{START}; {SILENT}"),
            Sight("status", r"^events .*orphaned 2", START_S + SILENT_S, f"{START}; {SILENT}"),
            Sight(ALERTS, r"^PganalyticsSpoolOrphaned: The spool of 2", START_S + SILENT_S, f"{START}; {SILENT}"),
            Sight("audit", r"db2.*orphaned|orphaned.*db2", START_S + SILENT_S, f"{START}; {SILENT}"),
        ),
        stays=(r"^audit: \d+ records are missing",),
    ),
    Row(
        "streams-killed",
        "The streams are killed",
        "SIGKILL to `pganalytics streams`; afterwards it was started again.",
        killed("streams"),
        (
            Sight("status", r"^wrong streams: no process runs", SESSION_S, SESSION),
            Sight("status", r"^streams +normal +[1-9]\d* +(\d\d+|[5-9])\.\d s", SESSION_S, SESSION),
            Sight("top", r"^db1 +\?", SILENT_S, SILENT),
            Sight(ALERTS, r"^PganalyticsServiceDown.*pganalytics-streams"),
        ),
    ),
    Row(
        "streams-suspended",
        "The streams are suspended",
        "SIGSTOP to `pganalytics streams`; afterwards it went on.",
        suspended_streams,
        (
            Sight("status", r"^wrong streams: no process runs", SESSION_S, SESSION),
            Sight(ALERTS, r"^PganalyticsServiceDown.*pganalytics-streams", SCRAPE_S, "time-out of a scrape"),
        ),
    ),
    Row(
        "streams-skip",
        "The streams skip records",
        "The streams were replaced by a build with a fault: without its guard, it neither decides on nor sends every seventh "
        "record, and commits all. Nothing is lost, so nothing is called wrong; the count says what was repaired.",
        skipping_streams,
        (
            Sight("status", r"^events .*repaired \d", START_S + SESSION_S + BEAT_S, f"{START}; {SESSION}; the next heartbeat"),
            Sight(
                "events --kind repaired", r" repaired db", START_S + SESSION_S + BEAT_S, f"{START}; {SESSION}; the next heartbeat"
            ),
        ),
    ),
    Row(
        "store-down",
        "The store is down",
        "The store was killed. `top` does not need it.",
        dead_store,
        (
            Sight("status", r"^store .*no PostgreSQL answers"),
            Sight("top", r"^db1 +up", new=False),
            Sight("/readyz of sink", r"^the sink waits for store"),
            Sight("/livez of sink", r"^ok$", new=False),
            Sight(ALERTS, r"^PganalyticsNotReady.*: pganalytics-sink "),
        ),
    ),
    Row(
        "store-locked",
        "The store is locked",
        "Somebody's transaction held a lock on a table of the ledger; the sink's lock time-out ended each of its attempts.",
        locked_store,
        (
            Sight("status", r"^wrong sink: lane critical is behind", SILENT_S, "that lane may be late by three heartbeats"),
            Sight("top", r"^db1 +up", new=False),
            Sight("/readyz of sink", r"^the sink waits for store", 5, "lock time-out of the sink"),
            Sight(ALERTS, r"^PganalyticsNotReady.*: pganalytics-sink ", 5, "lock time-out of the sink"),
        ),
    ),
    Row(
        "sink-killed",
        "The sink is killed",
        "SIGKILL to `pganalytics sink`; afterwards it was started again.",
        killed("sink"),
        (
            Sight("status", r"^wrong sink: no process runs", SESSION_S, SESSION),
            Sight("top", r"^db1 +up", new=False),
            Sight(ALERTS, r"^PganalyticsServiceDown.*pganalytics-sink"),
        ),
    ),
    Row(
        "store-restored",
        "The store is restored from a backup",
        "The files of the store were copied while it was stopped, and put back after the sink had stored more and was killed. "
        "Started again, it reads on from the positions in the restored store: nothing is missing.",
        restored_store,
        (
            Sight("audit --wait 30", r"^(collector|total) ", 30, "the audit waits until all is settled", new=False),
            Sight("audit --wait 30", r"^exit code 0", 30, "the audit waits until all is settled", new=False),
            Sight("status", r"^ledger .* in_kafka 0, missing 0", START_S, START, new=False),
        ),
    ),
    Row(
        "poison",
        "Poison records",
        "Two records were put among the good ones: one whose body is no Avro, one whose header `seq` is no number.",
        poison,
        (
            Sight("status", r"^wrong audit: \d+ records? could not be stored"),
            Sight("status", r"^wrong sink: records that name no sender"),
            Sight("status", r"^events .*dead_lettered \d"),
            Sight("dead-letters list", r"headers_unreadable"),
            Sight(ALERTS, r"^PganalyticsDeadLetters: .*headers_unreadable"),
        ),
        stays=(r"^audit: \d+ records could not be stored", r"^sink: records that name no sender"),
    ),
    Row(
        "noisy",
        "A noisy collector",
        "`db1` got a quota of one record in ten seconds, with a ceiling of a minute of that. Afterwards it was unset.",
        low_quota,
        (
            Sight("status", r"^wrong db1: over its quota", 5, "an override takes 5 s"),
            Sight("status", r"^wrong db1: beyond the ceiling", 5 + 2 * BEAT_S, "an override takes 5 s; six records may wait"),
            Sight("status", r"^quotas +over: .*db1 shed", 5 + 2 * BEAT_S, "as above"),
            Sight(ALERTS, r"^PganalyticsRecordsShed", 5 + 2 * BEAT_S, "as above"),
            Sight("events --kind shed", r" shed db1 ", 5 + 2 * BEAT_S, "as above"),
        ),
        stays=(r"^db1: (over its quota|beyond the ceiling)",),
    ),
    Row(
        "retention",
        "A topic's retention passed",
        "The streams were killed; when some records waited for them, all of lane normal was deleted from Kafka, and the streams "
        "were started again.",
        passed_retention,
        (
            Sight("status", r"^events .*position_outside_log \d", START_S + SESSION_S, f"{START}; {SESSION}"),
            Sight(
                "status", r"^wrong audit: \d+ records are missing", START_S + SESSION_S + BEAT_S, f"{START}; {SESSION}; accounts"
            ),
            Sight("audit", r"^db\d.* missing: ", START_S + SESSION_S + BEAT_S, f"{START}; {SESSION}; accounts"),
            Sight(ALERTS, r"^PganalyticsRecordsMissing", START_S + SESSION_S + BEAT_S, f"{START}; {SESSION}; accounts"),
        ),
        stays=(r"^audit: \d+ records are missing",),
    ),
)
