"""The store as a whole: set up once by `pganalytics setup`, checked by whoever starts."""

import psycopg

from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.settings import Settings
from pganalytics.sink import migrations
from pganalytics.sink.connection import StoreConnection, open_or_explain
from pganalytics.sink.outages import first_line

LEAST_VERSION = 140000


def set_up(settings: Settings) -> list[str]:
    """Make or upgrade the store; the names of the migrations applied. Safe to repeat, also at the same time.

    Raises Unreachable, one line that names the store and the cure.
    """
    with open_or_explain(settings.store, name="setup") as connection:
        _check_server(settings, connection)
        try:
            with connection.transaction():
                migrations.lock(connection, migrations.MIGRATIONS_LOCK)
                _refuse(settings, migrations.problems(migrations.packaged(), migrations.read_applied(connection)))
                done = migrations.apply(connection, migrations.packaged())
                _install(settings, connection)
        except psycopg.errors.InsufficientPrivilege as error:
            raise Unreachable(
                f"{_where(settings)}: {settings.store.user} may not make schemas ({first_line(error)}): "
                f'GRANT CREATE ON DATABASE "{settings.store.dbname}" TO "{settings.store.user}"'
            ) from error
        except psycopg.OperationalError as error:
            raise Unreachable(f"{_where(settings)}: {first_line(error)}: try again") from error
    return done


def script(settings: Settings) -> str:
    """What `set_up` would run on an empty database, for somebody else to run in psql."""
    parts = [migrations.BOOTSTRAP]
    for migration in migrations.packaged():
        parts.append(migration.text)
        record = f"values ({migration.number}, '{migration.name}', '{migration.checksum}')"
        parts.append(f"insert into pganalytics.migrations (number, name, checksum) {record};\n")
    ours = f"values ('{settings.kafka.prefix}', {settings.kafka.partitions})"
    parts.append(f"insert into pganalytics.installation (prefix, partitions) {ours};\n")
    return "begin;\n" + "".join(parts) + "commit;\n"


def check(settings: Settings) -> None:
    """Raise Unreachable unless the store is set up by this version and for these topics."""
    with open_or_explain(settings.store, name="check") as connection:
        _check_server(settings, connection)
        applied = migrations.read_applied(connection)
        _refuse(settings, migrations.problems(migrations.packaged(), applied))
        if migrations.pending(migrations.packaged(), applied):
            raise Unreachable(f"{_where(settings)} is not set up for this version: run `pganalytics setup`")
        _check_installation(settings, connection)


def _check_server(settings: Settings, connection: StoreConnection) -> None:
    version = connection.info.server_version
    if version < LEAST_VERSION:
        raise Unreachable(f"{_where(settings)}: PostgreSQL {version // 10000} is too old: the store needs 14 or later")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise Unreachable(
            f"{_where(settings)}: its encoding is {encoding}: "
            f"CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, and set store.dbname"
        )


def _install(settings: Settings, connection: StoreConnection) -> None:
    connection.execute(
        "insert into pganalytics.installation (prefix, partitions) values ($1, $2) on conflict do nothing",
        [settings.kafka.prefix, settings.kafka.partitions],
    )
    _check_installation(settings, connection)


def _check_installation(settings: Settings, connection: StoreConnection) -> None:
    found = connection.execute("select prefix, partitions from pganalytics.installation").fetchone()
    if found is None:
        raise Unreachable(f"{_where(settings)} does not say whose topics fill it: run `pganalytics setup`")
    if found != (settings.kafka.prefix, settings.kafka.partitions):
        raise Unreachable(
            f"{_where(settings)} belongs to kafka.prefix {found[0]} with kafka.partitions {found[1]}, "
            f"not {settings.kafka.prefix} with {settings.kafka.partitions}: mend the settings, or use another database"
        )


def _refuse(settings: Settings, found: list[str]) -> None:
    if found:
        raise Unreachable("\n".join(f"{_where(settings)}: {problem}" for problem in found))


def _where(settings: Settings) -> str:
    return f"store {settings.store.host}:{settings.store.port}/{settings.store.dbname}"
