"""What can be said of a metric without any server: for `pganalytics metrics`, and the document that is made from it. Pure."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pganalytics.producers.catalogue import Variant, load_catalogue
from pganalytics.producers.collectors import DEFAULT_LIMIT, WITHOUT_READING
from pganalytics.producers.presets import metrics_of
from pganalytics.runtime.settings import Preset
from pganalytics.schemas.metric import Field, MetricSchema, builtin_schemas

PRESETS: tuple[Preset, ...] = ("minimal", "standard", "full", "cloud")
NO_QUERY = "made by the agent, from what it knows itself or from what other metrics read"

HEAD = """\
# Metrics

Made from `src/pganalytics/schemas/avro` and the queries beside it by `make docs`. `pganalytics metrics list` and `metrics show
NAME` say the same of the metrics of an installation, your own among them.

A record is one row of the table `metrics.<name>` in the store; the view `metrics.<name>_rows` has one line per row of the
reading. Each record begins with its identity (`collector`, `epoch`, `lane`, `seq`), with `collected_at`, `since`, `part` and
`parts`; these are left out below. Values of counters are what was added in the interval (`since`, `collected_at`]. A field with a
group is an array with one value per row of that group.
"""


@dataclass(frozen=True, slots=True)
class Described:
    """A metric, the variants of its query (none for what the agent makes itself), and the presets that switch it on."""

    schema: MetricSchema
    variants: Sequence[Variant]
    presets: tuple[str, ...]

    @property
    def preset(self) -> str:
        """In one word, from the least preset that has it."""
        return next((name for name in PRESETS if name in self.presets), "own")

    @property
    def needs(self) -> str:
        """The oldest server, and the extension where there is one."""
        if not self.variants:
            return ""
        server = _text(min(one.server for one in self.variants))
        extensions = [one.extension for one in self.variants if one.extension is not None]
        return f"{server}, {min(extensions)[0]} {_text(min(extensions)[1])}" if extensions else server

    @property
    def privilege(self) -> str:
        """What its newest query needs."""
        return self.variants[-1].privilege if self.variants else "none"

    def variant_for(self, server: int | None) -> Variant | None:
        """The greatest whose server is at most that major, or the newest; an old extension may call for a lesser one."""
        fitting = [one for one in self.variants if server is None or one.server <= (server,)]
        return fitting[-1] if fitting else None


def describe(own: Mapping[str, MetricSchema], own_variants: Mapping[str, Sequence[Variant]]) -> dict[str, Described]:
    """All metrics by name: those that come with the package, and the user's."""
    builtin = builtin_schemas()
    variants = {**load_catalogue(builtin).variants, **own_variants}
    presets = {name: tuple(preset for preset in PRESETS if name in metrics_of(preset, builtin)) for name in builtin}
    return {
        name: Described(schema, variants.get(name, ()), presets.get(name, ()))
        for name, schema in sorted({**builtin, **own}.items())
    }


def facts_of(one: Described) -> Iterator[tuple[str, str]]:
    """(name, value) of what the schema says about the metric as a whole."""
    schema = one.schema
    yield "lane", schema.lane.value
    yield "scope", schema.scope.value
    yield "interval", f"{schema.interval_s} s" if schema.name not in WITHOUT_READING else "with the metrics that it is made from"
    yield "timeout", f"{schema.timeout_s} s"
    yield "sent", _sent(schema)
    yield "kept", f"{schema.retention_days} days"
    yield "presets", ", ".join(one.presets) or "all: it is your own"
    if one.variants:
        yield "server", f"PostgreSQL {one.needs}"
        yield "privilege", one.privilege
    else:
        yield "query", NO_QUERY
    if schema.rank_by:
        yield "ranked by", f"{schema.rank_by}; {DEFAULT_LIMIT} rows in detail unless `limit` is set, the rest summed in one row"
    for name, value in schema.parameters.items():
        yield "parameter", f"{name} = {value}"


def _sent(schema: MetricSchema) -> str:
    said = {"all": "all rows", "any": "all rows, when there are any", "new": "rows whose key is new", "changed": "changed rows"}
    again = f", each again after {schema.resend_s // 3600} h" if schema.resend_s is not None else ""
    return said[schema.send.value] + again


def type_of(field: Field) -> str:
    """As it is in a record."""
    return f"{field.primitive}[] ({field.group})" if field.group else field.primitive


def as_markdown(metrics: Mapping[str, Described]) -> str:
    """The document."""
    return "\n".join(_lines(metrics)) + "\n"


def _lines(metrics: Mapping[str, Described]) -> Iterator[str]:
    yield HEAD
    yield from ("| metric | lane | scope | interval | from preset | server | says |", "|---|---|---|---|---|---|---|")
    for name, one in metrics.items():
        schema = one.schema
        cells = (schema.lane, schema.scope, f"{schema.interval_s} s", one.preset, one.needs, schema.doc)
        yield f"| [`{name}`](#{name}) | {' | '.join(map(_cell, cells))} |"
    for name, one in metrics.items():
        yield from ("", f"## {name}", "", one.schema.doc, "", "| | |", "|---|---|")
        yield from (f"| {label} | {_cell(value)} |" for label, value in facts_of(one))
        yield from ("", "| field | type | role | unit | says |", "|---|---|---|---|---|")
        yield from (f"| {' | '.join(map(_cell, cells))} |" for cells in field_rows(one.schema))


def field_rows(schema: MetricSchema) -> Iterator[tuple[str, str, str, str, str]]:
    """(name, type, role, unit, what it says) of each field of its own."""
    for field in schema.fields:
        redacted = " Redacted." if field.redact else ""
        yield f"`{field.name}`", type_of(field), field.role.value, field.unit or "", field.doc + redacted


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.stdout.write(as_markdown(describe({}, {})))
