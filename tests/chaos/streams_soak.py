"""The long runs of the streams alone: `make soak ARGS="streams --seed S"`. Exit code 1 when a promise is broken."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from chaos import streams_chaos, streams_load
from pganalytics.embedded.kafka import KafkaBroker

Found = tuple[list[str], list[str]]
"""Lines of a report, and problems."""
RATE = 450.0


def chaos(folder: Path, seed: int) -> Found:
    """Kills, suspensions, restarts."""
    with streams_chaos.run(folder, streams_chaos.LONG, seed=seed, rate=RATE, tell=True) as (_, _, found):
        return found.lines(), found.problems()


def neighbour(folder: Path, seed: int) -> Found:
    """One collector far over its quota."""
    with KafkaBroker.start(folder / "kafka") as broker:
        noise = streams_load.disturb(broker.bootstrap, folder, streams_load.LONG_NOISE, seed=seed)
    return noise.lines(), noise.problems()


def backlog(folder: Path, seed: int) -> Found:
    """Ten minutes of load that nobody took."""
    return _herd(folder, streams_load.LONG_BACKLOG, seed)


def herd(folder: Path, seed: int) -> Found:
    """Everybody's spool at once."""
    return _herd(folder, streams_load.LONG_HERD, seed)


def _herd(folder: Path, release: streams_load.Release, seed: int) -> Found:
    with KafkaBroker.start(folder / "kafka") as broker:
        found = streams_load.release_all(broker.bootstrap, folder, release, seed=seed)
    return found.lines(), found.problems()


RUNS: dict[str, Callable[[Path, int], Found]] = {"chaos": chaos, "neighbour": neighbour, "backlog": backlog, "herd": herd}


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=streams", description="Long runs of the streams on a real broker.")
    parser.add_argument("--seed", type=int, default=1, help="of faults and loads")
    parser.add_argument("--only", choices=tuple(RUNS), action="append", help="one of them; may be given again")
    chosen = parser.parse_args(arguments)
    bad = 0
    for name in chosen.only or RUNS:
        folder = Path(tempfile.mkdtemp(prefix=f"pganalytics-{name}-"))
        print(f"{name}: logs are in {folder} while it runs", file=sys.stderr, flush=True)
        lines, problems = RUNS[name](folder, chosen.seed)
        print("\n".join([f"{name}:", *(f"  {line}" for line in lines), *(f"  PROBLEM {line}" for line in problems)]), flush=True)
        bad += len(problems)
        if not problems:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"problems {bad}")
    return int(bad > 0)
