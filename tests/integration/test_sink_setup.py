"""`setup` makes the store once; whatever is wrong is one line that names it and the cure."""

import secrets
import threading
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from integration.sink_feed import Store
from pganalytics.embedded.ports import free_port
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Server, Settings
from pganalytics.sink import service, store
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.migrations import packaged


def with_store(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"store": settings.store.model_copy(update=changes)})


def refused(settings: Settings) -> str:
    """The one line with which `setup` refuses."""
    with pytest.raises(Unreachable) as caught:
        store.set_up(settings)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("store 127.0.0.1:")
    return str(caught.value)


def test_a_second_setup_does_nothing(settings: Settings) -> None:
    assert store.set_up(settings) == [migration.name for migration in packaged()]
    assert store.set_up(settings) == []
    store.check(settings)


def test_the_printed_script_makes_the_same_store(settings: Settings) -> None:
    Store(settings).run(store.script(settings))
    store.check(settings)
    assert store.set_up(settings) == []


def test_two_setups_at_once(settings: Settings) -> None:
    done: list[list[str]] = []
    threads = [threading.Thread(target=lambda: done.append(store.set_up(settings))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(len, done)) == [0, 0, 0, len(packaged())]


def test_a_database_that_is_not_there(settings: Settings) -> None:
    assert "CREATE DATABASE absent" in refused(with_store(settings, dbname="absent"))
    assert 'CREATE DATABASE "Odd ""name"' in refused(with_store(settings, dbname='Odd "name'))


def test_a_wrong_password(settings: Settings) -> None:
    line = refused(with_store(settings, password_file=None, password=SecretStr("wrong")))
    assert "login as postgres failed" in line
    assert "check store.user and its password" in line


def test_nothing_listens(settings: Settings) -> None:
    assert "start it, or set store.host and store.port" in refused(with_store(settings, port=free_port()))


def test_an_old_server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LEAST_VERSION", 990000)
    assert "is too old: the store needs 14 or later" in refused(settings)


def test_another_encoding(settings: Settings, postgres: PostgresServer) -> None:
    name = f"latin_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(f"create database {name} encoding 'LATIN1' template template0")
    assert "its encoding is LATIN1" in refused(with_store(settings, dbname=name))


def test_a_role_that_may_not(settings: Settings, postgres: PostgresServer) -> None:
    role = f"role_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(f"create role {role} login password 'secret'")
    line = refused(with_store(settings, user=role, password=SecretStr("secret"), password_file=None))
    assert f'GRANT CREATE ON DATABASE "{settings.store.dbname}" TO "{role}"' in line


def test_an_ordinary_role_is_enough(settings: Settings, postgres: PostgresServer) -> None:
    role = f"role_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(f"create role {role} login password 'secret'")
        connection.execute(f'grant create on database "{settings.store.dbname}" to {role}')
    ordinary = with_store(settings, user=role, password=SecretStr("secret"), password_file=None)
    assert store.set_up(ordinary)
    store.check(ordinary)


def test_a_migration_that_was_changed_after_it_was_applied(settings: Settings) -> None:
    store.set_up(settings)
    Store(settings).run("update pganalytics.migrations set checksum = 'other' where number = 1")
    assert f"migration {packaged()[0].name} differs" in refused(settings)


def test_a_store_of_a_later_version(settings: Settings) -> None:
    store.set_up(settings)
    Store(settings).run("insert into pganalytics.migrations (number, name, checksum) values (9999, '9999_later.sql', 'x')")
    assert "upgrade pganalytics" in refused(settings)


def test_other_topics_need_another_store(settings: Settings) -> None:
    store.set_up(settings)
    for changes in ({"prefix": "other"}, {"partitions": 7}):
        other = settings.model_copy(update={"kafka": settings.kafka.model_copy(update=changes)})
        assert f"belongs to kafka.prefix {settings.kafka.prefix} with kafka.partitions 4" in refused(other)
        with pytest.raises(Unreachable, match=r"belongs to kafka\.prefix"):
            store.check(other)


def test_the_sink_does_not_start_on_a_store_or_topics_that_are_not_set_up(settings: Settings) -> None:
    with pytest.raises(Unreachable, match="run `pganalytics setup`"):
        service.run(settings, Lifecycle())
    store.set_up(settings)
    other = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"prefix": "absent"})})
    with pytest.raises(Unreachable, match=r"topic absent\.collected\.critical is missing"):
        service.run(other, Lifecycle())


def test_a_server_that_falls_silent_is_a_lost_connection(tmp_path: Path) -> None:
    """Suspended: it keeps its connections and answers nothing."""
    with PostgresServer.start(tmp_path / "pg") as server:
        described = Server(host=server.host, port=server.port, user=server.user, password_file=server.password_file)
        connection = StoreConnection.open(described, name="test")
        connection.silence_s = 1.0
        server.suspend()
        try:
            with pytest.raises(psycopg.OperationalError, match="no answer for 1 s"):
                connection.execute("select 1")
            assert connection.closed
        finally:
            server.resume()
