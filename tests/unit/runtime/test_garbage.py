"""In processes of their own: what is set here is of the whole process."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc
from pganalytics.runtime.garbage import look_rarely
{call}
before = sum(one["collections"] for one in gc.get_stats())
kept = [(number, [number]) for number in range(100_000)]
print(sum(one["collections"] for one in gc.get_stats()) - before)
loop = []
loop.append(loop)
del loop
print(gc.collect() > 0)
"""


def looks(call: str) -> int:
    """While a hundred thousand objects are made and kept; cycles are still found."""
    output = subprocess.run([sys.executable, "-c", PROGRAM.format(call=call)], check=True, capture_output=True, text=True).stdout
    count, found = output.split()
    assert found == "True"
    return int(count)


@pytest.mark.parametrize(("call", "few"), [("look_rarely()", True), ("", False)])
def test_python_looks_for_cycles_a_few_times_only(call: str, *, few: bool) -> None:
    assert (looks(call) <= 10) is few
