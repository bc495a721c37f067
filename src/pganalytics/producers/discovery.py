"""Which databases of a server are read by metrics of database scope. Pure."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from psycopg import sql

from pganalytics.producers.results import Discovered, Kind, Unavailable
from pganalytics.runtime.settings import Target

DatabaseRow = tuple[str, bool, bool]
"""Name, whether it allows connections, whether the role may connect."""


def discover(target: Target, rows: Iterable[DatabaseRow]) -> Discovered:
    """The databases that the settings want and the role may read; of the others why not.

    One that allows no connections is not wanted by anybody; template databases are not among the rows.
    """
    wanted = [(name, may) for name, allows, may in rows if allows and is_wanted(target, name)]
    return Discovered(
        frozenset(name for name, may in wanted if may),
        {name: _no_privilege(target, name) for name, may in wanted if not may},
    )


def is_wanted(target: Target, database: str) -> bool:
    """By the patterns of the settings; what is excluded is not read, whatever includes it."""
    included = any(fnmatchcase(database, pattern) for pattern in target.databases)
    return included and not any(fnmatchcase(database, pattern) for pattern in target.exclude_databases)


def _no_privilege(target: Target, database: str) -> Unavailable:
    role, name = (sql.Identifier(each).as_string(None) for each in (target.user, database))
    return Unavailable(
        f"role {target.user} may not connect to database {database}",
        f"GRANT CONNECT ON DATABASE {name} TO {role}; or add it to exclude_databases of the target",
        Kind.PRIVILEGE,
        f"GRANT CONNECT ON DATABASE {name} TO {role};",
    )
