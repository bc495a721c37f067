"""Every line of the write paths is a point, and a process dies there and nowhere else. Run as a program: one batch spooled."""

import ast
import linecache
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import CodeType

import pytest

from chaos.failpoints import PLACES, Point, find, points, words
from chaos.load import Load, settle_oracle
from chaos.oracle import SCHEMAS, Key, OracleFile, read_oracle
from pganalytics.producers.spool import Spool

TESTS = Path(__file__).parents[1]
WHO, EPOCH, SEED, RECORDS = "one:5432", 7, 5, 30


def emit(folder: Path) -> None:
    """One batch, oracle first, and the end of the spool."""
    folder.mkdir()
    spool = Spool.open(folder / "spool")
    spool.start_epoch(WHO, EPOCH)
    oracle = OracleFile(folder / "oracle")
    Load(oracle, spool, {WHO: EPOCH}, seed=SEED, rate=1).emit(RECORDS)
    spool.close()


def die_at(point: str, folder: Path, passing: int = 1) -> int:
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.run(
        words(point, passing, ["chaos.test_failpoints", str(folder)]), env=env, timeout=60, check=False
    ).returncode


def statements(code: CodeType) -> set[int]:
    """First lines of the statements of a function and of those in it, as the parser sees them."""
    tree = ast.parse(Path(code.co_filename).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    heads = {min([node.lineno, *(one.lineno for one in node.decorator_list)]): node for node in functions}
    function = heads[code.co_firstlineno]
    docstrings = {
        id(node.body[0]) for node in ast.walk(function) if isinstance(node, ast.FunctionDef) and ast.get_docstring(node)
    }
    inside = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
    silent = (ast.Try, ast.With, ast.Nonlocal, ast.Pass)
    return {node.lineno for node in inside if id(node) not in docstrings and not isinstance(node, silent)}


@pytest.mark.parametrize("part", PLACES)
def test_every_statement_is_a_point(part: str) -> None:
    found = points(part)
    by_code: dict[CodeType, list[int | None]] = {}
    for point in found:
        by_code.setdefault(point.code, []).append(point.line)
    for code, lines in by_code.items():
        assert statements(code) <= set(lines), code.co_qualname
        assert lines[-1] is None
    names = [point.name for point in found]
    assert len(set(names)) == len(names) >= 25
    assert all(find(name) == point for name, point in zip(names, found, strict=True))


def test_a_process_dies_at_its_point_and_only_when_it_comes_there(tmp_path: Path) -> None:
    assert die_at("spool.Spool._insert:1", tmp_path / "first", passing=RECORDS) == -signal.SIGKILL
    assert die_at("spool.Spool._insert:1", tmp_path / "never", passing=RECORDS + 1) == 0
    assert die_at("sender.Sender.turn:1", tmp_path / "elsewhere") == 0


@pytest.mark.parametrize(
    ("function", "text", "there"),
    [
        ("spool.Spool._append", "self._insert(", 0),
        ("epochs.next_seq", "return int(", 0),
        ("group_commit.GroupCommit._commit", '"begin immediate"', 0),
        ("group_commit.GroupCommit._commit", '"commit"', 0),
        ("group_commit.GroupCommit._commit", "_after_commit(", RECORDS),
        ("group_commit.GroupCommit._commit", "set_result(", RECORDS),
    ],
)
def test_killed_between_two_lines_the_spool_has_the_whole_batch_or_nothing(
    function: str, text: str, there: int, tmp_path: Path
) -> None:
    """And the oracle, asked by a batch that nobody heard of, is told which."""
    (point,) = [one for one in points("spool") if one.name.startswith(function) and text in source(one)]
    folder = tmp_path / "folder"
    first_of_all = 1 if there == 0 and not function.startswith("group") else 2  # the first group is the start of the epoch
    assert die_at(point.name, folder, passing=first_of_all) == -signal.SIGKILL
    spool = Spool.open(folder / "spool")
    settle_oracle(folder / "oracle", spool)
    found = spooled(spool)
    spool.close()
    assert (len(found), found) == (there, set(read_oracle(folder / "oracle")))


def source(point: Point) -> str:
    """The text of a point's line."""
    return linecache.getline(point.code.co_filename, point.line or 0)


def spooled(spool: Spool) -> set[Key]:
    """What is in the spool, by identity."""
    found = [one for lane in SCHEMAS for one in spool.unsent(lane, limit=999, exclude=(), schemas=spool.schemas())]
    return {(who.collector, who.epoch, who.lane.value, who.seq) for who in (one.headers.identity for one in found)}


if __name__ == "__main__":
    emit(Path(sys.argv[1]))
