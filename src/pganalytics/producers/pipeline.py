"""Several statements in one round trip and one transaction, on libpq itself.

A reading is a few rows: what psycopg's cursors do for each statement of a pipeline costs more than to send it and take
its rows.
The server ends the transaction with the pipeline, and runs nothing behind a statement that failed.
"""

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

from pganalytics.producers.session import Session
from pganalytics.producers.tables import Table

MOST_PLANS = 256
"""Statements of one connection whose plans the server keeps; further ones are planned each time."""
BROKEN = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)


@dataclass(frozen=True, slots=True)
class Step:
    """A statement. `parameters`: texts for $1 and so on; `keep_plan`: from its second run on this connection; `at_once`: from its
    first, as it is among the steps once more."""

    text: str
    parameters: tuple[str, ...] = ()
    keep_plan: bool = True
    at_once: bool = False


class StepFailed(Exception):
    """Of these steps the server refused one, and ran none behind it; `error` is what it said."""

    def __init__(self, place: int, error: psycopg.Error) -> None:
        super().__init__(str(error))
        self.place = place
        self.error = error


def run_together(session: Session, steps: Sequence[Step]) -> list[Table]:
    """A table for each step. Raises StepFailed, and psycopg.Error when the connection is of no use any more."""
    results = session.wait(_exchange(session, steps))
    for place, result in enumerate(results):
        if result.status in BROKEN:
            raise StepFailed(place, psycopg.errors.error_from_result(result, session.info.encoding))
    return [_table(session, step, result) for step, result in zip(steps, results, strict=True)]


def _exchange(session: Session, steps: Sequence[Step]) -> Generator[Wait, Ready, list[PGresult]]:
    """One result for each step: where a plan was refused, that refusal. Nothing is kept that the server has not taken."""
    connection = session.pgconn
    connection.enter_pipeline_mode()
    try:
        fresh: dict[str, bytes] = {}
        plans = [_send(session, step, fresh) for step in steps]
        connection.pipeline_sync()
        while connection.flush():
            if (yield Wait.RW) & Ready.R:
                connection.consume_input()
        given = iter((yield from _take(connection, 1 + len(steps) + sum([plan is not None for plan in plans]))))
        results: list[PGresult] = []
        for step, plan in zip(steps, plans, strict=True):
            refusal = None
            if plan is not None:
                made = next(given)
                if made.status == ExecStatus.COMMAND_OK:
                    session.plans[step.text] = plan
                else:
                    refusal = made
            result = next(given)
            results.append(refusal or result)
        return results
    finally:
        if connection.status != ConnStatus.BAD:
            with contextlib.suppress(psycopg.Error):
                connection.exit_pipeline_mode()


def _send(session: Session, step: Step, fresh: dict[str, bytes]) -> bytes | None:
    """Put a statement into the pipeline; the name of the plan that is made for it now. `fresh`: all those of this
    pipeline."""
    connection, parameters = session.pgconn, [text.encode() for text in step.parameters]
    if (known := session.plans.get(step.text) or fresh.get(step.text)) is None:
        plan = _plan_of(session, step)
        if plan is None:
            connection.send_query_params(step.text.encode(), parameters, result_format=Format.BINARY)
            return None
        fresh[step.text] = plan
        connection.send_prepare(plan, step.text.encode())
        connection.send_query_prepared(plan, parameters, result_format=Format.BINARY)
        return plan
    connection.send_query_prepared(known, parameters, result_format=Format.BINARY)
    return None


def _plan_of(session: Session, step: Step) -> bytes | None:
    """The name of a plan to be made for a statement that has none; a single run is not worth one."""
    if not step.keep_plan or session.prepare_threshold is None or len(session.plans) >= MOST_PLANS:
        return None
    if not step.at_once and step.text not in session.ran:
        session.ran.add(step.text)
        return None
    return b"pganalytics_%d" % next(session.numbers)


def _take(connection: PGconn, count: int) -> Generator[Wait, Ready, list[PGresult]]:
    """So many results. libpq says None at the end of each statement's; the end of the pipeline is a result."""
    results: list[PGresult] = []
    ended = False
    while len(results) < count:
        while connection.is_busy():
            if (yield Wait.R) & Ready.R:
                connection.consume_input()
        if (result := connection.get_result()) is not None:
            results.append(result)
            ended = False
        elif ended:
            raise psycopg.OperationalError("the connection was lost in the middle of a pipeline")
        else:
            ended = True
    return results


def _table(session: Session, step: Step, result: PGresult) -> Table:
    session.rows.set_pgresult(result)
    if (names := session.columns.get(step.text)) is None:
        names = [(result.fname(place) or b"").decode() for place in range(result.nfields)]
        if step.text in session.plans:
            session.columns[step.text] = names
    return Table(names, session.rows.load_rows(0, result.ntuples, tuple))
