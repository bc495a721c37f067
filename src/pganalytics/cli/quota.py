"""`pganalytics quota set`, `list` and `unset`: what a collector, or all that a pattern fits, may send."""

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load, printable, result_console, say
from pganalytics.runtime.errors import ProblemFound
from pganalytics.runtime.settings import Quota
from pganalytics.streams.quota_overrides import is_pattern
from pganalytics.streams.quota_topic import Listed, list_quotas, set_quota, unset_quota

KEYS = ("records_per_s", "rows_per_s", "bytes_per_s", "burst_s")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A collector's id, or a pattern: * for any characters, ? for any one.")
]


def set_(
    name: NameArgument,
    config: ConfigOption = None,
    *,
    records_per_s: Annotated[float | None, typer.Option(help="Records per second.")] = None,
    rows_per_s: Annotated[float | None, typer.Option(help="Rows per second.")] = None,
    bytes_per_s: Annotated[float | None, typer.Option(help="Bytes of bodies per second.")] = None,
    burst_s: Annotated[float | None, typer.Option(help="Seconds of quota that may be saved up.")] = None,
    verbose: VerboseOption = False,
) -> None:
    """What is not given is as in the settings of the streams, whatever was set before."""
    options = dict(zip(KEYS, (records_per_s, rows_per_s, bytes_per_s, burst_s), strict=True))
    given = {key: value for key, value in options.items() if value is not None}
    override = set_quota(load(config, verbose=verbose), name, given)
    told = ", ".join(f"{key} {_shown(value)}" for key, value in override.given.items())
    say(f"{printable(name)}: {told}; what is not given is as in the settings; in effect within 5 s")


def unset(name: NameArgument, config: ConfigOption = None, *, verbose: VerboseOption = False) -> None:
    """Exit code 1 when nothing is set under this name."""
    if not unset_quota(load(config, verbose=verbose), name):
        raise ProblemFound(f"{printable(name)}: no quota is set under this name: `pganalytics quota list` shows those that are")
    say(f"{printable(name)}: no quota of its own any more; in effect within 5 s")


def list_(config: ConfigOption = None, *, json_output: JsonOption = False, verbose: VerboseOption = False) -> None:
    """Exit code 1 when a record of the topic is ignored because it cannot be used."""
    settings = load(config, verbose=verbose)
    listed = list_quotas(settings)
    if json_output:
        print(json.dumps(as_json(listed, settings.streams.quota)))
    else:
        result_console().print(quota_table(listed, settings.streams.quota))
    if listed.ignored:
        raise ProblemFound("\n".join(f"{printable(name)}: ignored: {printable(why)}" for name, why in listed.ignored.items()))


def as_json(listed: Listed, default: Quota) -> dict[str, object]:
    """For programs. `overrides` in the order in which they are looked for; an absent key is as in `default`."""
    return {
        "default": {key: getattr(default, key) for key in KEYS},
        "overrides": [{"name": name, "pattern": is_pattern(name), **one.given} for name, one in listed.overrides.items()],
        "ignored": [{"name": printable(name), "reason": why} for name, why in listed.ignored.items()],
    }


def quota_table(listed: Listed, default: Quota) -> Table:
    """One line each, the first that fits a collector counts; what is not set is empty."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("name", overflow="fold")
    table.add_column("fits", no_wrap=True)
    for key in KEYS:
        table.add_column(key, justify="right", no_wrap=True)
    for name, one in listed.overrides.items():
        fits = "pattern" if is_pattern(name) else "collector"
        table.add_row(Text(printable(name)), fits, *(_shown(one.given[key]) if key in one.given else "" for key in KEYS))
    table.add_row("(settings)", "all others", *(_shown(getattr(default, key)) for key in KEYS))
    return table


def _shown(value: float) -> str:
    return f"{value:,.12g}"
