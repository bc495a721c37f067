"""What an error of the driver means for the job: its kind, its cure, and whether the whole target is concerned.

Told apart by class and SQLSTATE, never by text; the text is shown to people only.
"""

import psycopg

from pganalytics.producers.results import Failed, Unavailable
from pganalytics.producers.session import DeadlinePassed, Stopping

CURES = {
    "refused": "start the server, or correct host and port of the target",
    "dns": "correct host of the target, or mend name resolution",
    "unreachable": "check host, port, sslmode and the network between",
    "timeout": "check host, port and firewalls, or raise collect.connect_timeout_s",
    "authentication": "check user, password and dbname of the target, and the server's pg_hba.conf",
    "hung": "look at the server: it accepts connections and does not answer",
    "lost": "none needed if the server was restarted: the next reading connects again",
    "stopping": "none: the agent stops",
    "password": "mend password_file or password_command of the target",
    "connection_budget": "raise collect.connections, or spread the targets over more agents",
    "sqlstate:57014": "raise timeout_s of the metric, or look at what slows the server",
    "sqlstate:3D000": "create the database, or correct dbname of the target",
    "sqlstate:53300": "raise the server's max_connections, or lower collect.connections",
    "sqlstate:57P03": "wait: the server is starting up, shutting down or recovering",
    "sqlstate:57P01": "none needed if the server was restarted: the next reading connects again",
    "duplicate_keys": "report this as a bug of the metric's query",
}
OF_TARGET_CLASSES = ("08", "28", "53", "57P", "58", "3D")


def failed(kind: str, reason: str, *, of_target: bool) -> Failed:
    """A failure of a known kind."""
    return Failed(kind, _one_line(reason), CURES.get(kind, "see the server's log"), of_target)


def of_connecting(error: psycopg.Error, kind: str) -> Failed:
    """No connection could be made; `kind` is what the probe found, empty when it found nothing wrong."""
    if isinstance(error, Stopping):
        return failed("stopping", str(error), of_target=False)
    if error.sqlstate:
        kind = f"sqlstate:{error.sqlstate}"
    elif isinstance(error, psycopg.errors.ConnectionTimeout | DeadlinePassed):
        kind = "timeout"
    return failed(kind or "unreachable", str(error), of_target=True)


def of_reading(error: psycopg.Error) -> Failed | Unavailable:
    """A query failed on an open connection."""
    if isinstance(error, psycopg.errors.ObjectNotInPrerequisiteState):
        return Unavailable(_one_line(str(error)), "add pg_stat_statements to shared_preload_libraries and restart the server")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return Unavailable(
            _one_line(str(error)), "let the target's role read it; pg_monitor is enough for PostgreSQL's own views"
        )
    if isinstance(error, DeadlinePassed):
        return failed("hung", str(error), of_target=True)
    if isinstance(error, Stopping):
        return failed("stopping", str(error), of_target=False)
    if error.sqlstate is None:
        return failed("lost", str(error), of_target=isinstance(error, psycopg.OperationalError))
    return failed(f"sqlstate:{error.sqlstate}", str(error), of_target=error.sqlstate.startswith(OF_TARGET_CLASSES))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
