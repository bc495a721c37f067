"""Who shares a transaction, and who needs none."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from pganalytics.producers.group_commit import GroupCommit

INSERT = "insert into t values (1)"


class Held:
    """A writer whose thread is started when all work has been handed in; `commits` counts its transactions."""

    def __init__(self, file: Path) -> None:
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        connection.execute("create table t (n integer)")
        self.commits = 0
        self.writer = GroupCommit(connection, self._count)

    def _count(self, connection: sqlite3.Connection) -> None:
        assert not connection.in_transaction
        self.commits += 1

    def begin(self) -> None:
        threading.Thread(target=self.writer.run, daemon=True).start()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    made = Held(tmp_path / "file")
    yield made
    made.writer.close(10)


def count(db: sqlite3.Connection) -> int:
    return int(db.execute("select count(*) from t").fetchone()[0])


def test_those_who_only_read_need_no_transaction(held: Held) -> None:
    inside: Future[bool] = held.writer.submit(lambda db: db.in_transaction, reads=True)
    counted = held.writer.submit(count, reads=True)
    held.begin()
    assert (inside.result(10), counted.result(10)) == (False, 0)
    assert held.commits == 0


def test_one_transaction_for_all_that_waited_and_a_reader_sees_what_came_before(held: Held) -> None:
    held.writer.submit(lambda db: db.execute(INSERT))
    seen = held.writer.submit(count, reads=True)
    last = held.writer.submit(lambda db: db.execute(INSERT).rowcount)
    held.begin()
    assert (seen.result(10), last.result(10)) == (1, 1)
    assert held.commits == 1


@pytest.mark.parametrize("reads", [True, False])
def test_an_error_is_its_callers_own(held: Held, *, reads: bool) -> None:
    def fail(db: sqlite3.Connection) -> None:
        if not reads:
            db.execute(INSERT)
        raise ValueError("mine")

    failed = held.writer.submit(fail, reads=reads)
    other = held.writer.submit(lambda db: db.execute(INSERT).rowcount)
    held.begin()
    with pytest.raises(ValueError, match="mine"):
        failed.result(10)
    assert other.result(10) == 1
    assert held.writer.submit(count, reads=True).result(10) == 1
