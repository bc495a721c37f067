"""What readings and settings of a server mean for a person."""

from dataclasses import replace
from typing import Any

import pytest

from pganalytics.producers.answers import Answer
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.findings import Finding, Level, TargetReport
from pganalytics.producers.fitness import (
    connection_hints,
    connections_kept,
    fleet_findings,
    limit_problem,
    records_per_minute,
    time_problem,
)
from pganalytics.producers.hints import Entries, hints_of
from pganalytics.producers.results import Failed, Gone, Kind, Unavailable
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.server_look import ServerLook
from pganalytics.producers.tables import Table
from pganalytics.producers.verdicts import Outcome, Seen, findings_of
from pganalytics.runtime.settings import Settings, Target
from pganalytics.schemas.metric import Scope, builtin_schemas

WELL = ServerLook(
    version="18.1",
    major=18,
    standby=False,
    role="watcher",
    tls="TLSv1.3",
    superuser_inherited=None,
    server_powers=(),
    makes_itself_member=False,
    preloaded="auto_explain, pg_stat_statements",
    statements_max=5000,
    times_io=True,
    query_size=4096,
    query_id="auto",
    max_connections=97,
    connections=10,
    role_limit=-1,
    pooled=False,
    superuser=False,
    superuser_behind=None,
)
READ = Answer(0, 1, None, {"rows": Table(["n"], [(1,)])}, None)
FULL = Entries(100, 0)


def jobs(**metrics: object) -> dict[str, Job]:
    settings = Settings.model_validate({"targets": [{"name": "one"}], "metrics": metrics})
    return {job.key.metric: job for job in resolve_jobs(settings, builtin_schemas(), "machine")}


def in_databases(count: int) -> list[Job]:
    """One metric of database scope, in so many databases."""
    schema = replace(builtin_schemas()["database"], name="tables", scope=Scope.DATABASE)
    job = Job(JobKey("one", "tables"), Target(), schema, 300, 10, None, {})
    return [job.in_database(f"db{number:03}") for number in range(count)]


def hints(entries: Entries | None = FULL, **changes: Any) -> dict[str, Finding]:
    look = replace(WELL, **changes)
    return {one.subject: one for one in hints_of(look, wants_statements=True, entries=entries)}


def test_a_server_that_is_set_up_well_needs_no_hint() -> None:
    assert hints() == {}


@pytest.mark.parametrize(
    ("changes", "subject", "level", "paste"),
    [
        (
            {"preloaded": "auto_explain", "statements_max": None, "query_id": "on"},
            "pg_stat_statements",
            Level.MISSING,
            "ALTER SYSTEM SET shared_preload_libraries = 'auto_explain', 'pg_stat_statements';\n-- then restart the server",
        ),
        (
            {"times_io": False},
            "track_io_timing",
            Level.WARNING,
            "ALTER SYSTEM SET track_io_timing = on;\nSELECT pg_reload_conf();",
        ),
        ({"query_size": 1024}, "track_activity_query_size", Level.WARNING, "ALTER SYSTEM SET track_activity_query_size = 4096;"),
        ({"query_id": "off"}, "compute_query_id", Level.WARNING, "ALTER SYSTEM SET compute_query_id = on;"),
        ({"superuser_behind": "post gres"}, "role", Level.WARNING, 'REVOKE "post gres" FROM "watcher";'),
        ({"superuser_inherited": "boss"}, "role", Level.WARNING, 'REVOKE "boss" FROM "watcher";'),
        (
            {"server_powers": ["pg_read_server_files", "pg_write_server_files"]},
            "role",
            Level.WARNING,
            'REVOKE pg_read_server_files FROM "watcher";\nREVOKE pg_write_server_files FROM "watcher";',
        ),
        ({"makes_itself_member": True}, "role", Level.WARNING, 'ALTER ROLE "watcher" NOCREATEROLE;'),
        ({"superuser": True}, "role", Level.WARNING, ""),
    ],
)
def test_each_hint_has_its_statement(changes: dict[str, Any], subject: str, level: Level, paste: str) -> None:
    (found,) = hints(**changes).values()
    assert (found.subject, found.level) == (subject, level)
    assert found.paste.startswith(paste)
    assert bool(found.paste) == bool(paste)
    assert found.cure


def test_what_the_role_may_not_see_is_no_hint() -> None:
    assert hints(preloaded=None, statements_max=None, times_io=None, query_size=None, query_id=None) == {}


def test_entries_that_are_thrown_out_are_told() -> None:
    found = hints(Entries(4990, 7))["pg_stat_statements.max"]
    assert "4990 of 5000 entries, thrown out 7 times" in found.reason
    assert found.paste.startswith("ALTER SYSTEM SET pg_stat_statements.max = 10000;")
    assert "pg_stat_statements.max" in hints(Entries(4990, None))
    assert hints(Entries(4000, 0)) == {}
    assert hints(None) == {}


def test_equal_results_of_many_databases_are_one_line() -> None:
    every = in_databases(100)
    no_extension = {
        job.database: Unavailable("no x", "do", Kind.EXTENSION, "CREATE EXTENSION x;", job.database) for job in every[97:]
    }
    outcomes: list[Outcome] = [no_extension.get(job.database, READ) for job in every]
    seen = [Seen(job, outcome, 0.1) for job, outcome in zip(every, outcomes, strict=True)]
    well, missing = findings_of(seen, "watcher", {})
    assert (well.level, len(well.databases), well.took_s) == (Level.OK, 97, 0.1)
    assert (missing.level, missing.databases) == (Level.MISSING, ("db097", "db098", "db099"))
    assert missing.paste.splitlines()[:2] == ['\\connect "db097"', "CREATE EXTENSION x;"]
    assert len(missing.paste.splitlines()) == 6


def test_levels() -> None:
    def level_of(outcome: Outcome) -> Level | None:
        found = findings_of([Seen(jobs()["database"], outcome, 0.1)], "watcher", {})
        return found[0].level if found else None

    assert level_of(READ) is Level.OK
    assert level_of(Unavailable("old", "upgrade", Kind.VERSION)) is Level.WARNING
    assert level_of(Unavailable("may not", "grant", Kind.PRIVILEGE)) is Level.MISSING
    assert level_of(Failed("sqlstate:57014", "slow", "look", of_target=False)) is Level.MISSING
    assert level_of(Gone()) is None


def test_a_privilege_that_nobody_named_is_pg_monitor_s() -> None:
    (found,) = findings_of([Seen(jobs()["database"], Unavailable("x", "y", Kind.PRIVILEGE), 0.1)], "my role", {})
    assert found.paste == 'GRANT pg_monitor TO "my role";'


def test_databases_that_cannot_be_connected_to_are_a_line() -> None:
    closed = {"a": Unavailable("no", "grant", Kind.PRIVILEGE, "GRANT CONNECT ON DATABASE a TO x;")}
    (found,) = findings_of([], "watcher", closed)
    assert (found.level, found.databases, found.paste) == (Level.MISSING, ("a",), "GRANT CONNECT ON DATABASE a TO x;")


def test_readings_that_take_long() -> None:
    job = jobs()["database"]
    assert time_problem(job, longest_s=1, total_s=1) is None
    reason, cure = time_problem(job, longest_s=6, total_s=6) or ("", "")
    assert (reason, cure) == ("6.0 s of its timeout of 10 s", "[metrics.database] timeout_s = 24")
    reason, cure = time_problem(in_databases(1)[0], longest_s=4, total_s=400) or ("", "")
    assert (reason, cure) == ("200.0 s of its interval of 300 s", "[metrics.tables] interval_s = 800")


def test_a_limit_that_covers_too_little() -> None:
    job = jobs(statements={"limit": 100})["statements"]
    even = Table(["total_exec_time"], [(10,)] * 300)
    reason, cure = limit_problem(job, even) or ("", "")
    assert reason == "100 rows cover 33% of total_exec_time; there are 300"
    assert cure == "[metrics.statements] limit = 285"
    steep = Table(["total_exec_time"], [(10_000,)] * 99 + [(None,)] + [(1,)] * 200)
    assert limit_problem(job, steep) is None
    assert limit_problem(jobs()["database"], even) is None


def test_records_and_connections_are_counted_for_all_databases() -> None:
    one = in_databases(1)[0]
    template = replace(one, key=JobKey("one", "tables"))
    assert records_per_minute([template, jobs()["database"]], 10) == pytest.approx(10 * 60 / 300 + 1)
    assert connections_kept(Target(), [template], 10) == 5
    assert connections_kept(Target(), [jobs()["database"]], 10) == 1


def test_too_few_connections_at_the_server() -> None:
    job = jobs()["database"]
    assert list(connection_hints(Target(), [job], 0, WELL)) == []
    (full,) = connection_hints(Target(), [job], 0, replace(WELL, connections=96))
    assert full.paste.startswith("ALTER SYSTEM SET max_connections = ")
    (limited,) = connection_hints(Target(), [job], 0, replace(WELL, role_limit=1))
    assert limited.paste == 'ALTER ROLE "watcher" CONNECTION LIMIT 3;'


def test_what_concerns_all_targets() -> None:
    settings = Settings.model_validate(
        {"streams": {"quota": {"records_per_s": 0.1}}, "collect": {"connections": 2, "workers": 1}}
    )
    target = TargetReport(
        "one", "h", 1, 0, reached=True, look=WELL, verified=True, metrics=[], hints=[], records_per_minute=7, busy_share=0.6
    )
    found = {one.subject: one for one in fleet_findings(settings, [target], 3)}
    assert set(found) == {"quota", "connections", "workers"}
    assert found["quota"].cure == "[streams.quota] records_per_s = 1"
    assert found["connections"].cure.startswith("[collect] connections = 3")
    assert not list(fleet_findings(Settings(), [replace(target, busy_share=0.1)], 3))
