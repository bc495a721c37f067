"""The reference of metrics is made from their schemas and queries."""

from pathlib import Path

import pytest

from pganalytics.producers.collectors import WITHOUT_READING
from pganalytics.producers.metric_reference import as_markdown, describe, facts_of, field_rows
from pganalytics.producers.presets import MINIMAL
from pganalytics.schemas.metric import builtin_schemas

ROOT = Path(__file__).parents[3]
METRICS = describe({}, {})


def test_the_document_is_made_from_the_schemas() -> None:
    told = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert told == as_markdown(METRICS), "docs/metrics.md is not what the schemas say: run `make docs`"


def test_every_metric_is_described() -> None:
    assert set(METRICS) == set(builtin_schemas())
    assert {name for name, one in METRICS.items() if one.preset == "minimal"} == MINIMAL & set(METRICS)
    for name, one in METRICS.items():
        assert one.preset in ("minimal", "standard", "full")
        assert bool(one.variants) or name in WITHOUT_READING or dict(facts_of(one))["query"]
        assert [cells[0] for cells in field_rows(one.schema)] == [f"`{field.name}`" for field in one.schema.fields]


@pytest.mark.parametrize(
    ("metric", "server", "variant"),
    [
        ("database", None, "18"),
        ("database", 18, "18"),
        ("database", 17, "14"),
        ("database", 13, "13"),
        ("database", 12, None),
        ("statements", 15, "1.10"),
        ("change", 18, None),
    ],
)
def test_the_variant_for_a_server(metric: str, server: int | None, variant: str | None) -> None:
    found = METRICS[metric].variant_for(server)
    assert (None if found is None else found.name) == variant


def test_the_oldest_versions_by_number_not_by_letters() -> None:
    assert METRICS["statements"].needs == "13, pg_stat_statements 1.8"
    assert METRICS["change"].needs == ""
