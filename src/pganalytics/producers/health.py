"""Whether the agent goes on, and whether it has what it needs. Pure; moments are seconds of time.monotonic().

Each wait of the agent for somebody else ends: a reading by its time-outs, a message by a delivery report, good or bad, even
while no broker is there. So each limit here is one of ours.
"""

from dataclasses import dataclass

from pganalytics.runtime.health import Problems, silent

SCHEDULER_S = 60.0
"""It comes round five times a second."""
HEARTBEATS_S = 120.0
"""The thread waits for the spool, which has a limit of its own."""
SENDER_S = 120.0
"""It comes round five times a second; its deletions wait for the spool."""
SPOOL_S = 60.0
"""A transaction is at most 256 calls and one fsync: a disk that takes longer is sick."""
JOBS_S = 300.0
"""Readings end by their time-outs, whatever the target does: so much longer than the longest of these."""
REPORT_S = 180.0
"""A message that cannot be delivered is reported after 60 s: three times that."""
TAKEN_S = 20.0
"""A broker that is well takes a record within a second."""


@dataclass(frozen=True, slots=True)
class Signs:
    """Moments at which threads came round. `ended_at`: when a job last ended, or there was none to do. `flying_since`: how long
    there has been something on its way without any report; `untaken_since`: without a good one; None when nothing is.
    """

    scheduler_at: float
    heartbeats_at: float
    sender_at: float
    spool_busy_since: float | None
    jobs_ended_at: float
    jobs_open: int
    longest_job_s: float
    flying_since: float | None
    untaken_since: float | None
    read_targets: int
    targets: int
    refusal: str | None
    settings_refused: bool


def alive(signs: Signs, now: float) -> Problems:
    """What a new start may mend. Targets and brokers that are away are none of it."""
    found = silent("the scheduler", signs.scheduler_at, SCHEDULER_S, now)
    found += silent("the thread of heartbeats", signs.heartbeats_at, HEARTBEATS_S, now)
    found += silent("the sender", signs.sender_at, SENDER_S, now)
    if signs.spool_busy_since is not None and now - signs.spool_busy_since > SPOOL_S:
        found.append(f"the spool has not answered for {now - signs.spool_busy_since:.0f} s")
    if signs.jobs_open and now - signs.jobs_ended_at > JOBS_S + signs.longest_job_s:
        found.append(f"{signs.jobs_open} jobs are due or running and none has ended for {now - signs.jobs_ended_at:.0f} s")
    if signs.flying_since is not None and now - signs.flying_since > REPORT_S:
        found.append(f"records are on their way and nothing was reported of them for {now - signs.flying_since:.0f} s")
    return found


def ready(signs: Signs, now: float) -> Problems:
    """What is missing."""
    found = []
    if signs.targets and not signs.read_targets:
        found.append(f"none of {signs.targets} targets has been read yet")
    if signs.untaken_since is not None and now - signs.untaken_since > TAKEN_S:
        found.append(f"kafka has taken nothing for {now - signs.untaken_since:.0f} s")
    if signs.refusal is not None:
        found.append(f"the spool takes no records: {signs.refusal}")
    if signs.settings_refused:
        found.append("the settings file cannot be used: older settings are in force")
    return found
