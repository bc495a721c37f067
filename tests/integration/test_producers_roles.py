"""What a role may be and have set for itself, on PostgreSQL 13 to 18."""

import secrets
from dataclasses import dataclass

import psycopg
import pytest

from integration.producers_feed import Asker
from integration.versions import Version
from pganalytics.producers import admission
from pganalytics.producers.answers import Answer
from pganalytics.producers.check import check
from pganalytics.producers.results import Failed
from pganalytics.producers.session import limit_transaction
from pganalytics.runtime.settings import Settings


@dataclass(frozen=True)
class Someone:
    """A new role that may log in, and a superuser beside it."""

    version: Version
    name: str
    boss: str
    password: str

    def sql(self, *statements: str) -> None:
        """Run as the superuser that made them."""
        with self.version.owner("postgres") as connection:
            for statement in statements:
                connection.execute(statement.format(name=self.name, boss=self.boss).encode())

    def target(self, **more: object) -> dict[str, object]:
        where = {"host": self.version.server.host, "port": self.version.server.port, "databases": ["postgres"]}
        return {"name": "one", **where, "user": self.name, "password_command": ["echo", self.password], **more}

    def kind(self, **more: object) -> str:
        """Of the failure to read as this role; empty when it can."""
        asker = Asker(self.target(**more))
        outcome = asker.ask("heartbeat")
        asker.pools.close()
        assert isinstance(outcome, Answer | Failed)
        return outcome.kind if isinstance(outcome, Failed) else ""

    def role_lines(self, **more: object) -> str:
        """What check says of the role."""
        (report,) = check(Settings.model_validate({"targets": [self.target(**more)]})).targets
        assert report.reached
        return "\n".join(f"{one.reason}: {one.paste}" for one in report.hints if one.subject == "role")


@pytest.fixture
def someone(version: Version) -> Someone:
    name, boss, password = (f"{kind}_{secrets.token_hex(5)}" for kind in ("someone", "boss", "secret"))
    made = Someone(version, name, boss, password)
    made.sql(f"create role {{name}} login password '{password}' in role pg_monitor", "create role {boss} superuser")
    return made


def test_who_may_become_a_superuser_is_refused_as_one(someone: Someone) -> None:
    """Directly or by a role in between; a member of a role that is none may read."""
    someone.sql("create role {name}_team", "grant {name}_team to {name}")
    assert someone.kind() == ""
    someone.sql("grant {boss} to {name}_team")
    assert someone.kind() == "superuser_behind"
    someone.sql("revoke {boss} from {name}_team", "grant {boss} to {name}")
    assert someone.kind() == "superuser_behind"
    assert someone.kind(allow_superuser=True) == ""
    assert f'REVOKE "{someone.boss}" FROM "{someone.name}";' in someone.role_lines(allow_superuser=True)
    someone.sql("alter role {name} noinherit")
    assert someone.kind() == "superuser_behind"
    someone.sql("revoke {boss} from {name}")
    assert someone.kind() == ""


def test_a_role_that_logs_in_as_another_is_judged_by_who_logged_in(someone: Someone) -> None:
    """SET ROLE asks for the rights of the session's own role."""
    someone.sql(
        "create role {name}_harmless", "grant {name}_harmless, {boss} to {name}", "alter role {name} set role {name}_harmless"
    )
    assert someone.kind() == "superuser_behind"


def test_superusers_are_asked_for_only_where_we_may_be_more_than_a_monitor(
    someone: Someone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: whoever is asked for fails."""
    monkeypatch.setattr(admission, "SUPERUSERS", "select 1 / 0")
    someone.sql("grant pg_signal_backend, pg_read_server_files to {name}")
    assert someone.kind() == ""
    someone.sql("create role {name}_team", "create role {name}_all", "grant {name}_all to {name}_team")
    assert someone.kind() == ""
    someone.sql("grant {name}_team to {name}")
    assert someone.kind() == "sqlstate:22012"
    someone.sql("alter role {name} noinherit")
    assert someone.kind() == "sqlstate:22012"
    someone.sql("revoke {name}_team from {name}", "alter role {name} superuser")
    assert someone.kind() == "sqlstate:22012"


def test_a_superuser_is_one_whatever_role_it_takes(someone: Someone) -> None:
    """Also by way of the first one, whose OID is below those of all other roles that may be superusers."""
    someone.sql("create role {name}_harmless", "alter role {name} superuser")
    assert someone.kind() == "superuser"
    someone.sql("alter role {name} set role {name}_harmless")
    assert someone.kind() == "superuser"
    someone.sql("alter role {name} nosuperuser", "alter role {name} reset role")
    assert someone.kind() == ""
    with someone.version.owner("postgres") as connection:
        (first,) = connection.execute("select rolname from pg_roles where oid = 10").fetchone() or ("",)
    someone.sql(f'grant "{first}" to {{name}}')
    assert someone.kind() == "superuser_behind"


def test_from_16_on_a_member_that_may_not_become_it_is_no_superuser(someone: Someone) -> None:
    if someone.version.server.major < 16:
        with pytest.raises(psycopg.Error):
            someone.sql("grant {boss} to {name} with set false")
        return
    someone.sql("grant {boss} to {name} with set false, inherit false")
    assert (someone.kind(), someone.role_lines()) == ("", "")
    someone.sql("grant {boss} to {name} with inherit true")
    assert someone.kind() == ""
    assert f"inherits the rights of superuser {someone.boss}" in someone.role_lines()
    someone.sql("grant {boss} to {name} with set true")
    assert someone.kind() == "superuser_behind"


def test_check_warns_of_what_is_as_good_as_a_superuser(someone: Someone) -> None:
    assert someone.role_lines() == ""
    someone.sql("grant pg_execute_server_program, pg_write_server_files to {name}")
    assert f'REVOKE pg_write_server_files FROM "{someone.name}";' in someone.role_lines()
    assert "pg_execute_server_program" in someone.role_lines()
    someone.sql("revoke pg_execute_server_program, pg_write_server_files from {name}", "alter role {name} createrole")
    assert ("NOCREATEROLE" in someone.role_lines()) is (someone.version.server.major < 16)


def test_statistics_are_read_as_of_their_first_use_whatever_the_role_has_set(someone: Someone) -> None:
    if someone.version.server.major >= 15:
        someone.sql("alter role {name} set stats_fetch_consistency = snapshot")
    asker = Asker(someone.target())
    job = asker.jobs["heartbeat"]
    with asker.pools.lease("one", job.target, job.database) as session:
        read = "select current_setting('stats_fetch_consistency', true)"
        assert session.execute(read).fetchone() == ("snapshot" if someone.version.server.major >= 15 else None,)
        with session.transaction():
            limit_transaction(session, 3)
            assert session.execute(read).fetchone() == ("cache" if someone.version.server.major >= 15 else None,)
    asker.pools.close()
