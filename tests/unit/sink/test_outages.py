"""What an error means is told by its SQLSTATE."""

import psycopg
import pytest

from pganalytics.sink.errors import Refused, TryAgain
from pganalytics.sink.outages import Meaning, as_sink_error, meaning


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        (None, Meaning.WAIT),
        ("08006", Meaning.WAIT),
        ("28P01", Meaning.WAIT),
        ("3D000", Meaning.WAIT),
        ("40P01", Meaning.WAIT),
        ("40001", Meaning.WAIT),
        ("53100", Meaning.WAIT),
        ("55P03", Meaning.WAIT),
        ("57014", Meaning.WAIT),
        ("57P01", Meaning.WAIT),
        ("58030", Meaning.WAIT),
        ("25006", Meaning.WAIT),
        ("42501", Meaning.WAIT),
        ("22021", Meaning.REFUSED),
        ("23514", Meaning.REFUSED),
        ("54000", Meaning.REFUSED),
        ("25001", Meaning.BUG),
        ("42P01", Meaning.BUG),
        ("42601", Meaning.BUG),
        ("XX000", Meaning.BUG),
    ],
)
def test_meaning(sqlstate: str | None, expected: Meaning) -> None:
    assert meaning(sqlstate) is expected


def test_a_lost_connection_is_waited_for_and_a_misuse_of_the_driver_is_not() -> None:
    assert isinstance(as_sink_error(psycopg.OperationalError("gone")), TryAgain)
    assert as_sink_error(psycopg.ProgrammingError("no result")) is None


def test_sqlstates_of_the_driver() -> None:
    again = as_sink_error(psycopg.errors.DeadlockDetected("deadlock detected"))
    assert isinstance(again, TryAgain)
    assert again.kind == "40P01"
    assert isinstance(as_sink_error(psycopg.errors.NumericValueOutOfRange("x")), Refused)
    assert as_sink_error(psycopg.errors.UndefinedTable("x")) is None
