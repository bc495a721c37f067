"""Whether a fresh connection may be used: no superuser's, nor of one who may become it; the limits hold; is there a pooler.

One look tells that, and what decides about queries: on a new connection each catalogue that is looked into costs the server.

A pooler may drop what the startup packet asks for, and may hand a connection to another client between two transactions. Then
nothing is set for the session, where it would be left to others: each transaction sets its own limits.
"""

import time
from dataclasses import dataclass, replace

import psycopg

from pganalytics.producers.session import (
    CONFIGURE_TIMEOUT_S,
    FACTS,
    FACTS_COUNT,
    IDLE_TIMEOUT_MS,
    LOCK_TIMEOUT_MS,
    SEARCH_PATH,
    Session,
    facts_of,
    limit_transaction,
    replacing_loaders,
)

LOOK = f"""/* pganalytics */ select {FACTS}, pg_catalog.pg_backend_pid(),
    pg_catalog.current_setting('is_superuser')::pg_catalog.bool
        or pg_catalog.pg_has_role(session_user, '10'::pg_catalog.oid, 'MEMBER')
        or exists (
            select from pg_catalog.pg_auth_members m
            where m.roleid operator(pg_catalog.>=) '10000'::pg_catalog.oid
                and pg_catalog.pg_has_role(session_user, m.roleid, 'MEMBER')
        ),
    pg_catalog.current_setting('search_path'),
    pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool,
    pg_catalog.current_setting('default_transaction_read_only')::pg_catalog.bool,
    extract(epoch from pg_catalog.current_setting('statement_timeout')::pg_catalog.interval)::pg_catalog.float8,
    extract(epoch from pg_catalog.current_setting('lock_timeout')::pg_catalog.interval)::pg_catalog.float8,
    extract(epoch from pg_catalog.current_setting('idle_in_transaction_session_timeout')::pg_catalog.interval)::pg_catalog.float8
"""  # noqa: S608  (a constant)
"""The column behind the process says whether SUPERUSERS may have something to say. It does for a superuser's session, which is a
member of every role, also of the first one (OID 10), and for a member of any role that somebody made. PostgreSQL's own roles
have OIDs below 10000, and cannot be made superusers."""

SUPERUSERS = """/* pganalytics */ select
    coalesce(pg_catalog.bool_or(
        r.rolname operator(pg_catalog.=) current_user or r.rolname operator(pg_catalog.=) session_user
    ), false),
    pg_catalog.min(r.rolname::pg_catalog.text) filter (
        where pg_catalog.pg_has_role(session_user, r.oid, case
            when pg_catalog.current_setting('server_version_num')::pg_catalog.int4 operator(pg_catalog.>=) 160000 then 'SET'
            else 'MEMBER'
        end)
    )
from pg_catalog.pg_roles r
where r.rolsuper
"""
"""Whether we are one, and which we may become. On a new connection the view costs the server more than all of LOOK."""


PREPARE_AFTER = 1
"""Runs of a statement on one connection before the server keeps its plan: most of what such a query costs is planning it."""


class SuperuserRefused(psycopg.OperationalError):
    """The role is a superuser, and the settings do not allow one."""


class SuperuserBehind(SuperuserRefused):
    """The role may become a superuser by SET ROLE, and so may what is planted in a database: as refused as the superuser."""


class StatementPooling(psycopg.OperationalError):
    """The pooler takes no transactions of several statements, and without them no limit of ours would hold."""


class LimitsNotKept(psycopg.OperationalError):
    """Search path, read-only mode or a timeout is not what was set: something between us and the server changes it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds now. `stays_read_only`: also for a transaction that does not ask for it."""

    search_path: str
    read_only: bool
    stays_read_only: bool
    statement_timeout_s: float
    lock_timeout_s: float
    idle_timeout_s: float


OF_SESSION = Limits(SEARCH_PATH, True, True, IDLE_TIMEOUT_MS / 1000, LOCK_TIMEOUT_MS / 1000, IDLE_TIMEOUT_MS / 1000)
OF_TRANSACTION = replace(OF_SESSION, statement_timeout_s=CONFIGURE_TIMEOUT_S)


def admit(session: Session, *, allow_superuser: bool) -> None:
    """Make a fresh connection ours. Raises SuperuserRefused, StatementPooling, LimitsNotKept and what the driver raises."""
    session.deadline = time.monotonic() + CONFIGURE_TIMEOUT_S
    session.autocommit = True
    encoding = session.info.parameter_status("server_encoding") or ""
    if encoding != "UTF8":
        # Converted to UTF8, one name of another database that cannot be would fail the whole query: we take the bytes.
        session.execute("/* pganalytics */ set client_encoding to 'SQL_ASCII'")
    session.prepare_threshold = None
    session.read_only = True
    for kind in ("text", "varchar", "name"):
        for loader in replacing_loaders(encoding):
            session.adapters.register_loader(kind, loader)
    limits = _look(session)
    if session.superuser and not allow_superuser:
        raise SuperuserRefused(f"role {session.info.user} is a superuser")
    if session.superuser_behind is not None and not allow_superuser:
        raise SuperuserBehind(f"role {session.info.user} may become superuser {session.superuser_behind}")
    if session.pooled:
        try:
            with session.transaction():
                limit_transaction(session, CONFIGURE_TIMEOUT_S)
                limits = _look(session)
        except psycopg.errors.ProtocolViolation as error:  # a pooler's answer to BEGIN; no server has it
            raise StatementPooling(str(error)) from error
        _must_be(limits, replace(OF_TRANSACTION, stays_read_only=limits.stays_read_only))
        return
    if limits != OF_SESSION:
        _set_limits(session)
        _must_be(_look(session), OF_SESSION)
    session.prepare_threshold = PREPARE_AFTER


def _look(session: Session) -> Limits:
    """Who we are here, and what holds. A pooler answers for the server: the process that it names is not the one we talk to."""
    row = session.execute(LOOK).fetchone()
    if row is None:
        raise AssertionError("it has one row")
    session.facts = facts_of(row[:FACTS_COUNT])
    pid, may_be_more, path, *others = row[FACTS_COUNT:]
    session.superuser, session.superuser_behind = _superusers(session) if may_be_more else (False, None)
    session.pooled = session.pooled or pid != session.info.backend_pid
    return Limits(", ".join(part.strip() for part in path.split(",")), *others)


def _superusers(session: Session) -> tuple[bool, str | None]:
    row: tuple[bool, str | None] | None = session.execute(SUPERUSERS).fetchone()
    if row is None:
        raise AssertionError("it has one row")
    return row


def _set_limits(session: Session) -> None:
    session.execute(
        "/* pganalytics */ select pg_catalog.set_config('search_path', %s, false), "
        "pg_catalog.set_config('default_transaction_read_only', 'on', false), "
        "pg_catalog.set_config('statement_timeout', %s, false), pg_catalog.set_config('lock_timeout', %s, false), "
        "pg_catalog.set_config('idle_in_transaction_session_timeout', %s, false)",
        (SEARCH_PATH, str(IDLE_TIMEOUT_MS), str(LOCK_TIMEOUT_MS), str(IDLE_TIMEOUT_MS)),
    )


def _must_be(found: Limits, wanted: Limits) -> None:
    if found != wanted:
        raise LimitsNotKept(f"the session has {found}, not {wanted}")
