"""Which query is sent to which server, and what a user is told when none fits."""

from importlib import resources

import pytest

from pganalytics.producers.catalogue import Catalogue, Extension, ServerFacts, Variant, load_catalogue, parse_variant, version_of
from pganalytics.producers.collectors import WITHOUT_READING
from pganalytics.producers.presets import LOCAL
from pganalytics.producers.results import Unavailable
from pganalytics.runtime.errors import Crash
from pganalytics.schemas.metric import builtin_schemas


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(builtin_schemas())


def facts(server: int, extension: str | None = None, *, reads_all_stats: bool = True, schema: str = "public") -> ServerFacts:
    extensions = {"pg_stat_statements": Extension(version_of(extension), schema)} if extension else {}
    return ServerFacts((server,), "app", "watcher", reads_all_stats, extensions)


@pytest.mark.parametrize(("server", "name"), [(13, "13"), (14, "14"), (15, "14"), (17, "14"), (18, "18"), (19, "18")])
def test_the_greatest_server_version_that_fits_is_taken(catalogue: Catalogue, server: int, name: str) -> None:
    variant = catalogue.choose("database", facts(server))
    assert isinstance(variant, Variant)
    assert variant.name == name


@pytest.mark.parametrize(
    ("server", "extension", "name"),
    [
        (13, "1.8", "1.8"),
        (14, "1.9", "1.9"),
        (15, "1.10", "1.10"),
        (17, "1.11", "1.11"),
        (18, "1.12", "1.12"),
        (18, "1.8", "1.8"),
        (18, "1.9", "1.9"),
        (18, "1.10", "1.10"),
        (19, "1.13", "1.12"),
    ],
)
def test_the_extension_s_version_decides_not_the_server_s(catalogue: Catalogue, server: int, extension: str, name: str) -> None:
    variant = catalogue.choose("statements", facts(server, extension))
    assert isinstance(variant, Variant)
    assert variant.name == name


def test_a_missing_extension_is_named_with_its_cure(catalogue: Catalogue) -> None:
    answer = catalogue.choose("statements", facts(15))
    assert isinstance(answer, Unavailable)
    assert "pg_stat_statements" in answer.reason
    assert "database app" in answer.reason
    assert "in database app: CREATE EXTENSION pg_stat_statements;" in answer.cure
    assert "shared_preload_libraries" in answer.cure


def test_an_old_extension_is_named_with_its_cure(catalogue: Catalogue) -> None:
    answer = catalogue.choose("statements", facts(15, "1.7"))
    assert isinstance(answer, Unavailable)
    assert answer.cure == "in database app: ALTER EXTENSION pg_stat_statements UPDATE"


def test_a_missing_privilege_is_named_with_its_cure(catalogue: Catalogue) -> None:
    answer = catalogue.choose("statements", facts(15, "1.10", reads_all_stats=False))
    assert isinstance(answer, Unavailable)
    assert answer.cure == 'GRANT pg_monitor TO "watcher"'
    assert isinstance(catalogue.choose("heartbeat", facts(15, reads_all_stats=False)), Variant)


def test_a_schema_that_the_role_may_not_use_is_named_with_its_cure(catalogue: Catalogue) -> None:
    closed = ServerFacts((15,), "app", "watcher", True, {"pg_stat_statements": Extension((1, 10), 'my "x"', usable=False)})
    answer = catalogue.choose("statements", closed)
    assert isinstance(answer, Unavailable)
    assert answer.cure == 'in database app: GRANT USAGE ON SCHEMA "my ""x""" TO "watcher"'


def test_a_server_that_is_too_old_is_named(catalogue: Catalogue) -> None:
    answer = catalogue.choose("database", facts(12))
    assert isinstance(answer, Unavailable)
    assert "13" in answer.cure


def test_the_extension_s_schema_is_quoted_into_the_query(catalogue: Catalogue) -> None:
    where = facts(15, "1.10", schema='od"d')
    variant = catalogue.choose("statements", where)
    assert isinstance(variant, Variant)
    context, groups = variant.statements(where, {})
    rows = groups["rows"]
    assert rows.endswith('from "od""d".pg_stat_statements(false) s')
    assert context is not None
    assert '"od""d".pg_stat_statements_info()' in context
    assert rows.startswith("/* pganalytics:statements */ ")


def test_headers_say_what_the_schemas_say(catalogue: Catalogue) -> None:
    assert set(catalogue.variants) == set(builtin_schemas()) - WITHOUT_READING - LOCAL
    for metric in catalogue.variants:
        schema = builtin_schemas()[metric]
        for variant in catalogue.variants[metric]:
            said = (variant.scope, variant.interval, variant.timeout)
            assert said == (schema.scope.value, f"{schema.interval_s} s", f"{schema.timeout_s} s"), variant.name


def test_a_query_without_its_header_is_refused() -> None:
    text = resources.files("pganalytics.producers").joinpath("queries/database/14.sql").read_text(encoding="utf-8")
    with pytest.raises(Crash, match=r"database/14\.sql: no server"):
        parse_variant("database", "14", text.replace("-- server: 14\n", ""))
    with pytest.raises(Crash, match="no rows"):
        parse_variant("database", "14", text.replace("-- rows\n", ""))
