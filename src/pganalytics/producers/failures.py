"""What an error of the driver means for the job: its kind, its cure, and whether the whole target is concerned.

Told apart by class and SQLSTATE, never by text; the text is shown to people only, and only where it cannot quote what a table
holds: texts of errors are read by more people than the database is.
"""

import re
from dataclasses import replace

import psycopg

from pganalytics.producers.admission import LimitsNotKept, StatementPooling, SuperuserBehind, SuperuserRefused
from pganalytics.producers.extension_guard import ExtensionMoved
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.results import Failed, Gone, Kind, Unavailable
from pganalytics.producers.session import DeadlinePassed, Stopping

CURES = {
    "refused": "start the server, or correct host and port of the target",
    "dns": "correct host of the target, or mend name resolution",
    "unreachable": "check host, port, sslmode and the network between",
    "certificate": "let its certificate name {host} and come from an authority that sslrootcert of the target has (default: the "
    'system\'s); or set sslmode = "require", which encrypts and does not look at the certificate',
    "no_tls": 'set ssl = on at {host}; or, if you own the network between, sslmode = "prefer" for the target',
    "timeout": "check host, port and firewalls, or raise collect.connect_timeout_s",
    "authentication": "check user, password and dbname of the target, and the server's pg_hba.conf",
    "superuser": "make a role for monitoring: CREATE ROLE ... LOGIN (`pganalytics check --print-role-sql` prints all of it), and "
    "let user of the target name it; allow_superuser = true of the target if there is no other way",
    "superuser_behind": "REVOKE that superuser from user of the target (from 16 on WITH SET FALSE, INHERIT FALSE does too), or "
    "let user name a role of its own (`pganalytics check --print-role-sql`); allow_superuser = true if there is no other way",
    "statement_pooling": "set pool_mode = transaction for this role or database at the pooler, or let host and port of the "
    "target name the server itself",
    "limits": "look at what stands between agent and server: it does not keep search_path, read-only mode or timeouts",
    "hung": "look at the server: it accepts connections and does not answer",
    "lost": "none needed if the server was restarted: the next reading connects again",
    "stopping": "none: the agent stops",
    "extension_moved": "none needed when it was moved once: the next reading finds it; else find out who renames its schema",
    "password": "mend password_file or password_command of the target",
    "connection_budget": "raise collect.connections, or spread the targets over more agents",
    "sqlstate:57014": "raise timeout_s of the metric, or look at what slows the server",
    "sqlstate:08P01": "at a pooler: let it accept the startup parameter that it names (PgBouncer: ignore_startup_parameters = "
    "options); what it drops is set in each transaction",
    "sqlstate:3D000": "create the database, or correct dbname of the target",
    "sqlstate:53300": "raise the server's max_connections, or lower collect.connections",
    "sqlstate:57P03": "wait: the server is starting up, shutting down or recovering",
    "sqlstate:57P01": "none needed if the server was restarted: the next reading connects again",
    "duplicate_keys": "report this as a bug of the metric's query",
}
OF_TARGET_KINDS = frozenset(
    "refused dns unreachable certificate no_tls superuser superuser_behind statement_pooling stopping password".split()
)
"""What is the same in every database of a server."""
OF_TARGET_CLASSES = ("08", "28", "53", "57P", "58", "3D")
TEXTS_WITHOUT_DATA = ("08", "28", "3D", "42501", "53", "55", "57", "58")
"""SQLSTATEs of which the server's own text names objects, never values."""
NOT_SHOWN = "its text is not shown, as it may quote data (collect.redact); the server's log has it"
CONTEXT = "CONTEXT:"
"""As libpq calls, in the text of an error, where it came from: code in the database, which may say anything."""


def failed(kind: str, reason: str, *, of_target: bool, host: str = "the host") -> Failed:
    """A failure of a known kind; `host` is put into its cure."""
    cure = CURES.get(kind, "see the server's log").replace("{host}", host)
    return Failed(kind, _one_line(reason), cure, of_target)


def of_connecting(error: psycopg.Error, kind: str, host: str = "the host", redaction: Redaction = Redaction.LITERALS) -> Failed:
    """No connection could be made; `kind` is what the probe found, empty when it found nothing wrong."""
    if isinstance(error, Stopping):
        return failed("stopping", str(error), of_target=False)
    if isinstance(error, SuperuserBehind):
        kind = "superuser_behind"
    elif isinstance(error, SuperuserRefused):
        kind = "superuser"
    elif isinstance(error, StatementPooling):
        kind = "statement_pooling"
    elif isinstance(error, LimitsNotKept):
        kind = "limits"
    elif error.sqlstate:
        kind = f"sqlstate:{error.sqlstate}"
    elif isinstance(error, psycopg.errors.ConnectionTimeout | DeadlinePassed):
        kind = "timeout"
    return failed(kind or "unreachable", _shown(error, redaction), of_target=True, host=host)


def of_reading(error: psycopg.Error, redaction: Redaction = Redaction.LITERALS) -> Failed | Unavailable:
    """A query failed on an open connection."""
    text = _shown(error, redaction)
    if isinstance(error, psycopg.errors.ObjectNotInPrerequisiteState):
        cure = "add pg_stat_statements to shared_preload_libraries and restart the server"
        return Unavailable(_one_line(text), cure, Kind.SETTING)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        cure = "let the target's role read it; pg_monitor is enough for PostgreSQL's own views"
        return Unavailable(_one_line(text), cure, Kind.PRIVILEGE)
    if isinstance(error, psycopg.errors.CharacterNotInRepertoire):
        cure = "find the statement of a SQL_ASCII database and pg_stat_statements_reset() it, or let dbname name such a database"
        return Unavailable("a text is not valid in the encoding of the database that is asked", cure, Kind.ENCODING)
    if isinstance(error, ExtensionMoved):
        return failed("extension_moved", str(error), of_target=False)
    if isinstance(error, DeadlinePassed):
        return failed("hung", text, of_target=True)
    if isinstance(error, Stopping):
        return failed("stopping", text, of_target=False)
    if error.sqlstate is None:
        return failed("lost", text, of_target=isinstance(error, psycopg.OperationalError))
    return failed(f"sqlstate:{error.sqlstate}", text, of_target=error.sqlstate.startswith(OF_TARGET_CLASSES))


def of_database(database: str, failure: Failed | Unavailable, sqlstate: str | None) -> Failed | Unavailable | Gone:
    """The same failure, met in a database beside the one in which the server itself is read: the others go on."""
    if isinstance(failure, Unavailable):
        return failure
    if sqlstate == "3D000":
        return Gone()
    if sqlstate in ("42501", "55000"):  # no privilege to connect; allows no connections
        return Unavailable(
            failure.reason, f"GRANT CONNECT ON DATABASE {database}, or add it to exclude_databases", Kind.PRIVILEGE
        )
    if failure.kind in OF_TARGET_KINDS:
        return failure
    return replace(failure, of_target=False, of_database=True)


def _shown(error: psycopg.Error, redaction: Redaction) -> str:
    """What of an error's text may be shown: all of it, when nothing is redacted.

    Else its first sentence, when that is about the query's own text or a fault that has no values in it. Code in the database
    can raise errors with any SQLSTATE and text; it betrays itself by a context.
    """
    if redaction is Redaction.NONE:
        return str(error)
    name = type(error).__name__
    if error.sqlstate is None or error.diag.message_primary is None:  # of libpq, or of ours: there are no parts
        text = str(error)
        return (
            f"{name}: {NOT_SHOWN}" if CONTEXT in text else re.split(r"^(?:DETAIL|HINT):", text, maxsplit=1, flags=re.MULTILINE)[0]
        )
    is_about_query = error.diag.statement_position is not None or error.sqlstate.startswith(TEXTS_WITHOUT_DATA)
    if error.diag.context is None and is_about_query:
        return error.diag.message_primary
    return f"{name}: {NOT_SHOWN}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
