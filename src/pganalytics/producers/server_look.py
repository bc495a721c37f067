"""What `check` asks of a server beside its metrics: version, role, encryption, and settings that decide what metrics can tell."""

from dataclasses import dataclass
from importlib import resources

from pganalytics.producers.session import Session, limit_transaction

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ServerLook:
    """One server as its role sees it. `tls`: the version of the protocol, empty without; `pooled`, `superuser`: as in Session.

    None: the role may not see it, or the server does not have it. `max_connections`: without those reserved for others;
    `connections`: of others, now; `role_limit`: -1 without one; `superuser_behind`: a superuser whom the role may become.
    """

    version: str
    major: int
    standby: bool
    role: str
    tls: str
    superuser_behind: str | None
    preloaded: str | None
    statements_max: int | None
    times_io: bool | None
    query_size: int | None
    query_id: str | None
    max_connections: int
    connections: int
    role_limit: int
    pooled: bool
    superuser: bool


def look(session: Session) -> ServerLook:
    """Ask, in a transaction of its own; raises what the driver raises."""
    text = resources.files("pganalytics.producers").joinpath("looks/server.sql").read_text(encoding="utf-8")
    with session.transaction():
        limit_transaction(session, TIMEOUT_S)
        row = session.execute(f"/* pganalytics */ {text}").fetchone()
    if row is None:
        raise AssertionError("a query without FROM gives a row")
    return ServerLook(*(*row, session.pooled, session.superuser))
