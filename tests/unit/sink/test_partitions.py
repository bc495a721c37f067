"""Days, names of partitions, and what retention lets go."""

from datetime import UTC, datetime

import pytest

from pganalytics.sink.partitions import day_of, expired_days, partition_name, wanted_days

DAY = (datetime(2026, 12, 31, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days


def test_names_and_back() -> None:
    assert partition_name("statements", DAY) == "statements_20261231"
    assert day_of("statements", "statements_20261231") == DAY
    assert partition_name("m", 0) == "m_19700101"


@pytest.mark.parametrize("name", ["statements_2026123", "statements_default", "other_20261231", "statements_rows_20261231"])
def test_a_partition_of_somebody_else_is_left_alone(name: str) -> None:
    assert day_of("statements", name) is None


def test_yesterday_today_and_the_days_ahead_are_wanted() -> None:
    assert list(wanted_days(100, 3)) == [99, 100, 101, 102, 103]


def test_a_day_goes_only_when_no_record_of_it_would_be_stored_any_more() -> None:
    today, retention = 100, 14
    oldest_accepted_day = today - retention
    assert expired_days(range(80, 101), today, retention) == list(range(80, oldest_accepted_day - 1))
