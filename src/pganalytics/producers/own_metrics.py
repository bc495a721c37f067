"""Metrics of the user: a folder with `<metric>.avsc` and `<metric>/<variant>.sql` for each variant of its query."""

from collections.abc import Mapping
from pathlib import Path

from pganalytics.producers.catalogue import Variant, read_variants
from pganalytics.runtime.errors import Crash, SettingsError
from pganalytics.schemas.errors import SchemaError
from pganalytics.schemas.metric import MetricSchema, load_schema

Own = tuple[dict[str, MetricSchema], dict[str, tuple[Variant, ...]]]


def load_own_metrics(folder: Path | None, builtin: Mapping[str, MetricSchema]) -> Own:
    """Schemas and variants by metric; raises SettingsError with a line for each problem, naming the file."""
    if folder is None:
        return {}, {}
    if not folder.is_dir():
        raise SettingsError(f"collect.metrics_dir {folder}: no such folder")
    schemas: dict[str, MetricSchema] = {}
    variants: dict[str, tuple[Variant, ...]] = {}
    problems = []
    for path in sorted(folder.glob("*.avsc")):
        try:
            schema = load_schema(path.read_text(encoding="utf-8"))
            found = read_variants(schema.name, folder)
        except (OSError, UnicodeDecodeError, SchemaError, Crash) as error:
            problems.append(f"{path}: {error}")
            continue
        problems += [f"{path}: {problem}" for problem in _problems(path, schema, found, builtin)]
        schemas[schema.name], variants[schema.name] = schema, found
    known = {path.stem for path in folder.glob("*.avsc")}
    problems += [
        f"{path}: a folder of queries without {path.name}.avsc beside it"
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name not in known and any(path.glob("*.sql"))
    ]
    if problems:
        raise SettingsError(*problems)
    return schemas, variants


def _problems(path: Path, schema: MetricSchema, found: tuple[Variant, ...], builtin: Mapping[str, MetricSchema]) -> list[str]:
    problems = []
    if schema.name in builtin:
        problems.append(f"metric {schema.name} comes with pganalytics: give yours another name")
    if schema.name != path.stem:
        problems.append(f"the file must be named {schema.name}.avsc")
    if not found:
        problems.append(f"no query: put at least one into {path.with_suffix('')}{'/'}<least server version>.sql")
    for variant in found:
        where = f"{schema.name}/{variant.name}.sql"
        said = (variant.scope, variant.interval, variant.timeout)
        wanted = (schema.scope.value, f"{schema.interval_s} s", f"{schema.timeout_s} s")
        if said != wanted:
            problems.append(f"{where}: scope, interval and timeout are {' / '.join(said)}, in the schema {' / '.join(wanted)}")
        if missing := set(schema.groups) - set(variant.groups):
            problems.append(f"{where}: no section for group {', '.join(sorted(missing))}")
        if unknown := set(variant.parameters) - set(schema.parameters):
            problems.append(f"{where}: no parameter {', '.join(sorted(unknown))} in the schema")
        if schema.counts and variant.context is None:
            problems.append(f"{where}: a metric with counters needs a `-- context` section")
    return problems
