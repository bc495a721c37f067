"""`pganalytics retire`: nothing more will come from a collector, or from a spool that is gone."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load
from pganalytics.runtime.errors import ProblemFound
from pganalytics.sink.retire import Retirement, retire


def run(
    collector: Annotated[str, typer.Argument(help="Its id, as `pganalytics audit` shows it.")],
    config: ConfigOption = None,
    *,
    silent_for: Annotated[
        float, typer.Option(min=0, help="Seconds without a heartbeat after which an epoch that is not orphaned is given up too.")
    ] = 600,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the sink to settle what is left.")] = 60,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 1 when there is nothing to retire but what is alive, or when the sink has not settled it yet."""
    settings = load(config, verbose=verbose)
    done = retire(settings, collector, silent_s=silent_for, wait_s=wait)
    if done is None:
        raise ProblemFound(f"{collector}: the store has never seen this collector: `pganalytics audit` lists those it has")
    if json_output:
        print(json.dumps(asdict(done)))
    else:
        for line in lines(collector, done):
            print(line)
    if done.under_way:
        raise ProblemFound(f"{collector}: what is left is not settled yet: `pganalytics sink` does that, is it running?")
    if done.kept and not done.retired:
        raise ProblemFound(f"{collector}: alive, and nothing of it is orphaned: stop its agent, or see --silent-for")


def lines(collector: str, done: Retirement) -> list[str]:
    """What was done, for people."""
    said = [
        f"{collector}: epoch {one.epoch}, {'orphaned' if one.orphaned else 'silent'}, is retired; {one.left} records were left"
        for one in done.retired
    ]
    said += [f"{collector}: epoch {one.epoch} is alive: kept" for one in done.kept]
    if not said:
        said = [f"{collector}: all its epochs have ended: nothing to retire"]
    return [*said, f"{collector}: missing {done.missing}"]
