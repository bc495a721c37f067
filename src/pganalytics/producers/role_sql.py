"""A script for psql that makes the role of a target with the least that its metrics need. Pure.

It can be run again and again. No password is in it: its last line asks for one, and what psql sends is a hash.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from pganalytics.producers.catalogue import Catalogue
from pganalytics.producers.collectors import Job
from pganalytics.producers.psql import connect_line, identifier, literal

READERS = ("pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables")
ALL_OF_THEM = "pg_monitor"
PINNED = "set search_path = pg_catalog, pg_temp;"
"""So that nothing that was planted in a database runs as the superuser who pastes this."""
_ROLE = re.compile(r"\bpg_[a-z_]+\b")
STATEMENTS = "pg_stat_statements"


def role_script(jobs: Sequence[Job], catalogue: Catalogue) -> str:
    """For one target, of which these are the jobs."""
    return "\n".join(_lines(jobs, catalogue)) + "\n"


def readers_of(privileges: Iterable[str]) -> list[str]:
    """The predefined roles that headers of queries name; the one that has all the others stands for them."""
    named = {name for text in privileges for name in _ROLE.findall(text) if name in READERS}
    return [ALL_OF_THEM] if ALL_OF_THEM in named else sorted(named)


def pattern_condition(column: str, patterns: Sequence[str]) -> str:
    """The condition that a name matches one of the patterns of the settings; empty when all do."""
    if "*" in patterns:
        return ""
    return f"{column} ~ {literal('^(?:' + '|'.join(map(_as_regex, patterns)) + ')$')}" if patterns else "false"


def _lines(jobs: Sequence[Job], catalogue: Catalogue) -> Iterator[str]:
    target, collector = jobs[0].target, jobs[0].key.collector
    name, text = identifier(target.user), literal(target.user)
    variants = [one for job in jobs for one in catalogue.variants.get(job.key.metric, ())]
    yield f"-- The role of {collector}. Paste this into psql, as a superuser of that server; on the primary, if it is a standby."
    yield "-- The last line asks for the role's password."
    yield PINNED
    yield f"select {literal(f'create role {name} login')} where not exists (select from pg_roles where rolname = {text}) \\gexec"  # noqa: S608
    yield from (f"grant {reader} to {name};" for reader in readers_of(one.privilege for one in variants))
    yield from _grants(jobs, text)
    for extension in sorted({one.extension[0] for one in variants if one.extension is not None}):
        yield from _extension(extension, target.dbname, text)
        if extension == STATEMENTS:
            yield "-- What the agent asks does not count among the statements of the server; this needs a superuser."
            yield f"alter role {name} set {STATEMENTS}.track = 'none';"
    yield f"\\password {name}"


def _grants(jobs: Sequence[Job], role: str) -> Iterator[str]:
    """Everybody may connect to a database unless that was taken away: then it is granted."""
    target = jobs[0].target
    conditions = [f"datname = {literal(target.dbname)}"]
    if any(job.is_template for job in jobs):
        wanted = ["datallowconn", "not datistemplate", pattern_condition("datname", target.databases)]
        if target.exclude_databases:
            wanted.append(f"not ({pattern_condition('datname', target.exclude_databases) or 'true'})")
        conditions.append(f"({' and '.join(each for each in wanted if each)})")
    yield f"select format('grant connect on database %I to %I', datname, {role}) from pg_database"  # noqa: S608
    yield f"where ({' or '.join(conditions)})"
    yield f"    and not has_database_privilege({role}, oid, 'connect') \\gexec"


def _extension(extension: str, database: str, role: str) -> Iterator[str]:
    yield f"-- {extension} must also be in shared_preload_libraries."
    yield connect_line(database)
    yield f"create extension if not exists {identifier(extension)};"
    yield PINNED
    yield f"select format('grant usage on schema %I to %I', n.nspname, {role})"
    yield "from pg_extension e join pg_namespace n on n.oid = e.extnamespace"
    yield f"where e.extname = {literal(extension)} and not has_schema_privilege({role}, n.oid, 'usage') \\gexec"


def _as_regex(pattern: str) -> str:
    """As PostgreSQL reads it: * and ? stand for any characters, [...] for one of a set, the rest for itself."""
    made, at = "", 0
    while at < len(pattern):
        end = pattern.find("]", at + (3 if pattern[at + 1 : at + 2] == "!" else 2)) if pattern[at] == "[" else -1
        if end > 0:
            inner = pattern[at + 1 : end].replace("\\", "\\\\")
            made += f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
            at = end + 1
            continue
        made += {"*": ".*", "?": "."}.get(pattern[at], re.escape(pattern[at]))
        at += 1
    return made
