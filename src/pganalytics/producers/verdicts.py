"""What readings mean for a person: by metric ok, a warning or missing, with the same result in many databases said once. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pganalytics.producers.answers import Answer
from pganalytics.producers.collectors import Job
from pganalytics.producers.emission import ROWS
from pganalytics.producers.findings import Finding, Level
from pganalytics.producers.fitness import limit_problem, time_problem
from pganalytics.producers.psql import identifier, in_database
from pganalytics.producers.results import Failed, Gone, Kind, Unavailable

Outcome = Answer | Unavailable | Failed | Gone


@dataclass(frozen=True, slots=True)
class Seen:
    """One reading, and how many seconds it took."""

    job: Job
    outcome: Outcome
    took_s: float


def findings_of(readings: Sequence[Seen], user: str, closed: Mapping[str, Unavailable]) -> list[Finding]:
    """One line by metric and result, and one for the databases that cannot be connected to."""
    groups: dict[tuple[str, str], list[Seen]] = {}
    for one in readings:
        if not isinstance(one.outcome, Gone):
            groups.setdefault((one.job.key.metric, _kind(one.outcome)), []).append(one)
    total_s = {one.job.key.metric: 0.0 for one in readings}
    for one in readings:
        total_s[one.job.key.metric] += one.took_s
    lines = [_line(members, user, total_s[metric]) for (metric, _), members in groups.items()]
    return [*lines, *_closed_databases(closed)]


def _kind(outcome: Outcome) -> str:
    if isinstance(outcome, Answer):
        return "read"
    return outcome.kind if isinstance(outcome, Failed) else outcome.kind.value if isinstance(outcome, Unavailable) else ""


def _line(members: Sequence[Seen], user: str, total_s: float) -> Finding:
    first = members[0]
    databases = tuple(one.job.key.database for one in members if one.job.key.database)
    outcome, longest_s = first.outcome, max(one.took_s for one in members)
    if isinstance(outcome, Answer):
        return _read(members, databases, longest_s, total_s)
    if isinstance(outcome, Failed):
        return Finding(Level.MISSING, first.job.key.metric, outcome.reason, outcome.cure, databases=databases)
    if not isinstance(outcome, Unavailable):
        raise AssertionError("a database that is gone is no line")
    return Finding(
        level=Level.WARNING if outcome.kind is Kind.VERSION else Level.MISSING,
        subject=first.job.key.metric,
        reason=outcome.reason,
        cure=outcome.cure,
        paste="\n".join(_pastes((one.outcome for one in members if isinstance(one.outcome, Unavailable)), user)),
        databases=databases,
    )


def _read(members: Sequence[Seen], databases: tuple[str, ...], longest_s: float, total_s: float) -> Finding:
    first = members[0]
    answer = first.outcome
    if not isinstance(answer, Answer):
        raise AssertionError("these were read")
    problem = time_problem(first.job, longest_s=longest_s, total_s=total_s)
    if problem is None and ROWS in answer.groups:
        problem = limit_problem(first.job, answer.groups[ROWS])
    reason, cure = problem or ("", "")
    level = Level.OK if problem is None else Level.WARNING
    return Finding(level, first.job.key.metric, reason, cure, databases=databases, took_s=longest_s)


def _pastes(outcomes: Iterable[Unavailable], user: str) -> list[str]:
    """Each once, in the order of the databases."""
    lines: dict[str, None] = {}
    for outcome in outcomes:
        if outcome.sql:
            lines[in_database(outcome.sql_in, outcome.sql)] = None
        elif outcome.kind is Kind.PRIVILEGE:
            lines[f"GRANT pg_monitor TO {identifier(user)};"] = None
    return list(lines)


def _closed_databases(closed: Mapping[str, Unavailable]) -> list[Finding]:
    if not closed:
        return []
    first = next(iter(closed.values()))
    pastes = "\n".join(one.sql for one in closed.values() if one.sql)
    return [Finding(Level.MISSING, "connect to databases", first.reason, first.cure, pastes, tuple(sorted(closed)))]
