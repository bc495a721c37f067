"""The queries: `queries/<metric>/<variant>.sql`, each of which runs in psql unchanged.

Comment lines `-- name: value` at the top say what a query costs and needs. `-- context` begins a statement that gives one row
about the server (optional), `-- rows` the one that gives the rows, `-- group NAME` one for each further group of the schema.
`:name` stands for a parameter of the metric (psql takes the file's own `\\set`), `:"schema"` for the schema of the extension.

A variant fits when the server, and the extension where one is
named, are at least of its versions; the greatest that fits is taken. The extension's version decides, not the server's: an
old extension can live on a new server.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable

from psycopg import sql

from pganalytics.producers.results import Kind, Unavailable
from pganalytics.runtime.errors import Crash

Version = tuple[int, ...]
_LINE = re.compile(r"-- (scope|interval|timeout|privilege|server|extension): (.+)")
_SECTION = re.compile(r"-- (context|rows|group ([a-z][a-z0-9_]*))")
_SCHEMA_VARIABLE = ':"schema"'
_PARAMETER = re.compile(r"(?<![:\w]):([a-z][a-z0-9_]*)\b")


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension as it is installed in the connected database. `usable`: whether the role may look into its schema."""

    version: Version
    schema: str
    usable: bool = True


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What decides about variants; of one connection. `extensions` is None where they were not looked at."""

    server: Version
    dbname: str
    role: str
    reads_all_stats: bool
    extensions: Mapping[str, Extension] | None

    @property
    def installed(self) -> Mapping[str, Extension]:
        """The extensions that are known of."""
        return self.extensions or {}


@dataclass(frozen=True, slots=True)
class Variant:
    """One .sql file: the statement of the context, and one by group of the schema. `extension` is (name, least version)."""

    metric: str
    name: str
    scope: str
    interval: str
    timeout: str
    privilege: str
    server: Version
    extension: tuple[str, Version] | None
    context: str | None
    groups: Mapping[str, str]

    @property
    def parameters(self) -> frozenset[str]:
        """The parameters that its statements use."""
        texts = (*self.groups.values(), self.context or "")
        return frozenset(name for text in texts for name in _PARAMETER.findall(text))

    def statements(self, facts: ServerFacts, parameters: Mapping[str, int]) -> tuple[str | None, dict[str, str]]:
        """Context and groups as they are sent: marked as ours, parameters and the extension's schema put in."""
        schema = ""
        if self.extension is not None:
            schema = sql.Identifier(facts.installed[self.extension[0]].schema).as_string(None)

        values = tuple(parameters.items())
        context = None if self.context is None else _ready(self.context, self.metric, schema, values)
        return context, {group: _ready(text, self.metric, schema, values) for group, text in self.groups.items()}


@lru_cache(maxsize=1024)
def _ready(text: str, metric: str, schema: str, values: tuple[tuple[str, int], ...]) -> str:
    parameters = dict(values)
    filled = _PARAMETER.sub(lambda match: str(parameters[match[1]]), text)
    return f"/* pganalytics:{metric} */ {filled.replace(_SCHEMA_VARIABLE, schema)}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All variants by metric."""

    variants: Mapping[str, tuple[Variant, ...]]

    def needs_extension(self, metric: str) -> bool:
        """Whether a query of this metric reads an extension."""
        return any(one.extension is not None for one in self.variants[metric])

    def choose(self, metric: str, facts: ServerFacts) -> Variant | Unavailable:
        """The greatest variant that fits, or why there is none and what to do."""
        variants = self.variants[metric]
        for_server = [one for one in variants if one.server <= facts.server or one.extension is not None]
        if not for_server:
            oldest = min(variants, key=lambda one: one.server)
            return Unavailable(
                f"server version {_text(facts.server)} is too old",
                f"upgrade the server to {_text(oldest.server)} or later",
                Kind.VERSION,
            )
        fitting = [one for one in for_server if _extension_fits(one, facts)]
        if not fitting:
            return _missing_extension(for_server, facts)
        role = sql.Identifier(facts.role).as_string(None)
        best = max(fitting, key=lambda one: (one.extension or ("", ()), one.server))
        if best.privilege.startswith("pg_read_all_stats") and not facts.reads_all_stats:
            grant = f"GRANT pg_monitor TO {role}"
            return Unavailable(f"role {facts.role} may not read all statistics", grant, Kind.PRIVILEGE, f"{grant};")
        if best.extension is not None and not facts.installed[best.extension[0]].usable:
            where = facts.installed[best.extension[0]].schema
            schema = sql.Identifier(where).as_string(None)
            return Unavailable(
                f"role {facts.role} may not use schema {where} of database {facts.dbname}",
                f"in database {facts.dbname}: GRANT USAGE ON SCHEMA {schema} TO {role}",
                Kind.PRIVILEGE,
                f"GRANT USAGE ON SCHEMA {schema} TO {role};",
                facts.dbname,
            )
        return best


def load_catalogue(metrics: Iterable[str], folder: Traversable | None = None) -> Catalogue:
    """Read the queries of these metrics, from the package unless a folder is given."""
    folder = folder or resources.files("pganalytics.producers").joinpath("queries")
    return Catalogue({metric: found for metric in metrics if (found := read_variants(metric, folder))})


def read_variants(metric: str, folder: Traversable) -> tuple[Variant, ...]:
    """The variants of one metric, oldest first; none when the folder has none."""
    place = folder.joinpath(metric)
    entries = [entry for entry in place.iterdir() if entry.name.endswith(".sql")] if place.is_dir() else []
    parsed = (parse_variant(metric, entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8")) for entry in entries)
    return tuple(sorted(parsed, key=lambda one: version_of(one.name)))


def parse_variant(metric: str, name: str, text: str) -> Variant:
    """Read one file; a header that lacks a line is a mistake of ours."""
    head: dict[str, str] = {}
    sections: dict[str, list[str]] = {}
    section: list[str] | None = None
    for line in text.splitlines():
        if begins := _SECTION.fullmatch(line):
            section = sections.setdefault(begins[2] or begins[1], [])
        elif section is not None:
            section.append(line)
        elif match := _LINE.fullmatch(line):
            head[match[1]] = match[2]
    if missing := {"scope", "interval", "timeout", "privilege", "server"} - set(head) or {"rows"} - set(sections):
        raise Crash(f"query {metric}/{name}.sql: no {', '.join(sorted(missing))}")
    extension = head["extension"].split() if "extension" in head else None
    statements = {part: "\n".join(lines).strip().removesuffix(";") for part, lines in sections.items()}
    return Variant(
        metric=metric,
        name=name,
        scope=head["scope"],
        interval=head["interval"],
        timeout=head["timeout"],
        privilege=head["privilege"],
        server=version_of(head["server"]),
        extension=(extension[0], version_of(extension[1])) if extension else None,
        context=statements.pop("context", None),
        groups=statements,
    )


def version_of(text: str) -> Version:
    """1.10 is later than 1.9; what is no number ends the comparison."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _extension_fits(variant: Variant, facts: ServerFacts) -> bool:
    if variant.extension is None:
        return True
    name, least = variant.extension
    return name in facts.installed and facts.installed[name].version >= least


def _missing_extension(variants: Iterable[Variant], facts: ServerFacts) -> Unavailable:
    name, least = min(one.extension for one in variants if one.extension is not None)
    quoted = name if name.isidentifier() else sql.Identifier(name).as_string(None)
    if name in facts.installed:
        return Unavailable(
            f"extension {name} is older than {_text(least)} in database {facts.dbname}",
            f"in database {facts.dbname}: ALTER EXTENSION {quoted} UPDATE",
            Kind.EXTENSION,
            f"ALTER EXTENSION {quoted} UPDATE;",
            facts.dbname,
        )
    return Unavailable(
        f"extension {name} is not installed in database {facts.dbname}",
        f"in database {facts.dbname}: CREATE EXTENSION {quoted}; it also must be in shared_preload_libraries",
        Kind.EXTENSION,
        f"CREATE EXTENSION {quoted};",
        facts.dbname,
    )


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)
