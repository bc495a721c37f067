"""The SQL of the operations page runs as it is written, on servers of two versions."""

import psycopg
import pytest

from operations import sql
from pganalytics.embedded.postgres import PostgresServer
from servers import new_database

DROPS = "select pg_drop_replication_slot('SLOT')"


@pytest.mark.parametrize("fixture", ["postgres", "postgres_other"])
def test_statements_run_as_they_are_written(fixture: str, request: pytest.FixtureRequest) -> None:
    server: PostgresServer = request.getfixturevalue(fixture)
    statements = sql()
    assert DROPS in statements
    with psycopg.connect(server.conninfo(new_database(server)), autocommit=True) as connection:
        connection.execute("select pg_create_physical_replication_slot('of_the_page')")
        for statement in statements:
            connection.execute(statement.replace("'SLOT'", "'of_the_page'").encode())
