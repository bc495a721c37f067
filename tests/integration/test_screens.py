"""Commands that print, on a pseudo-terminal of 80 and of 160 columns: nothing that matters is cut or taken apart, columns stand
below their headings whatever their characters, and colours are for terminals that want them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from rich.cells import cell_len

from integration.producers_feed import Watched, with_targets
from integration.pty_screen import SEQUENCE, on_a_terminal
from integration.sink_feed import EPOCH, Feed, Record, Store, event_record, heartbeat, now_us, record, running_sink
from integration.test_top import HOSTILE, WIDE
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import as_toml
from pganalytics.schemas.events import Event, EventKind, Source
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.ranges import Ranges
from waiting import until

LONG = "a-rather-long-machine-name.of-a-department.example:5432"
TO_PASTE, TO_STDERR = "      ", "pganalytics: "
"""With these begin lines that only the terminal breaks: what is copied from them is whole."""
COMMANDS = ("status", "gaps", "events", "audit", "quota list", "dead-letters list", "metrics list", "check")


@dataclass(frozen=True)
class Printed:
    """What a person has before him. `lines` without colours, as they were written: too long ones are broken by the terminal."""

    code: int
    lines: list[str]
    colours: list[str]

    def with_word(self, word: str) -> list[str]:
        return [line for line in self.lines if word in line]


@dataclass(frozen=True)
class User:
    """Somebody with a terminal and a settings file."""

    config: Path

    def types(self, words: str, columns: int, **more: str) -> Printed:
        with on_a_terminal([*words.split(), "-c", str(self.config)], columns=columns, more=more) as screen:
            code = screen.ended()
            text = SEQUENCE.sub("", screen.written)
            return Printed(code, text.replace("\r\n", "\n").split("\n"), SEQUENCE.findall(screen.written))


def told(kind: EventKind, collector: str) -> Event:
    where = {"topic": "t", "partition": 0, "offset": 1}
    detail = f"{WIDE} {HOSTILE} " + "and so on " * 8
    return Event(kind, Source.STREAMS, now_us(), collector, EPOCH, Lane.NORMAL, Ranges(((4, 5),)), detail=detail, **where)  # type: ignore[arg-type]


@pytest.fixture
def user(settings: Settings, feed: Feed, stored: Store, one: Watched, tmp_path: Path) -> Iterator[User]:
    """All is there that these commands can show, some of it is hostile, some is wide, some is long."""
    with psycopg.connect(one.server.conninfo(), autocommit=True) as connection:
        connection.execute(f'create database "{WIDE}"')
        connection.execute(f'revoke connect on database "{WIDE}" from public')
    chosen = with_targets(settings, one.target("db1", databases=[one.dbname, WIDE])).model_copy(update={"metrics": {}})
    config = tmp_path / "settings.toml"
    config.write_text(as_toml(chosen), encoding="utf-8")
    with running_sink(settings):
        agent = f"{WIDE}-{HOSTILE}:7"
        feed.admit(heartbeat("db1", 1, {Lane.NORMAL: 9}, up=False, error=f"{WIDE} {HOSTILE}", agent=agent), lane=Lane.CRITICAL)
        feed.admit(heartbeat(LONG, 1, {Lane.NORMAL: 3}, agent=agent), lane=Lane.CRITICAL)
        feed.admit(*(record("db1", seq) for seq in (1, 2, 3)), *(record(LONG, seq) for seq in (1, 3)))
        feed.admit(replace(record(LONG, 2), value=b"junk"), Record(b"x", None, [("collector", WIDE.encode())]))
        feed.send(feed.topics.events, event_record(told(EventKind.DEFERRED, "db1")), event_record(told(EventKind.SHED, LONG)))
        until(lambda: stored.one("select count(*) from pganalytics.events") >= 4)
        until(lambda: stored.stored() == 7)
        yield User(config)
    with psycopg.connect(one.server.conninfo(), autocommit=True) as connection:
        connection.execute(f'drop database "{WIDE}" with (force)')


@pytest.mark.parametrize("columns", [80, 160])
def test_what_a_person_sees(user: User, columns: int) -> None:
    shown = {words: user.types(words, columns) for words in COMMANDS}
    for words, printed in shown.items():
        assert printed.code in (0, 1), (words, printed.lines)
        for line in printed.lines:
            assert line.startswith((TO_PASTE, TO_STDERR)) or cell_len(line) <= columns, (
                f"{words}: {line!r} is broken by the terminal"
            )
            assert "…" not in line, f"{words}: {line!r} is cut"
    coloured = {words for words, printed in shown.items() if printed.colours}
    assert coloured >= {"status", "events", "audit", "quota list", "metrics list", "check"}, (
        "what the last test proves something by"
    )

    status = shown["status"]
    assert status.with_word(f"{TO_PASTE}pganalytics quota set {LONG} --records-per-s ")
    assert status.with_word(f"{TO_PASTE}pganalytics check --target db1 -c {user.config}")
    for part in (r"emitted \d", r"missing \d", r"dead \d"):
        assert [line for line in status.lines if re.search(part, line)], part
    for line in shown["events"].lines[:-1]:
        assert line.startswith(("20", " " * 20)), f"{line!r} is below the times"
    letters = shown["dead-letters list"]
    assert letters.with_word(f"{TO_PASTE}pganalytics dead-letters show ")
    for whole in (f"{LONG}/{EPOCH}/normal/2", ".admitted.normal/", "headers_unreadable", "not stored"):
        assert letters.with_word(whole), whole
    for whole in ("pg_read_all_stats", "preset", "replication_slots", "database"):
        assert shown["metrics list"].with_word(whole)
    assert shown["check"].with_word(WIDE), "it may not be connected to"


@pytest.mark.parametrize("columns", [80, 160])
def test_columns_stand_below_their_headings(user: User, columns: int) -> None:
    """Counted in cells: a wide character takes two."""
    audit = user.types("audit", columns).lines
    rows = audit[: next(number for number, line in enumerate(audit) if line.startswith("total")) + 1]
    assert len({cell_len(line) for line in rows}) == 1, rows
    check = user.types("check", columns).lines
    first, last = (next(n for n, line in enumerate(check) if line.startswith(word)) for word in ("what", "tables"))
    column = check[first].index("state")
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in check[first : last + 1] if line[0] != " ")
    assert len({cell_len(line) for line in check[first : last + 1]}) == 1


def test_who_wants_no_colour_gets_plain_text(user: User) -> None:
    for words in COMMANDS:
        assert user.types(words, 80, NO_COLOR="1").colours == [], words
