"""Sessions and texts of real servers: what is sent, how often, and that no literal of theirs leaves the agent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.producers_feed import AgentProcess, Arrived, Asker, Watched, collected, of_metric, with_targets
from pganalytics.producers.answers import Answer
from pganalytics.producers.spool_file import FILE
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from waiting import until

SECRET = "hunter2"


def with_texts(settings: Settings, target: dict[str, object], **collect: object) -> Settings:
    chosen = with_targets(settings, target, **collect)
    quick = {"interval_s": 1}
    metrics = dict.fromkeys(("heartbeat", "statements", "query_text"), quick)
    metrics["activity"] = {**quick, "parameters": {"listed_age_s": 0}}  # type: ignore[dict-item]
    return Settings.model_validate(chosen.model_dump() | {"metrics": metrics})


def rows_of(settings: Settings, metric: str) -> list[dict[str, Any]]:
    return [row for one in of_metric(collected(settings.kafka), metric) for row in one.rows()]


def transactions(arrived: list[Arrived]) -> list[dict[str, Any]]:
    columns = ("tx_pid", "tx_state", "tx_query", "tx_has_xid", "tx_application_name")
    found = []
    for one in of_metric(arrived, "activity"):
        count = len(one.body["tx_pid"])
        cells = [one.body[name] or [None] * count for name in columns]
        found += [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]
    return found


@pytest.fixture
def secretive(one: Watched) -> Iterator[psycopg.Connection]:
    """A session with an open transaction whose statements have secrets in them."""
    with psycopg.connect(one.server.conninfo(one.dbname), application_name="idler", prepare_threshold=None) as connection:
        connection.execute("insert into visits values (42)")
        connection.execute(f"comment on table visits is '{SECRET}'")
        connection.execute(f"select n, '{SECRET}' from visits where n = 42 /* {SECRET} */".encode())
        yield connection


def test_each_text_is_sent_once_also_by_the_next_agent(settings: Settings, one: Watched, log: Path) -> None:
    chosen = with_texts(settings, one.target("one"))
    with psycopg.connect(one.server.conninfo(one.dbname), autocommit=True, prepare_threshold=None) as connection:
        connection.execute('select "Odd ""schema""".pg_stat_statements_reset()')  # when it is full it forgets some of them
        connection.execute("insert into visits values (42)")
        with AgentProcess(chosen, log) as agent:
            until(lambda: any("insert into visits" in row["query"] for row in rows_of(chosen, "query_text")))
            assert agent.stop() == 0
        with AgentProcess(chosen, log) as agent:
            until(lambda: len(of_metric(collected(chosen.kafka), "statements")) >= 3)
            connection.execute("delete from visits where n = 42")
            until(lambda: any("delete from visits" in row["query"] for row in rows_of(chosen, "query_text")))
            assert agent.stop() == 0
        counted = connection.execute('select queryid from "Odd ""schema""".pg_stat_statements(false)').fetchall()
        own = connection.execute(
            'select queryid from "Odd ""schema""".pg_stat_statements(true) s join pg_database d on d.oid = s.dbid '
            "where query = 'insert into visits values ($1)' and datname = current_database()"
        ).fetchone()
    rows = rows_of(chosen, "query_text")
    queryids = [row["queryid"] for row in rows]
    assert len(queryids) == len(set(queryids))
    assert set(queryids) <= {queryid for (queryid,) in counted}
    assert own is not None
    assert {"queryid": own[0], "query": "insert into visits values ($1)", "length": 30} in rows
    assert {one.headers.identity.lane for one in of_metric(collected(chosen.kafka), "query_text")} == {Lane.BULK}


@pytest.mark.parametrize(
    ("policy", "shown"), [("literals", "select n, ? from visits where n = ?"), ("all", "SELECT"), ("none", SECRET)]
)
def test_no_literal_leaves_the_agent(
    policy: str, shown: str, settings: Settings, one: Watched, secretive: psycopg.Connection, log: Path, tmp_path: Path
) -> None:
    """Neither in a topic nor in the spool's file nor in its log; with redaction off it does: the search finds what is there."""
    pid = secretive.info.backend_pid
    chosen = with_texts(settings, one.target("one"), redact=policy, state_dir=tmp_path / "spool")
    seen: list[str] = []

    def listed() -> bool:
        seen[:] = [row["tx_query"] for row in transactions(collected(chosen.kafka)) if row["tx_pid"] == pid]
        return bool(seen) and any("omment" in row["query"].lower() for row in rows_of(chosen, "query_text"))

    with AgentProcess(chosen, log) as agent:
        until(listed)
        assert agent.stop() == 0
    assert shown in seen[0]
    kept = (tmp_path / "spool" / FILE).read_bytes() + log.read_bytes()
    told = repr([one.body for one in collected(chosen.kafka)])
    assert (SECRET in told) is (policy == "none")
    assert SECRET.encode() not in kept or policy == "none"


def test_activity_is_what_the_server_says(one: Watched, secretive: psycopg.Connection) -> None:
    asker = Asker(one.target("one"))
    answer = asker.ask("activity")
    assert isinstance(answer, Answer), answer
    asker.pools.close()
    table = answer.groups["rows"]
    sessions = [dict(zip(table.names, row, strict=True)) for row in table.rows]
    (idler,) = (row for row in sessions if row["application_name"] == "idler")
    assert (idler["datname"], idler["state"], idler["backend_type"]) == (one.dbname, "idle in transaction", "client backend")
    assert (idler["wait_event_type"], idler["wait_event"], idler["sessions"]) == ("Client", "ClientRead", 1)
    assert idler["longest_transaction"] > 0
    assert idler["longest_query"] is None
    assert answer.before is not None
    context = dict(zip(answer.before.names, answer.before.rows[0], strict=True))
    assert context["listed_age"] == 60_000_000
    assert context["sessions_total"] == sum(row["sessions"] for row in sessions)
    listed = answer.groups["transactions"]
    assert secretive.info.backend_pid not in [row[listed.names.index("tx_pid")] for row in listed.rows]
