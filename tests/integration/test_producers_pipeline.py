"""Several statements in one round trip: order, plans, refusals, and a connection that breaks in the middle."""

import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from pganalytics.embedded.binaries import find_postgres
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.pipeline import MOST_PLANS, Step, StepFailed, run_together
from pganalytics.producers.session import DeadlinePassed, Session


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer.start(tmp_path_factory.mktemp("pipeline"), binaries=find_postgres()[0]) as started:
        yield started


@pytest.fixture
def session(server: PostgresServer) -> Iterator[Session]:
    with Session.connect(server.conninfo(), autocommit=True) as opened:
        opened.prepare_threshold = 1
        opened.deadline = time.monotonic() + 60
        yield opened


def plans(session: Session) -> list[str]:
    """Statements of which the server keeps plans."""
    return [text for (text,) in session.execute("select statement from pg_prepared_statements order by name")]


STEPS = [
    Step("select 1 as a, 'x' as b"),
    Step("select n from generate_series(1, 3) n", keep_plan=False),
    Step("select $1::text || $2::text as c", ("1", "\u00e9")),
    Step("select 1 as a where false"),
    Step("select repeat('x', 100000) as wide, n from generate_series(1, 100) n"),
    Step("select 1 as a, 'x' as b"),
]


def test_each_statement_has_its_table_with_and_without_a_plan(session: Session) -> None:
    for _ in range(4):
        tables = run_together(session, STEPS)
        assert [table.names for table in tables] == [["a", "b"], ["n"], ["c"], ["a"], ["wide", "n"], ["a", "b"]]
        assert [table.rows for table in tables[:4]] == [[(1, "x")], [(1,), (2,), (3,)], [("1\u00e9",)], []]
        assert (len(tables[4].rows), len(tables[4].rows[0][0]), tables[5].rows) == (100, 100_000, [(1, "x")])
    kept = plans(session)
    assert sorted(kept) == sorted(step.text for step in STEPS[2:])
    session.execute("select 1")


def test_a_statement_that_runs_once_has_no_plan(session: Session) -> None:
    run_together(session, STEPS[2:4])
    assert plans(session) == []


def test_a_statement_that_is_among_the_steps_once_more_is_planned_once(session: Session) -> None:
    twice = Step("select n from later_still")
    for _ in range(2):
        with pytest.raises(StepFailed) as failed:
            run_together(session, [replace(twice, at_once=True), STEPS[2], twice])
        assert (failed.value.place, type(failed.value.error)) == (0, psycopg.errors.UndefinedTable)
    assert plans(session) == []
    session.execute("create temp table later_still as select 7 as n")
    for _ in range(3):
        tables = run_together(session, [replace(twice, at_once=True), STEPS[3], twice])
        assert [table.rows for table in tables] == [[(7,)], [], [(7,)]]
        assert plans(session).count(twice.text) == 1
    used = "select generic_plans + custom_plans from pg_prepared_statements where statement = %s"
    assert session.info.server_version < 140000 or session.execute(used, (twice.text,)).fetchone() == (6,)


def test_without_plans_none_are_made(session: Session) -> None:
    session.prepare_threshold = None
    for _ in range(3):
        run_together(session, STEPS)
    assert plans(session) == []


def test_behind_a_refused_statement_nothing_runs_and_all_is_undone(session: Session) -> None:
    session.execute("create temp table written (n int)")
    write = Step("insert into written values (1)")
    for _ in range(3):
        with pytest.raises(StepFailed) as failed:
            run_together(session, [write, Step("select 1 / 0"), write])
        assert (failed.value.place, type(failed.value.error)) == (1, psycopg.errors.DivisionByZero)
    with pytest.raises(StepFailed) as failed:
        run_together(session, [Step("select 1"), Step("select nothing of the kind")])
    assert (failed.value.place, type(failed.value.error)) == (1, psycopg.errors.SyntaxError)
    run_together(session, [write])
    assert session.execute("select count(*) from written").fetchone() == (1,)


def test_a_plan_that_the_server_has_not_taken_is_not_used(session: Session) -> None:
    """The statement is refused whenever it is to be planned, and runs once it can be."""
    step = Step("select n from later")
    for _ in range(3):
        with pytest.raises(StepFailed):
            run_together(session, [step])
    session.execute("create temp table later as select 7 as n")
    for _ in range(3):
        assert run_together(session, [step])[0].rows == [(7,)]


def test_the_number_of_plans_is_bounded(session: Session) -> None:
    steps = [Step(f"select {number}") for number in range(MOST_PLANS + 20)]
    for _ in range(3):
        assert [table.rows for table in run_together(session, steps)] == [[(number,)] for number in range(len(steps))]
    assert len(plans(session)) <= len(session.plans) <= len(steps)


def test_a_server_process_that_ends_in_the_middle_is_an_error(session: Session, server: PostgresServer) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s)", (session.info.backend_pid,))
    with pytest.raises((StepFailed, psycopg.OperationalError)):
        run_together(session, STEPS)
    assert session.broken


def test_a_deadline_ends_the_wait_and_the_connection(session: Session) -> None:
    session.deadline = time.monotonic() + 0.5
    began = time.monotonic()
    with pytest.raises(DeadlinePassed):
        run_together(session, [Step("select 1"), Step("select pg_sleep(30)")])
    assert time.monotonic() - began < 5
    assert session.closed
