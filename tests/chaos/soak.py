"""The long run: `make soak ARGS="--seed S --faults N"`. Random load, random faults, then the checks.

Exit code 1 when anything is missing, double, altered or never settled, 2 for wrong usage. The last line of the output gives both
numbers: `missing 0, double 0`.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos import streams_soak, watched
from chaos.faults import Chaos, Counts, Outcome, oracle_of
from chaos.pipeline import End, pipeline
from chaos.plan import COPIES, Fault, Kind, make_plan
from chaos.progress import Progress
from chaos.stage import stage
from chaos.verdict import Verdict, judge
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from unit.streams.simulator import describe as describe_histories
from unit.streams.simulator import simulate

RATE = 150.0
BEGIN_S = 60.0
STREAMS = "streams"
"""As the first word: the long runs of the streams alone (`chaos.streams_soak`)."""
WATCHED = "watched"
"""As the first word: faults made by hand, and what the screen says of them (`chaos.watched`)."""


@dataclass(frozen=True)
class Run:
    """What a run was and what it showed."""

    seed: int
    seconds: float
    outcomes: Sequence[Outcome]
    worst_stall_s: float
    ended: Sequence[End]
    verdict: Verdict

    def problems(self) -> list[str]:
        """One line each; none when all is well."""
        stuck = [f"no recovery from: {one.fault}" for one in self.outcomes if one.recovery_s is None]
        return stuck + self.verdict.problems()

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        total = self.verdict.report.total
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "faults": [{**asdict(one.fault), "recovery_s": one.recovery_s, "reached": one.reached} for one in self.outcomes],
            "records": self.verdict.emitted,
            "records_with_heartbeats": total.emitted,
            "worst_stall_s": round(self.worst_stall_s, 1),
            "recovery_s": recoveries(self.outcomes),
            "ended_badly": [str(one) for one in self.ended],
            "events": dict(sorted(self.verdict.events.items())),
            "audit": asdict(total),
            "missing": self.verdict.missing,
            "double": self.verdict.double,
            "problems": self.problems(),
        }


@contextmanager
def run(
    plan: Sequence[Fault], folder: Path, *, seed: int, rate: float, records: int = 0, tell: bool = False
) -> Iterator[tuple[Settings, Run]]:
    """Break what the plan says while load goes on, until `records` are emitted as well; then judge. The store is still there."""
    began = time.monotonic()
    with stage(folder) as made:
        with pipeline(made.settings, folder, **made.by_role) as services:
            oracles = [oracle_of(folder, f"agent-{copy}") for copy in COPIES]
            with Progress(oracles, conninfo(made.settings.store)) as progress:
                chaos = Chaos(made, services, progress, seed, rate)
                _break_all(chaos, plan, records=records, tell=tell)
                worst = progress.worst_stall_s
            verdict = judge(chaos)
        yield made.settings, Run(seed, time.monotonic() - began, chaos.outcomes, worst, services.ended, verdict)


def _break_all(chaos: Chaos, plan: Sequence[Fault], *, records: int, tell: bool) -> None:
    chaos.begin()
    chaos.wait(BEGIN_S, lambda: chaos.progress.stored > 0)
    for number, fault in enumerate(plan, 1):
        outcome = chaos.suffer(fault)
        if tell:
            _tell(number, len(plan), outcome, chaos.progress)
    while chaos.progress.emitted < records:
        chaos.wait(1.0)


def recoveries(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Seconds by kind of fault: median and most."""
    found: dict[str, list[float]] = {}
    for one in outcomes:
        if one.recovery_s is not None:
            found.setdefault(one.fault.kind, []).append(one.recovery_s)
    return {
        kind: {"faults": len(times), "median": round(statistics.median(times), 1), "most": round(max(times), 1)}
        for kind, times in sorted(found.items())
    }


def describe(run: Run) -> list[str]:
    """The report, for people."""
    found = run.as_json()
    pointed = [one for one in run.outcomes if one.fault.kind is Kind.POINT]
    lines = [f"{number:>4} {_line(one)}" for number, one in enumerate(run.outcomes, 1)]
    lines += ["", "recovery in seconds    faults  median    most"]
    lines += [
        f"  {kind:<20} {by['faults']:>6.0f}  {by['median']:>6.1f}  {by['most']:>6.1f}" for kind, by in found["recovery_s"].items()
    ]
    lines += ["", f"seed {run.seed}, {len(run.outcomes)} faults in {run.seconds:.0f} s"]
    lines.append(f"deaths between two lines: {sum(one.reached for one in pointed)} of {len(pointed)} points were come to")
    lines.append(f"records: {found['records']}, with heartbeats {found['records_with_heartbeats']}")
    lines.append(f"worst stall: {found['worst_stall_s']} s")
    lines += [f"{len(run.ended)} ended by themselves or not well", *(f"  {one}" for one in run.ended)]
    lines.append(f"events: {_counts(found['events'])}")
    lines.append(f"audit: {_counts(found['audit'])}")
    return [*lines, *(f"PROBLEM {line}" for line in run.problems())]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _line(outcome: Outcome) -> str:
    recovery = "did not recover" if outcome.recovery_s is None else f"recovered in {outcome.recovery_s:.1f} s"
    return f"{outcome.fault}{'' if outcome.reached else ' (not come to)'}: {recovery}"


def _tell(number: int, count: int, outcome: Outcome, progress: Counts) -> None:
    state = f"{progress.emitted} emitted, {progress.stored} stored"
    print(f"{number}/{count} {_line(outcome)}; {state}", file=sys.stderr, flush=True)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make soak",
        description="Break everything at random under load, then count.",
        epilog="`streams ...`: the streams alone; `watched ...`: faults one by one, and what the screen says of them.",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the plan of faults and of the load")
    parser.add_argument("--faults", type=_positive, default=100, help="how many")
    parser.add_argument("--only", type=Kind, action="append", metavar="KIND", help=f"again and again: {', '.join(Kind)}")
    parser.add_argument("--records", type=int, default=0, help="go on, without faults, until so many are emitted")
    parser.add_argument("--rate", type=float, default=RATE, help="records per second of each of the two agents")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="work in this new folder and leave settings, logs and oracles there"
    )
    parser.add_argument(
        "--histories",
        type=_positive,
        metavar="N",
        help="break nothing; simulate so many histories of the streams, from the seed on",
    )
    parser.add_argument("--plan", action="store_true", help="print the faults and do nothing")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _folder(chosen: Path | None) -> Path:
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix="pganalytics-soak-"))
    chosen.mkdir(parents=True)
    return chosen.resolve()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [STREAMS]:
        return streams_soak.main(words[1:])
    if words[:1] == [WATCHED]:
        return watched.main(words[1:])
    chosen = _parsed(words)
    if chosen.histories is not None:
        summary = simulate(range(chosen.seed, chosen.seed + chosen.histories))
        print("\n".join(describe_histories(summary)))
        return int(bool(summary.problems))
    plan = make_plan(chosen.seed, chosen.faults, chosen.only or tuple(Kind))
    if chosen.plan:
        print("\n".join(f"{number:>4} {fault}" for number, fault in enumerate(plan, 1)))
        return 0
    folder = _folder(chosen.folder)
    print(f"logs are in {folder} while it runs", file=sys.stderr)
    with run(plan, folder, seed=chosen.seed, rate=chosen.rate, records=chosen.records, tell=True) as (_, found):
        print("\n".join(describe(found)), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")
    bad = bool(found.problems())
    if bad:
        again = "".join(f"--only {kind} " for kind in chosen.only or ())
        again += f"--seed {chosen.seed} --faults {chosen.faults} --records {chosen.records} --rate {chosen.rate:g}"
        print(f'again: make soak ARGS="{again}"; logs and oracles are in {folder}')
    elif chosen.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"missing {found.verdict.missing}, double {found.verdict.double}")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
