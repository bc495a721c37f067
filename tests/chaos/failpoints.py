"""Deaths between two lines of the write paths: a process that kills itself by SIGKILL just before a chosen line.

`python -m chaos.failpoints POINT PASSING MODULE ARGS...` runs a module as a program. A point is `<module>.<function>:<n>`, the
n-th line of the function that has code (functions inside it included), or `<module>.<function>:end`, when it is over. Nothing in
the program knows of it: the interpreter reports lines of these functions, in all threads.
"""

import importlib
import inspect
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

END = "end"
PLACES: dict[str, dict[str, tuple[str, ...]]] = {
    "spool": {
        "producers.spool": ("Spool.append_many", "Spool._append", "Spool._heartbeat", "Spool._insert", "Spool._note_usage"),
        "producers.group_commit": ("GroupCommit._commit", "GroupCommit._one"),
        "producers.spool_records": ("insert", "acknowledge"),
        "producers.epochs": ("start", "next_seq", "forget", "state"),
    },
    "sender": {
        "producers.sender": (
            "Sender.turn",
            "Sender._send_schemas",
            "Sender._send_lane",
            "Sender._send",
            "Sender._produce",
            "Sender._reported",
            "Sender._settle",
        ),
    },
    "sink": {
        "sink.loop": ("SinkLoop._work", "SinkLoop._batch", "SinkLoop._next_batch"),
        "sink.session": ("Session.open", "Session.write", "Session._make_room"),
        "sink.writer": ("BatchWriter.write", "BatchWriter._lock", "BatchWriter._settle", "copy_rows"),
        "sink.consumer": ("RecordConsumer.start_at", "RecordConsumer.take", "RecordConsumer.commit"),
        "sink.positions": ("find_positions",),
    },
    "accountant": {
        "sink.accountant": ("Accountant.settle", "Accountant._advance", "Accountant._judge", "Accountant._repair"),
        "sink.repair": ("find_holes",),
        "sink.letters": ("Letters._send", "Letters.tell"),
    },
    "missing": {"sink.accountant": ("Accountant._judge",), "sink.writer": ("mark_missing",)},
}
"""By part. The functions that move a record from one durable place to the next, and those that say that it has been moved."""


@dataclass(frozen=True)
class Point:
    """A line of a function; `line` is None for its end."""

    name: str
    code: CodeType
    line: int | None


def points(part: str) -> list[Point]:
    """All of a part, in the order of the source."""
    return [point for module, names in PLACES[part].items() for name in names for point in _points_of(module, name)]


def _points_of(module: str, name: str) -> Iterator[Point]:
    code = _code(module, name)
    prefix = f"{module.rpartition('.')[2]}.{name}"
    for number, line in enumerate(lines(code), 1):
        yield Point(f"{prefix}:{number}", code, line)
    yield Point(f"{prefix}:{END}", code, None)


def _code(module: str, name: str) -> CodeType:
    found: Any = importlib.import_module(f"pganalytics.{module}")
    for word in name.split("."):
        found = inspect.getattr_static(found, word)
    found = inspect.unwrap(getattr(found, "__func__", found))
    code: CodeType = found.__code__
    return code


def family(code: CodeType) -> list[CodeType]:
    """A function's code and that of what is defined in it: lambdas, comprehensions, inner functions."""
    return [code, *(one for inner in code.co_consts if isinstance(inner, CodeType) for one in family(inner))]


def lines(code: CodeType) -> list[int]:
    """The lines that are run when the function is, without its head."""
    found = {line for one in family(code) for _, _, line in one.co_lines() if line is not None}
    return sorted(line for line in found if line > code.co_firstlineno)


def plant(point: Point, passing: int) -> None:
    """From now on, the process dies at this point's n-th passing. Threads that run already never see it."""
    codes = set(family(point.code)) if point.line is not None else {point.code}
    lock = threading.Lock()
    left = passing

    def passed() -> None:
        nonlocal left
        with lock:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    def in_function(frame: FrameType, event: str, argument: object) -> Any:
        if event == "return" if point.line is None else event == "line" and frame.f_lineno == point.line:
            passed()
        return in_function

    def at_call(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code not in codes:
            return None
        frame.f_trace_lines = point.line is not None
        return in_function

    threading.settrace(at_call)
    sys.settrace(at_call)


def find(name: str) -> Point:
    """The point of this name; LookupError when there is none."""
    for part in PLACES:
        for point in points(part):
            if point.name == name:
                return point
    raise LookupError(f"there is no point {name}")


def words(point: str, passing: int, program: list[str]) -> list[str]:
    """The command that runs a module (and its arguments) up to a point."""
    return [sys.executable, "-m", "chaos.failpoints", point, str(passing), *program]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    _, name, passing, module, *arguments = sys.argv
    plant(find(name), int(passing))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
