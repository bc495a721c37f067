"""What of a server's settings keeps metrics from telling all that they could. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from pganalytics.producers.findings import Finding, Level
from pganalytics.producers.psql import identifier, literal
from pganalytics.producers.server_look import ServerLook

STATEMENTS = "pg_stat_statements"
FULL = 0.95
SHORT_TEXT = 1024
RELOAD = "SELECT pg_reload_conf();"
RESTART = "-- then restart the server"


@dataclass(frozen=True, slots=True)
class Entries:
    """What the reading of pg_stat_statements told. `evictions`: how often entries were thrown out, None when unknown."""

    count: int
    evictions: int | None


def hints_of(look: ServerLook, *, wants_statements: bool, entries: Entries | None) -> list[Finding]:
    """All hints for one server. `wants_statements`: whether a metric that is on reads pg_stat_statements."""
    found = [*_role(look), *_settings(look)]
    if wants_statements:
        found += [*_preload(look), *_room(look, entries)]
    return found


def _role(look: ServerLook) -> Iterator[Finding]:
    """A superuser has all the rest; he is seen here where the settings allow him."""
    role = identifier(look.role)
    if look.superuser:
        cure = "use a role of its own: `pganalytics check --print-role-sql` prints it"
        yield Finding(
            Level.WARNING, "role", f"{look.role} is a superuser: objects planted in a database run with its rights", cure
        )
    elif look.superuser_behind is not None:
        yield Finding(
            Level.WARNING,
            "role",
            f"{look.role} may become superuser {look.superuser_behind}, and so may what is planted in a database",
            "take it out of that role",
            f"REVOKE {identifier(look.superuser_behind)} FROM {role};",
        )
    else:
        if look.superuser_inherited is not None:
            yield Finding(
                Level.WARNING,
                "role",
                f"{look.role} inherits the rights of superuser {look.superuser_inherited}, and could replace its functions",
                "take it out of that role",
                f"REVOKE {identifier(look.superuser_inherited)} FROM {role};",
            )
        yield from _powers(look, role)


def _powers(look: ServerLook, role: str) -> Iterator[Finding]:
    """What is as good as a superuser's rights for whoever plants an object."""
    if look.server_powers:
        yield Finding(
            Level.WARNING,
            "role",
            f"{look.role} is in {', '.join(look.server_powers)}: what is planted in a database reaches the server's files",
            "take it out of there",
            "\n".join(f"REVOKE {power} FROM {role};" for power in look.server_powers),
        )
    if look.makes_itself_member:
        paste = f"ALTER ROLE {role} NOCREATEROLE;"
        reason = f"{look.role} has CREATEROLE, which before 16 may grant itself any role but a superuser"
        yield Finding(Level.WARNING, "role", reason, "take it away", paste)


def _settings(look: ServerLook) -> Iterator[Finding]:
    if look.times_io is False:
        paste = f"ALTER SYSTEM SET track_io_timing = on;\n{RELOAD}"
        yield Finding(Level.WARNING, "track_io_timing", "off: times of reads and writes stay 0", "switch it on", paste)
    if look.query_size is not None and look.query_size <= SHORT_TEXT:
        yield Finding(
            Level.WARNING,
            "track_activity_query_size",
            f"{look.query_size}: texts in activity are cut after as many bytes",
            "raise it",
            f"ALTER SYSTEM SET track_activity_query_size = 4096;\n{RESTART}",
        )
    if look.query_id == "off" or (look.query_id == "auto" and not _is_preloaded(look)):
        paste = f"ALTER SYSTEM SET compute_query_id = on;\n{RELOAD}"
        yield Finding(Level.WARNING, "compute_query_id", f"{look.query_id}: sessions have no query ids", "switch it on", paste)


def _is_preloaded(look: ServerLook) -> bool:
    """Its settings exist in a session only where it is; what the role may not see is believed."""
    return look.statements_max is not None or (look.preloaded is None or STATEMENTS in _libraries(look.preloaded))


def _libraries(preloaded: str) -> list[str]:
    return [each.strip().strip('"') for each in preloaded.split(",") if each.strip()]


def _preload(look: ServerLook) -> Iterator[Finding]:
    if not _is_preloaded(look):
        libraries = [*_libraries(look.preloaded or ""), STATEMENTS]
        yield Finding(
            Level.MISSING,
            STATEMENTS,
            "not in shared_preload_libraries",
            "preload it",
            f"ALTER SYSTEM SET shared_preload_libraries = {', '.join(literal(each) for each in libraries)};\n{RESTART}",
        )


def _room(look: ServerLook, entries: Entries | None) -> Iterator[Finding]:
    most = look.statements_max
    if entries is None or most is None:
        return
    if entries.evictions or entries.count >= FULL * most:
        thrown = f", thrown out {entries.evictions} times" if entries.evictions else ""
        yield Finding(
            Level.WARNING,
            f"{STATEMENTS}.max",
            f"{entries.count} of {most} entries{thrown}: what is thrown out between two readings is not counted",
            "raise it",
            f"ALTER SYSTEM SET pg_stat_statements.max = {2 * most};\n{RESTART}",
        )
