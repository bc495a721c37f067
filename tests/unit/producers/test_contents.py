"""What is sent by content: what differs, what is gone, and nothing twice; the log gives back what was sent."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.producers.baselines import FULL_EVERY, BaselineDamaged
from pganalytics.producers.changes import Tracked, changes
from pganalytics.producers.contents import (
    Cells,
    Contents,
    Delta,
    advance_contents,
    compare_contents,
    hash_of,
    is_the_same,
    restore_contents,
    rows_of,
    whole_of,
)
from pganalytics.schemas.metric import Field, FieldRole

COLUMNS = ["setting", "pending"]
WEEK_US = 604_800_000_000
Rows = Mapping[tuple[Any, ...], Cells]


class Log:
    """What the spool keeps, and what an observer of the records knows."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.kept: Contents | None = None
        self.seen: dict[tuple[Any, ...], Cells] = {}

    def read(self, rows: Rows, now_us: int) -> Delta:
        delta = compare_contents(self.kept, rows, now_us, WEEK_US)
        if delta.send or delta.gone or self.kept is None:
            full, body, self.kept = advance_contents(self.kept, rows, delta, columns=COLUMNS, policy="literals", now_us=now_us)
            self.entries = [body] if full else [*self.entries, body]
        self.seen |= {key: rows[key] for key in delta.send}
        for key in delta.gone:
            del self.seen[key]
        return delta


ROWS = st.dictionaries(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 1)), st.tuples(st.sampled_from(["", "on", "é"]), st.booleans()), max_size=6
)


@given(st.lists(st.tuples(ROWS, st.booleans()), max_size=12))
def test_an_observer_of_the_records_knows_the_rows(history: list[tuple[Rows, bool]]) -> None:
    """After each reading, and after restarts of the agent in between."""
    log, now = Log(), 1
    for rows, restart in history:
        now += 1_000_000
        if restart:
            log.kept = restore_contents(log.entries, COLUMNS)
        delta = log.read(rows, now)
        assert log.seen == rows
        assert not set(delta.send) & set(delta.gone)
        assert log.read(rows, now + 1) == Delta([], [])
        assert {key: tuple(cells) for key, cells in rows_of(log.entries, COLUMNS).items()} == rows
        assert restore_contents(log.entries, COLUMNS) == log.kept


def test_every_sixtieth_entry_is_a_full_one() -> None:
    log = Log()
    for number in range(3 * FULL_EVERY):
        log.read({("a", 0): (str(number), False), ("b", 0): ("on", True)}, number + 1)
        assert len(log.entries) <= FULL_EVERY
    assert len(log.entries) == FULL_EVERY


def test_what_is_older_than_a_week_is_sent_again() -> None:
    log = Log()
    rows = {("a", 0): ("on", False), ("b", 0): ("off", False)}
    log.read(rows, 1)
    log.read(rows | {("b", 0): ("on", False)}, 5)
    assert log.read(rows | {("b", 0): ("on", False)}, WEEK_US + 1).send == [("a", 0)]


@pytest.mark.parametrize("entry", [b"", b"no zstd", b"\x28\xb5\x2f\xfd"])
def test_a_log_that_cannot_be_read_is_named(entry: bytes) -> None:
    with pytest.raises(BaselineDamaged):
        restore_contents([entry], COLUMNS)


def test_a_log_of_other_columns_is_not_used() -> None:
    log = Log()
    log.read({("a", 0): ("on", False)}, 1)
    with pytest.raises(BaselineDamaged, match="other columns"):
        restore_contents(log.entries, ["setting"])


def test_what_is_unread_is_neither_sent_nor_gone_and_its_row_is_kept() -> None:
    log = Log()
    log.read({("a", 0): ("on", False), ("b", 0): ("on", False)}, 1)
    assert log.kept is not None
    locked = {("a", 0): ("", False), ("b", 0): ("off", False)}
    for number in range(2 * FULL_EVERY):
        rows = locked | {("b", 0): (str(number), False)}
        delta = compare_contents(log.kept, rows, 2, WEEK_US, unread={("a", 0)})
        assert delta == Delta([("b", 0)], [])
        full, body, log.kept = advance_contents(
            log.kept, rows, delta, columns=COLUMNS, policy="literals", now_us=2, unread={("a", 0)}
        )
        assert not full
        log.entries.append(body)
    assert rows_of(log.entries, COLUMNS)["a", 0] == ["on", False]
    assert log.read({("a", 0): ("on", False), ("b", 0): ("x", False)}, 3) == Delta([("b", 0)], [])


def field(name: str, role: FieldRole = FieldRole.LABEL) -> Field:
    return Field(name, "string", "rows", role, None, None, "d")


def test_an_item_is_told_by_its_name_where_it_has_one() -> None:
    key = Field("roleid", "long", "rows", FieldRole.KEY, None, None, "d")
    tracked = Tracked("roles", "", [key], [field("comment"), field("rolname")])
    before, now = {(7,): ("x", "me"), (8,): ("", "you")}, {(7,): ("y", "me"), (9,): ("", "they")}
    told = changes(tracked, before, now, Delta([(7,), (9,)], [(8,)]))
    assert [(row["item"], row["action"]) for row in told] == [("you 8", "dropped"), ("me 7", "altered"), ("they 9", "created")]


def test_changes_are_told_by_attribute_and_only_what_changed() -> None:
    tracked = Tracked("settings", "app", [field("name"), field("role")], [field("setting"), field("age", FieldRole.GAUGE)])
    before = {("a", ""): ("1", 5), ("b", "me"): ("2", 5), ("d", ""): ("4", 5)}
    now = {("a", ""): ("1", 9), ("b", "me"): ("3", 9), ("c", ""): ("5", 9)}
    told = changes(tracked, before, now, Delta([("a", ""), ("b", "me"), ("c", "")], [("d", "")]))
    common = {"kind": "settings", "database": "app"}
    assert told == [
        {"item": "d", **common, "action": "dropped", "attribute": "", "old": "\0", "new": "\0"},
        {"item": "b me", **common, "action": "altered", "attribute": "setting", "old": "2", "new": "3"},
        {"item": "c", **common, "action": "created", "attribute": "", "old": "\0", "new": "\0"},
    ]


@given(*[st.lists(st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1) | st.text(max_size=2), max_size=3)] * 2)
def test_rows_that_look_different_have_different_hashes(one: list[Any], other: list[Any]) -> None:
    assert (hash_of(one) == hash_of(other)) == (repr(one) == repr(other))


def test_a_number_that_python_takes_for_another_one_is_a_change() -> None:
    """Python's hashes of -1 and -2 are equal, and so are True, 1 and 1.0."""
    assert len({hash_of(cells) for cells in ([-1], [-2], [True], [1], [1.0], ["1"])}) == 6


def test_a_reading_is_the_same_only_as_long_as_nothing_is_to_be_sent_again() -> None:
    names, rows = ["name", "setting"], [("a", "on")]
    whole = whole_of(names, rows)
    kept = Contents("literals", {("a",): (1, 1000)}, 1, 1000, whole)
    assert is_the_same(kept, whole, 1000 + WEEK_US - 1, WEEK_US)
    assert not is_the_same(kept, whole, 1000 + WEEK_US, WEEK_US)
    assert not is_the_same(kept, whole, 999, WEEK_US), "the clock was put back"
    assert not is_the_same(kept, whole_of(names, [("a", "off")]), 2000, WEEK_US)
    assert not is_the_same(kept, whole_of(["name", "other"], rows), 2000, WEEK_US)
    assert not is_the_same(Contents("literals", kept.sent, 1, 1000), whole, 2000, WEEK_US), "after a start"
