"""What `check` asks of a server beside its metrics: version, role, encryption, and settings that decide what metrics can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from pganalytics.producers.pooling import Pooling
from pganalytics.producers.session import Session, limit_transaction

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ServerLook:
    """One server as its role sees it. `tls`: the version of the protocol, empty without; `pooled`, `superuser` and
    `superuser_behind`: as in Session.

    None: the role may not see it, or the server does not have it. `max_connections`: without those reserved for others;
    `connections`: of others, now; `role_limit`: -1 without one; `superuser_inherited`: a superuser whose rights the role has
    without becoming it; `server_powers`: predefined roles that reach the server's files and programs; `makes_itself_member`: the
    role may grant itself any of them. `pooling`: how a pooler lends its connections.
    """

    version: str
    major: int
    standby: bool
    role: str
    tls: str
    superuser_inherited: str | None
    server_powers: Sequence[str]
    makes_itself_member: bool
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
    superuser_behind: str | None
    pooling: Pooling = Pooling.NONE


def look(session: Session) -> ServerLook:
    """Ask, in a transaction of its own; raises what the driver raises."""
    text = resources.files("pganalytics.producers").joinpath("looks/server.sql").read_text(encoding="utf-8")
    with session.transaction():
        limit_transaction(session, TIMEOUT_S)
        row = session.execute(f"/* pganalytics */ {text}").fetchone()
    if row is None:
        raise AssertionError("a query without FROM gives a row")
    return ServerLook(*(*row, session.pooled, session.superuser, session.superuser_behind))
