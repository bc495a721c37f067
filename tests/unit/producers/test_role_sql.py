"""The script that makes a role: names quoted, patterns as the agent reads them."""

import re

import pytest

from pganalytics.producers.psql import connect_line, identifier
from pganalytics.producers.role_sql import pattern_condition, readers_of


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("app", '\\connect "app"'),
        ('we"ird', '\\connect "we""ird"'),
        ("a=b", "\\connect -reuse-previous=on \"dbname='a=b'\""),
        ("it's=", "\\connect -reuse-previous=on \"dbname='it\\'s='\""),
        ("two\nlines", '-- first connect to database U&"two\\+00000alines", whose name \\connect cannot take'),
    ],
)
def test_connect_lines(name: str, line: str) -> None:
    assert connect_line(name) == line


def test_names_move_no_cursor() -> None:
    assert identifier('o"dd') == '"o""dd"'
    assert identifier('\x1b[2J"\\') == 'U&"\\+00001b[2J""\\\\"'


@pytest.mark.parametrize(
    ("patterns", "regex"),
    [
        (["app*", "x?y"], "^(?:app.*|x.y)$"),
        (["[ab]c", "[!ab]c"], "^(?:[ab]c|[^ab]c)$"),
        (["a.b"], "^(?:a\\\\.b)$"),
        (["[a"], "^(?:\\\\[a)$"),
    ],
)
def test_patterns(patterns: list[str], regex: str) -> None:
    condition = pattern_condition("datname", patterns)
    assert re.sub(r"^datname ~ E?'|'$", "", condition) == regex


def test_everything_and_nothing() -> None:
    assert pattern_condition("datname", ["a", "*"]) == ""
    assert pattern_condition("datname", []) == "false"


def test_the_least_of_the_predefined_roles() -> None:
    assert readers_of(["none", "pg_read_all_stats (without it nothing)"]) == ["pg_read_all_stats"]
    assert readers_of(["pg_read_all_stats (without pg_monitor some are hidden)"]) == ["pg_monitor"]
    assert readers_of(["none (without SELECT, as pg_read_all_data has it, less)"]) == []
