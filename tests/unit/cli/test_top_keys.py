"""Keys: what a terminal sends, and what each does to the look. And numbers in few characters."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.cli.top import command
from pganalytics.cli.top.amounts import age, share, short, size, span, whole
from pganalytics.cli.top.keyboard import SEQUENCES, keys
from pganalytics.cli.top.looking import HELP, VIEW_KEYS, Looking, press
from pganalytics.cli.top.screen import KEYS
from pganalytics.cli.top.views import TABLES, View, columns_of
from pganalytics.runtime.errors import SettingsError

TARGETS = ("a", "b", "c", "d")


def after(text: str, look: Looking | None = None, targets: tuple[str, ...] = TARGETS) -> Looking:
    """The look after these keys."""
    look = look or Looking()
    for key in keys(text)[0]:
        look = press(look, key, targets, 2)
    return look


# What a terminal sends


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"]),
        ("\x1b[5~\x1b[6~\x1b[1~\x1b[F", ["page up", "page down", "home", "end"]),
        ("\r\n\x7f", ["enter", "enter", "backspace"]),
        ("ä語", ["ä", "語"]),
        ("\x1b[200~x\x1b[1;5Cy", ["x", "y"]),
        ("\x00\x01\x9b", []),
    ],
)
def test_keys_have_names_and_what_means_nothing_is_left_out(text: str, wanted: list[str]) -> None:
    assert keys(text) == (wanted, "")


@given(st.lists(st.sampled_from([*(f"\x1b[{end}" for end in SEQUENCES), "a", "\r", "é"])), st.integers(0, 60))
def test_a_sequence_may_come_in_pieces(pressed: list[str], cut: int) -> None:
    whole_text = "".join(pressed)
    first, rest = keys(whole_text[:cut])
    second, last = keys(rest + whole_text[cut:])
    assert (first + second, last) == (keys(whole_text)[0], "")


@given(st.text(max_size=50))
def test_whatever_is_pasted_comes_to_an_end(text: str) -> None:
    found, rest = keys(text)
    assert len(found) + len(rest) <= len(text)
    after(text, Looking(typing=True))
    after(text)


# What a key does


def test_views_and_targets() -> None:
    assert {key: after(key).view for key in "fsdwb"} == {key: VIEW_KEYS[key] for key in "fsdwb"}
    chosen = after("\x1b[B\x1b[B\r")
    assert (chosen.view, chosen.target) == (View.TARGET, "c")
    assert after("s", chosen) == after("d s".replace(" ", ""), chosen)
    assert after("s", chosen).target == "c"
    assert (after("a", chosen).view, after("a", chosen).target) == (View.FLEET, None)
    assert after("sa", chosen).view is View.STATEMENTS
    assert after("f", chosen).lit_target == "c"
    assert after("\r", Looking(), ()).view is View.FLEET
    assert after("t").target == "a"


def test_escape_goes_back_step_by_step() -> None:
    look = Looking(view=View.STATEMENTS, target="b", filter="x")
    steps = []
    for _ in range(3):
        look = press(look, "escape", TARGETS, 2)
        steps.append((look.filter, look.view, look.target))
    assert steps == [("", View.STATEMENTS, "b"), ("", View.TARGET, "b"), ("", View.FLEET, None)]


def test_the_light_moves_and_stays_with_its_target_in_the_fleet() -> None:
    for text, wanted in (
        ("jj", "c"),
        ("jjjjjjj", "d"),
        ("jk", "a"),
        ("\x1b[6~", "c"),
        ("\x1b[F\x1b[5~", "b"),
        ("\x1b[F\x1b[H", "a"),
    ):
        assert after(text).lit_target == wanted
    look = after("j")
    assert press(look, "enter", ("b", "a", "c", "d"), 2).target == "b"
    assert press(after("j", Looking(view=View.WAITS)), "enter", ("a", "a", "c"), 2).target == "a"
    assert press(look, "enter", ("x",), 2).target == "x"


def test_a_filter_is_typed_kept_or_taken_back() -> None:
    assert (after("/sel q").filter, after("/sel q").typing, after("/sel q").over) == ("sel q", True, False)
    assert after("/sex\x7flect\r").filter == "select"
    assert press(after("/sel"), "escape", TARGETS, 2) == Looking()
    assert len(after("/" + "x" * 500).filter) == 100


def test_sorting_goes_through_the_columns_and_round() -> None:
    look = Looking(view=View.STATEMENTS, target="a")
    headers = [column.header for column in columns_of(View.STATEMENTS, "a")]
    seen = []
    for _ in headers:
        look = after(">", look)
        seen.append(look.sort(View.STATEMENTS)[0])
    assert seen == headers[1:] + headers[:1]
    assert after("<", look).sort(View.STATEMENTS) == (headers[-1], False)
    assert after("rr", after("r", look)).sort(View.STATEMENTS) == (headers[0], True)
    assert after("><r", Looking(view=View.BLOCKING)) == Looking(view=View.BLOCKING)


def test_pause_help_and_quit() -> None:
    assert (after(" ").paused, after("  ").paused) == (True, False)
    assert after("?").help
    assert after("?x") == Looking()
    assert (after("q").over, after("?q").over, after("/q").over) == (True, True, False)


def test_help_and_footer_name_every_key() -> None:
    told = " ".join(words for words, _ in HELP)
    for key in [*VIEW_KEYS, "a", "/", "<", ">", "r", "h", "?", "q", "k", "j"]:
        assert key in told or any(f" {key}" in what for _, what in HELP)
    assert all(f"{key} " in KEYS for key in "fswbd/?q")
    assert len(KEYS) <= 80
    assert max(len(what) for _, what in HELP) <= 70
    assert len(HELP) + 5 <= 24


# Options


def test_options_choose_the_first_look() -> None:
    assert command.first_look(None, None, None, "") == Looking()
    assert command.first_look(None, "b", None, "x").view is View.TARGET
    assert command.first_look(View.WAITS, "b", "query", "").sort(View.WAITS) == ("query", False)
    assert command.first_look(None, "b", "calls/s", "").sort(View.STATEMENTS) == ("calls/s", False)


@pytest.mark.parametrize(
    ("view", "target", "sort", "word"),
    [
        (View.TARGET, None, None, "--target"),
        (None, None, "nothing", "none of target, state"),
        (View.BLOCKING, None, "pid", "order"),
    ],
)
def test_options_that_cannot_be_are_refused(view: View | None, target: str | None, sort: str | None, word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        command.first_look(view, target, sort, "")


def test_headers_are_unique() -> None:
    for table in TABLES.values():
        headers = [column.header for column in table.columns]
        assert len(set(headers)) == len(headers)


# Numbers


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        ([short(value) for value in (None, float("nan"), 0, 0.001, 0.254, 12.34, 999.96)], "- - 0 <0.01 0.25 12.3 1000"),
        ([short(value) for value in (9999.4, 10_000, 123_456, 999_499, 999_500, -3)], "9999 10.0k 123k 999k 1.00M -3.00"),
        ([share(value) for value in (None, 0, 0.99994, 0.99996, 1, 0.005)], "- 0.0 99.9 99.9 100.0 0.5"),
        ([span(value) for value in (0, 2e-6, 0.0123, 3.44, 59.4, 59.6, 7499, 300_000)], "0s 2us 12ms 3.4s 59s 1m00s 2h04m 3d11h"),
        ([age(value) for value in (None, 0.4, 3.6, 59.6)], "- 0s 4s 1m00s"),
        ([whole(None), whole(0), whole(12)], "- 0 12"),
    ],
)
def test_numbers(shown: list[str], wanted: str) -> None:
    assert shown == wanted.split()


def test_sizes() -> None:
    assert [size(value) for value in (None, 0, 999, 1024, 10 * 2**20, 2**80)] == [
        "-",
        "0 B",
        "999 B",
        "1.0 kB",
        "10 MB",
        "1048576 EB",
    ]


@given(st.floats(0, 1e15))
def test_no_number_is_long(value: float) -> None:
    assert len(short(value)) <= 5
    assert len(size(value)) <= 6
    if value < 1e8:
        assert re.fullmatch(r"\d+(\.\d)?(us|ms|s)|\d+m\d\ds|\d+h\d\dm|\d+d\d\dh", span(value))
