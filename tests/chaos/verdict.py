"""The checks, the same after every run: set equality with the oracles, the audit, the events."""

import time
from collections import Counter
from dataclasses import dataclass, field

import psycopg

from chaos.faults import Chaos, oracle_of
from chaos.oracle import Difference, Key, compare, read_oracle
from chaos.pipeline import COLLECTORS, Pipeline
from chaos.plan import COPIES
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.report import AuditReport

DRAIN_S = 240.0
REPAIR_S = 60.0
ALARMS = ("missing", "orphaned", "spool_rolled_back", "position_outside_log")
"""Events that say that something is lost. No fault of ours loses anything."""
NAMED = 20


@dataclass(frozen=True)
class Verdict:
    """What was found. `ok` is the exit code's opposite."""

    emitted: int
    difference: Difference
    report: AuditReport
    audit_code: int
    events: Counter[str] = field(default_factory=Counter)
    agent_codes: dict[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Records that are not in the store, by whoever knows of more."""
        return max(len(self.difference.missing), self.report.total.missing)

    @property
    def double(self) -> int:
        """Records that are in the store twice."""
        return max(len(self.difference.double), self.report.total.duplicates)

    def problems(self) -> list[str]:
        """One line each; none when all is well."""
        difference, total = self.difference, self.report.total
        kinds = ("missing", "double", "altered", "unknown")
        found = [_named(kind, keys) for kind in kinds if (keys := getattr(difference, kind))]
        found += [f"audit: {one.what}: {one.stream}, seq {one.seqs}" for one in self.report.findings]
        found += [f"events: {self.events[kind]} {kind}" for kind in ALARMS if self.events[kind]]
        if self.audit_code:
            found.append(f"audit --deep ended with {self.audit_code}")
        if not total.settled:
            found.append(f"never settled: {total.in_spool} in a spool, {total.in_kafka} in Kafka")
        if total.dead or total.shed:
            found.append(f"{total.dead} dead, {total.shed} shed")
        if len(self.report.collectors) != COLLECTORS * len(COPIES):
            found.append(f"the store knows {len(self.report.collectors)} collectors")
        return found + [f"{agent} ended with {code}" for agent, code in self.agent_codes.items() if code]


def judge(chaos: Chaos) -> Verdict:
    """Stop the load, let the rest finish, and compare."""
    services, settings = chaos.services, chaos.stage.settings
    agents = [f"agent-{copy}" for copy in COPIES]
    codes = {agent: services.stop(agent) for agent in agents}
    report = _drained(chaos, agents)
    code, _ = services.audit_command()
    emitted = read_oracle(*(oracle_of(services.folder, agent) for agent in agents))
    return weigh(emitted, settings, report=report, audit_code=code, agent_codes=codes)


def weigh(
    emitted: dict[Key, bytes], settings: Settings, *, report: AuditReport, audit_code: int, agent_codes: dict[str, int]
) -> Verdict:
    """The verdict on a store that is at rest."""
    where = conninfo(settings.store)
    with psycopg.connect(where) as connection:
        rows = connection.execute("select kind, count(*) from pganalytics.events group by kind").fetchall()
    events = Counter({str(kind): int(count) for kind, count in rows})
    return Verdict(len(emitted), compare(emitted, where), report, audit_code, events, agent_codes)


def _drained(chaos: Chaos, agents: list[str]) -> AuditReport:
    """Nothing is under way, or the time is up. What an agent could not send before its deadline is sent by its next life.

    What streams dropped on purpose is nowhere until the accountant has judged and repaired it, and the deep audit says so.
    """
    deadline = time.monotonic() + DRAIN_S
    while True:
        chaos.services.tend()
        report = deep_audit(chaos.stage.settings)
        if report.total.settled:
            deadline = min(deadline, time.monotonic() + REPAIR_S)
        if (report.total.settled and not report.total.missing) or time.monotonic() > deadline:
            return report
        if report.total.in_spool:
            _send_the_rest(chaos.services, chaos, agents)
        time.sleep(0.5)


def _send_the_rest(services: Pipeline, chaos: Chaos, agents: list[str]) -> None:
    for agent in agents:
        chaos.start(agent)
        chaos.wait(2.0)
        services.stop(agent)


def _named(kind: str, keys: set[Key]) -> str:
    shown = ", ".join("/".join(map(str, key)) for key in sorted(keys)[:NAMED])
    return f"{kind}: {len(keys)} records: {shown}{', ...' if len(keys) > NAMED else ''}"
