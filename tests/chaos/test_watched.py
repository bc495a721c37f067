"""What is broken is named where an operator looks; what is not is not. All rows: `make soak ARGS=watched`."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chaos import soak, watched
from chaos.watched import Finding, is_settled, suffer
from chaos.watched_rows import ROWS, Row
from chaos.watched_scene import Scene, scene
from chaos.watched_screen import Screen, Seen, Sight, telling
from waiting import until

PATIENCE_S = 60.0
"""More than an operator is promised: the machine of a test may be busy."""
SHOWN = ["db1 up", "wrong db2: refused  ", "      pganalytics check", "other", "exit code 1"]
PAGE = Path(__file__).parents[2] / "docs/faults.md"
BY_NAME = {row.name: row for row in ROWS}


@contextmanager
def nothing(scene: Scene) -> Iterator[None]:
    """No fault."""
    yield


def patient(row: Row) -> Row:
    return replace(row, sights=tuple(replace(one, extra_s=one.extra_s + PATIENCE_S) for one in row.sights))


def hasty(row: Row) -> Row:
    """Without its fault, looked at once or twice."""
    return replace(row, fault=nothing, sights=tuple(replace(one, extra_s=-9.0) for one in row.sights if one.new))


def test_a_dead_target_and_a_dead_sink_are_named_and_only_they(tmp_path: Path) -> None:
    """The control comes first: the same looks without the faults."""
    rows = [BY_NAME["target-down"], BY_NAME["sink-killed"]]
    with scene(tmp_path) as made:
        screen = Screen(made)
        until(lambda: is_settled(screen), 120, every_s=1, what="all well")
        looks = hasty(replace(rows[0], sights=rows[0].sights + rows[1].sights))
        control = suffer(screen, looks, [])
        assert [one.after_s for one in control.seen] == [None] * len(looks.sights)
        assert len(control.problems()) == len(looks.sights)
        for row in rows:
            found = suffer(screen, patient(row), [])
            assert found.problems() == []
            text = "\n".join(found.lines())
            assert all(one.lines for one in found.seen)
            assert "All well again" in text


def test_what_tells_is_the_line_what_to_type_and_the_exit_code() -> None:
    assert telling(SHOWN, "^wrong db2") == ["wrong db2: refused", "      pganalytics check", "exit code 1"]
    assert telling(SHOWN, "^db1 +up") == ["db1 up", "exit code 1"]
    assert telling(SHOWN, "^wrong db1") == []
    assert telling([], "") == []


def test_the_page_has_each_fault_in_order_as_it_was_printed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall("^## (.*)$", text, re.MULTILINE) == [row.title for row in ROWS]
    for row in ROWS:
        section = text.partition(f"## {row.title}\n")[2].partition("\n## ")[0]
        assert row.did in section
        for sight in row.sights:
            assert re.search(sight.wanted, section, re.MULTILINE), sight
    assert not re.search(r"\[never\]|PROBLEM|/tmp|/home|/work", text)


SIGHT = Sight("status", "^wrong", 5.0, "why")


@pytest.mark.parametrize(
    ("finding", "problem"),
    [
        (Finding(ROWS[0], [Seen(SIGHT, 15.0, ["wrong"])], [], 1.0), None),
        (Finding(ROWS[0], [Seen(SIGHT, None, ["all well"])], [], 1.0), "was never there: 15 s are allowed"),
        (Finding(ROWS[0], [Seen(SIGHT, 20.0, ["wrong"])], [], 1.0), "took 20 s: 15 s are allowed"),
        (Finding(ROWS[0], [], [SIGHT], 1.0), "was there before the fault"),
        (Finding(ROWS[0], [], [], 1.0, notes=["`sink` ended with 69 and was started again."]), None),
        (Finding(ROWS[0], [], [], 1.0, notes=["`sink` ended with 70 and was started again."]), "ended with 70"),
        (Finding(ROWS[0], [], [], None, ["db2: hung"]), "does not call all well again: db2: hung"),
    ],
)
def test_what_is_not_named_in_time_fails_the_run(
    finding: Finding, problem: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(folder: Path, rows: Sequence[Row]) -> Iterator[Finding]:
        yield finding

    monkeypatch.setattr(watched, "run", run)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert soak.main(["watched"]) == int(problem is not None)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("PROBLEM")]
    assert [problem in line for line in told if problem] == [True] * (problem is not None)
