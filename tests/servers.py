"""Databases and settings of one test, on the servers that all tests share."""

import secrets
from pathlib import Path

import psycopg

from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.settings import Settings

PARTITIONS = 4


def new_database(server: PostgresServer) -> str:
    """Make an empty database; its name."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return name


def settings_for(kafka: KafkaBroker, store: PostgresServer, database: str, folder: Path) -> Settings:
    """Settings as a user would write them for these servers, but that /metrics is off: many services run side by side."""
    return Settings.model_validate(
        {
            "kafka": {
                "bootstrap": kafka.bootstrap,
                "prefix": f"t{secrets.token_hex(6)}",
                "partitions": PARTITIONS,
                "replication_factor": 1,
                "min_insync_replicas": 1,
                "development": True,
            },
            "store": {
                "host": store.host,
                "port": store.port,
                "user": store.user,
                "dbname": database,
                "password_file": store.password_file,
            },
            "collect": {"state_dir": folder / "state", "http_port": 0},
            "streams": {"http_port": 0},
            "sink": {"http_port": 0},
        }
    )
