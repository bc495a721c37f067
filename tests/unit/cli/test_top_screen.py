"""What is on the screen: the rows of each view, in any width; nothing of a target does anything to a terminal."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pganalytics.cli.top.chains import blocking_rows
from pganalytics.cli.top.fleet import Fleet
from pganalytics.cli.top.layout import fit, one_line
from pganalytics.cli.top.looking import Looking
from pganalytics.cli.top.screen import Moment, as_json, picture
from pganalytics.cli.top.views import TABLES, View, columns_of, matching, ordered
from pganalytics.cli.top.wait_rows import wait_rows
from unit.cli.top_feed import HOSTILE, NOW, S, beat, edges, fleet_of, seen, statements


def activity(*groups: tuple[str, str, str, str, int]) -> dict[str, Any]:
    """user, state, wait type, wait event, sessions; - is NULL."""
    columns = list(zip(*groups, strict=True)) or [()] * 5
    names = ("usename", "state", "wait_event_type", "wait_event")
    values: dict[str, Any] = {
        name: ["\0" if cell == "-" else cell for cell in cells] for name, cells in zip(names, columns, strict=False)
    }
    count = len(groups)
    more = {"datid": [5] * count, "datname": ["shop"] * count, "application_name": ["web"] * count}
    return values | more | {"backend_type": ["client backend"] * count, "sessions": list(columns[4])}


def hostile_fleet(text: str = HOSTILE) -> Fleet:
    """Every text that a target, a client or a role can choose is this one."""
    texts: dict[str, Any] = {
        "application_name": [text],
        "usename": [text],
        "datname": [text],
        "state": [text],
        "wait_event_type": [text],
    }
    one: dict[str, Any] = {name: [7] for name in ("queryid", "dbid", "calls", "total_exec_time")}
    one |= {name: [] for name in ("remainder", "rows", "shared_blks_hit", "shared_blks_read")}
    sides = ("datname", "usename", "application_name", "query")
    chain: dict[str, Any] = {f"{side}_{what}": [text] for side in ("waiter", "blocker") for what in sides}
    return fleet_of(
        beat("a", role=text, error=text, up=False),
        seen("a", "database", datid=[7], datname=[text], xact_commit=[5]),
        statements("a", **one),
        seen("a", "query_text", queryid=[7], query=[text * 50]),
        seen("a", "activity", datid=[5], backend_type=["client backend"], sessions=[1], wait_event=[text], **texts),
        edges("a", (2, 1), blocker_gid=[text], lock_type=[text], lock_mode=[text], blocker_state=[text], **chain),
        seen("a", "sizes", datname=text, database_size=5),
    )


LOOKS = [Looking(view=view, target=target) for view in View for target in ("a", None) if target or view is not View.TARGET]
LOOKS += [Looking(help=True), Looking(filter=HOSTILE), Looking(typing=True, filter=HOSTILE), Looking(paused=True)]


# Widths and hostile texts


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look.view}-{look.target}")
@given(text=st.text(min_size=1, max_size=30) | st.just(HOSTILE), width=st.integers(20, 200), height=st.integers(5, 60))
def test_nothing_is_wider_than_the_screen_or_does_anything_to_it(look: Looking, text: str, width: int, height: int) -> None:
    moment = Moment(hostile_fleet(text), NOW, ("a note " + text,))
    lines = [line.plain for line in picture(moment, look, width, height).lines]
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look.view}-{look.target}")
def test_hostile_texts_are_escaped_and_still_there_for_programs(look: Looking) -> None:
    moment = Moment(hostile_fleet(), NOW)
    for line in picture(moment, look, 400).lines:
        assert line.plain.isprintable()
    found = json.dumps(as_json(moment, look))
    assert found.isascii()
    if look.view in (View.DATABASES, View.WAITS, View.BLOCKING):
        assert "\\u202e" in found


def text_of(fleet: Fleet, look: Looking, width: int = 80, height: int | None = None) -> str:
    return "\n".join(line.plain.rstrip() for line in picture(Moment(fleet, NOW), look, width, height).lines)


FULL = (
    beat("a", connections=7, max_connections=100, oldest_transaction=90 * S),
    beat("データベース", up=False, error="refused"),
    seen("a", "database", datid=[5], datname=["shop"], xact_commit=[600], blks_hit=[999], blks_read=[1]),
    seen("a", "activity", **activity(("app", "active", "-", "-", 2), ("app", "active", "Lock", "relation", 1))),
    seen("a", "query_text", queryid=[7], query=["select *\n  from orders"]),
    statements("a"),
    edges("a", (2, 1), (3, 2)),
)


@pytest.mark.parametrize(
    ("view", "target", "wanted"),
    [
        (
            View.FLEET,
            None,
            [
                "target       state▼          tps hit%",
                "データベース down: refused     -    -",
                "a            up             10.0 99.9",
            ],
        ),
        (View.STATEMENTS, "a", ["time%▼", "  50.0", "1.00     500   2.00", "shop     select * from orders", "(all others)"]),
        (View.WAITS, "a", ["(running)", "Lock: relation", "2 app@shop web"]),
        (View.BLOCKING, "a", ["1         1m00s      1", "└ 2        5.0s      1 relation ShareLock", "  └ 3      5.0s      0"]),
        (View.DATABASES, "a", ["shop      10.0"]),
        (View.TARGET, "a", ["up, heartbeat 0s ago, primary, PostgreSQL 17.10", "active 3, waiting 1, blocked 2", "detail 75.0%"]),
    ],
)
def test_views_at_80_columns(view: View, target: str | None, wanted: list[str]) -> None:
    text = text_of(fleet_of(*FULL), Looking(view=view, target=target))
    for words in wanted:
        assert words in text, text


def test_a_wider_screen_has_more_columns_and_columns_stand_below_their_headers() -> None:
    narrow, wide = (text_of(fleet_of(*FULL), Looking(), width).splitlines()[2:5] for width in (80, 160))
    assert "max" not in narrow[0]
    assert "max" in wide[0]
    assert "ver" in wide[0]
    edges_of = [cell_len(row[: row.index(end) + len(end)]) for row, end in zip(narrow, ("hit%", "-    -", "99.9"), strict=True)]
    assert len(set(edges_of)) == 1


@given(text=st.text(max_size=40), width=st.integers(0, 30), right=st.booleans())
def test_a_cell_is_exactly_as_wide_as_its_column(text: str, width: int, right: bool) -> None:
    assert cell_len(fit(one_line(text), width, right=right)) == width


def test_the_sorted_column_is_there_where_there_is_no_room_for_it() -> None:
    assert "idtx" not in text_of(fleet_of(*FULL), Looking(), 60)
    assert "idtx▼" in text_of(fleet_of(*FULL), Looking(sorts={View.FLEET: ("idtx", False)}), 60)


def test_the_light_stays_on_the_screen_and_with_its_target() -> None:
    fleet = fleet_of(*(beat(f"t{number:03}") for number in range(200)))
    shown = picture(Moment(fleet, NOW), Looking(lit_target="t150"), 80, 24)
    assert [line.plain.split()[0] for line in shown.lines if line.style == "reverse"] == ["t150"]
    assert shown.page == 20
    assert shown.targets[150] == "t150"


def test_a_view_without_rows_says_why() -> None:
    fleet = fleet_of(beat("a"))
    for view, word in (
        (View.WAITS, "nobody is active"),
        (View.BLOCKING, "nobody waits"),
        (View.STATEMENTS, "needs two readings"),
    ):
        assert word in text_of(fleet, Looking(view=view))
    assert "nothing fits the filter 'zzz'" in text_of(fleet, Looking(filter="zzz"))
    assert "no target is known yet" in text_of(Fleet(), Looking())


def test_what_is_too_old_is_not_shown_but_named() -> None:
    old = replace(statements("a"), heard_us=NOW - 181 * S)
    text = text_of(fleet_of(beat("a"), old), Looking(view=View.STATEMENTS, target="a"))
    assert "3m01s ago, too old to be shown" in text
    assert "50.0" not in text


# Order and filter


def test_numbers_come_from_the_greatest_states_from_the_worst_and_the_unknown_last() -> None:
    busy = seen("up", "activity", **activity(("u", "active", "-", "-", 1)))
    fleet = fleet_of(beat("up"), beat("down", up=False), beat("gone", final=True), busy)
    columns = {column.header: column for column in columns_of(View.FLEET, None)}
    rows = TABLES[View.FLEET].rows(fleet, NOW, None)
    for header, backwards, wanted in (
        ("state", False, "down up gone"),
        ("state", True, "gone up down"),
        ("target", False, "down gone up"),
        ("act", False, "up down gone"),
        ("act", True, "up down gone"),
    ):
        assert [row.target for row in ordered(rows, columns[header], backwards=backwards)] == wanted.split()


def test_a_filter_takes_any_cell_and_whole_chains() -> None:
    fleet = fleet_of(edges("a", (2, 1), (3, 2)), edges("b", (8, 9)))
    columns = columns_of(View.BLOCKING, None)
    rows = TABLES[View.BLOCKING].rows(fleet, NOW, None)
    assert [row.pid for row in matching(rows, columns, "└ 3")] == ["1", "2", "3"]  # type: ignore[union-attr]
    assert matching(rows, columns, "SHARELOCK") == rows
    assert matching(rows, columns, "no such thing") == []


# Waits and chains


def test_who_does_nothing_is_no_wait() -> None:
    groups = [("app", "active", "-", "-", 2), ("app", "idle", "Client", "ClientRead", 9), ("-", "-", "-", "-", 1)]
    groups += [("app", "idle in transaction", "Client", "ClientRead", 2)]
    rows = wait_rows(fleet_of(seen("a", "activity", **activity(*groups))), NOW, None)
    assert [(row.state, row.wait, row.sessions, row.share) for row in rows] == [
        ("active", "(running)", 2, 0.5),
        ("idle in transaction", "Client: ClientRead", 2, 0.5),
    ]


def levels(*pairs: tuple[int, int], **values: Any) -> str:
    rows = blocking_rows(fleet_of(edges("a", *pairs, **values)), NOW, None)
    return " ".join(f"{row.level}:{row.pid}" for row in rows)


def test_chains_are_trees_of_those_who_wait() -> None:
    assert levels((2, 1), (3, 2), (4, 1)) == "0:1 1:2 2:3 1:4"
    assert levels((2, 1), (2, 9), depth=[2, 1]) == "0:9 1:2"
    assert levels((2, 3), (3, 2), (5, 3), depth=[-(2**63)] * 3) == "0:2 1:3 2:5"
    assert levels((5, 3), (2, 3), (3, 2), depth=[-(2**63)] * 3) == "0:3 1:5 1:2"
    assert levels((2, 2)) == "0:2"


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=40))
def test_each_of_a_chain_is_there_once_whoever_waits_for_whom(pairs: list[tuple[int, int]]) -> None:
    shown = re.findall(r"\d+:(\d+)", levels(*pairs))
    assert len(shown) == len(set(shown))
    assert {waiter for waiter, _ in pairs} <= {int(pid) for pid in shown}


def test_numbers_that_are_none_are_null_for_programs() -> None:
    fleet = fleet_of(beat("a"), statements("a", coverage_time=float("nan")))
    for look in (Looking(), Looking(view=View.TARGET, target="a", filter="zzz")):
        found = json.loads(json.dumps(as_json(Moment(fleet, NOW), look), allow_nan=False))
        assert found["fleet"][0]["target"] == "a"
        assert found["fleet"][0]["lag_s"] is None
