"""What cannot be read is told when it changes and once a day; which databases are read."""

import pytest

from pganalytics.producers.discovery import discover
from pganalytics.producers.results import Collected, Failed, HeldBack, Kind, Unavailable
from pganalytics.producers.statuses import AGAIN_US, Board, Status, is_telling, status_of, status_values
from pganalytics.runtime.settings import Target
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.metric import builtin_schemas

OLD = Status("version", "too old", "upgrade")
SLOW = Status("sqlstate:57014", "slow", "look")


def test_statuses_are_sent_on_change_and_daily() -> None:
    board = Board()
    assert board.to_send(1) is None
    board.note(("io", ""), OLD, 5)
    board.note(("tables", "app"), SLOW, 6)
    rows = board.to_send(10)
    assert rows == [(("io", ""), OLD, 5), (("tables", "app"), SLOW, 6)]
    assert board.to_send(10) == rows, "what was not spooled is sent again"
    board.was_sent(rows, 10)
    board.note(("io", ""), OLD, 99)
    assert board.to_send(100) is None
    assert board.to_send(10 + AGAIN_US) == rows
    board.was_sent(rows, 10 + AGAIN_US)
    board.note(("io", ""), None, 200)
    board.note(("tables", "app"), None, 200)
    assert board.to_send(20 + AGAIN_US) == []
    board.was_sent([], 20 + AGAIN_US)
    assert board.to_send(30 + 5 * AGAIN_US) is None


def test_what_is_noted_of_a_database_goes_with_it() -> None:
    board = Board()
    board.note(("tables", "gone"), SLOW, 1)
    board.note(("tables", "there"), SLOW, 1)
    board.note(("io", ""), OLD, 1)
    board.keep_databases({"shut": OLD}, frozenset({"there"}), 2)
    assert [place for place, _, _ in board.to_send(3) or []] == [("", "shut"), ("io", ""), ("tables", "there")]
    board.keep_databases({}, frozenset({"there", "shut"}), 4)
    assert [place for place, _, _ in board.to_send(5) or []] == [("io", ""), ("tables", "there")]


@pytest.mark.parametrize(
    ("outcome", "tells", "status"),
    [
        (Collected(3), True, None),
        (Unavailable("why", "cure", Kind.EXTENSION), True, Status("extension", "why", "cure")),
        (Failed("hung", "why", "cure", of_target=False, of_database=True), True, Status("hung", "why", "cure")),
        (Failed("refused", "why", "cure", of_target=True), False, Status("refused", "why", "cure")),
        (Failed("stopping", "why", "cure", of_target=False), False, Status("stopping", "why", "cure")),
        (HeldBack("spool_full"), False, None),
    ],
)
def test_which_outcomes_tell_what(
    outcome: Collected | Unavailable | Failed | HeldBack, tells: bool, status: Status | None
) -> None:
    assert (is_telling(outcome), status_of(outcome)) == (tells, status)


def test_the_record() -> None:
    schema = builtin_schemas()["metric_status"]
    values = status_values(schema, 3, [(("io", ""), OLD, 5)], 10)
    RecordCodec(schema).encode_rest(values)
    assert (values["databases"], values["metric"], values["kind"], values["noticed_at"]) == (3, ["io"], ["version"], [5])


ALL = [("app", True, True), ("App 2", True, True), ("shop", True, False), ("closed", False, True), ("postgres", True, True)]


@pytest.mark.parametrize(
    ("patterns", "found", "without"),
    [
        ({}, {"app", "App 2", "postgres"}, {"shop"}),
        ({"databases": ["app", "sh*"]}, {"app"}, {"shop"}),
        ({"databases": ["App ?"]}, {"App 2"}, set()),
        ({"exclude_databases": ["*o*"]}, {"app", "App 2"}, set()),
        ({"databases": ["app"], "exclude_databases": ["app"]}, set(), set()),
    ],
)
def test_databases_by_pattern(patterns: dict[str, list[str]], found: set[str], without: set[str]) -> None:
    discovered = discover(Target.model_validate({"user": 'o"dd', **patterns}), ALL)
    assert discovered.databases == found
    assert set(discovered.unavailable) == without
    for why in discovered.unavailable.values():
        assert 'GRANT CONNECT ON DATABASE "shop" TO "o""dd"' in why.cure


def test_what_is_noted_of_a_metric_goes_when_it_is_read_no_more() -> None:
    board = Board()
    for place in (("io", ""), ("tables", "app"), ("", "closed")):
        board.note(place, SLOW, 5)
    rows = board.to_send(10)
    assert rows is not None
    board.was_sent(rows, 10)
    board.keep_metrics({"tables"})
    assert [place for place, _, _ in board.to_send(11) or []] == [("", "closed"), ("tables", "app")]
