"""`pganalytics metrics list` and `show`: what is measured, how often, what it needs; the user's own metrics among them."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption, load, printable, result_console
from pganalytics.producers.metric_reference import Described, describe, facts_of, field_rows
from pganalytics.producers.own_metrics import load_own_metrics
from pganalytics.runtime.errors import ProblemFound, SettingsError
from pganalytics.schemas.metric import builtin_schemas


def list_(config: ConfigOption = None, *, json_output: JsonOption = False, verbose: VerboseOption = False) -> None:
    """All metrics, one line each."""
    metrics = known(config, verbose=verbose)
    if json_output:
        print(json.dumps([_line(name, one) for name, one in metrics.items()]))
        return
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for heading in ("metric", "lane", "scope", "every", "preset", "needs server, right"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("metric", "lane", "scope", "every", "preset"))
    for name, one in metrics.items():
        schema = one.schema
        privilege = one.privilege.split(" (")[0]
        needs = ", ".join(each for each in (one.needs, privilege) if each not in ("", "none"))
        cells = (name, schema.lane, schema.scope, f"{schema.interval_s} s", one.preset, needs)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    result_console().print(table)


def show(
    name: Annotated[str, typer.Argument(help="The metric.")],
    config: ConfigOption = None,
    *,
    server_version: Annotated[
        int | None, typer.Option(min=1, max=99, help="Show the query for this major version; default: the newest.")
    ] = None,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Exit code 1 when no query of the metric fits the server version."""
    metrics = known(config, verbose=verbose)
    if name not in metrics:
        raise SettingsError(f"no metric {printable(name)}; known: {', '.join(metrics)}")
    one = metrics[name]
    variant = one.variant_for(server_version)
    if variant is None and one.variants:
        raise ProblemFound(f"{name}: no query for PostgreSQL {server_version}; it needs {one.needs} or later")
    if json_output:
        query = None if variant is None else {"variant": variant.name, "context": variant.context, "groups": dict(variant.groups)}
        print(json.dumps({**_line(name, one), "fields": one.schema.avro["fields"], "query": query}))
        return
    print("\n".join(map(_printable_lines, _text(one))))
    if variant is not None:
        print(f"\nquery {name}/{variant.name}.sql")
        parts = {**({} if variant.context is None else {"context": variant.context}), **variant.groups}
        for part, text in parts.items():
            print(_printable_lines(f"-- {part}\n{text};"))


def known(config: Path | None, *, verbose: bool) -> dict[str, Described]:
    """Those of the package and those of the settings' folder, which is checked. Raises SettingsError."""
    settings = load(config, verbose=verbose)
    return describe(*load_own_metrics(settings.collect.metrics_dir, builtin_schemas()))


def _line(name: str, one: Described) -> dict[str, Any]:
    schema = one.schema
    return {
        "name": name,
        "doc": schema.doc,
        "lane": schema.lane.value,
        "scope": schema.scope.value,
        "interval_s": schema.interval_s,
        "timeout_s": schema.timeout_s,
        "retention_days": schema.retention_days,
        "presets": list(one.presets),
        "server": one.needs,
        "privilege": one.privilege,
    }


def _text(one: Described) -> list[str]:
    facts = list(facts_of(one))
    rows = [("field", "type", "role", "unit", "says"), *field_rows(one.schema)]
    widths = [max(len(row[column].strip("`")) for row in rows) for column in range(4)]
    lines = [f"{one.schema.name}: {one.schema.doc}", "", *(f"{label:<10} {value}" for label, value in facts), ""]
    for row in rows:
        cells = (f"{cell.strip('`'):<{width}}" for cell, width in zip(row[:4], widths, strict=True))
        lines.append(f"{'  '.join(cells)}  {row[4]}")
    return lines


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())
