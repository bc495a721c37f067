"""The log of a target whose readings fail one after the other, and not in the order in which they began."""

import logging

import pytest

from pganalytics.producers.reports import Reports
from pganalytics.producers.results import Collected, Failed
from pganalytics.producers.schedule import JobKey

KEY = JobKey("one", "database")


def failure(kind: str) -> Failed:
    return Failed(kind, "it does not answer", "", of_target=True)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(record).get("error", record.message) for record in caplog.records]


def test_a_reading_that_began_before_the_failure_was_told_does_not_tell_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reports = Reports()
    reports.tell(KEY, failure("timeout"), 10.0, 11.0)
    reports.tell(KEY, failure("hung"), 9.0, 13.0)
    reports.tell(KEY, failure("timeout"), 12.0, 14.0)
    assert told(caplog) == ["timeout"]


def test_a_later_reading_that_fails_in_another_way_is_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reports = Reports()
    reports.tell(KEY, failure("timeout"), 10.0, 11.0)
    reports.tell(KEY, failure("authentication"), 11.0, 12.0)
    reports.tell(KEY, Collected(1), 12.0, 13.0)
    reports.tell(KEY, failure("hung"), 9.0, 14.0)
    assert told(caplog) == ["timeout", "authentication", "target is read again", "hung"]
