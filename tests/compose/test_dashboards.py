"""Dashboards without a server: what every panel has, and that its queries are of a language and name what there is."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pglast
import pytest
import yaml

from compose.compose_model import COMPOSE
from compose.dashboards import NAMES, Panel, Shown, expand_promql, expand_sql, load_dashboard, named_files, panels
from pganalytics.runtime.self_metrics import SELF_METRICS
from promql.language import Aggregation, Binary, Call, Node, Refused, Selector, parse

PANELS = [panel for name in NAMES for panel in panels(name)]
EACH = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.id)
SHOWN = Shown(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), "it's")
LABELS = {one.name: set(one.labels) for one in SELF_METRICS} | {
    "up": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
}
"""What has labels beside those of a scrape."""
SCRAPED = {"job", "instance"}
UNITS = set("short s ms bytes Bps percentunit cps ops rowsps iops".split())
"""Names of Grafana's, each looked up in its own list."""


def expressions(panel: Panel) -> Iterator[Node]:
    for query in panel.queries:
        if query.source == "prometheus":
            yield parse(expand_promql(query.text, "db14"))


def selectors(node: Node) -> Iterator[Selector]:
    match node:
        case Selector():
            yield node
        case Call(_, inner) | Aggregation(_, _, _, inner):
            if inner is not None:
                yield from selectors(inner)
        case Binary(_, left, right):
            yield from selectors(left)
            yield from selectors(right)


def test_the_four_dashboards_are_there() -> None:
    assert named_files() == set(NAMES)
    uids = [load_dashboard(name)["uid"] for name in NAMES]
    assert uids == [f"pganalytics-{name}" for name in NAMES]
    for name in NAMES:
        titles = [panel.title for panel in panels(name)]
        assert len(set(titles)) == len(titles)
        assert load_dashboard(name)["description"].endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_panels_stand_beside_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    raw = load_dashboard(name)["panels"]
    assert [one["id"] for one in raw] == list(range(1, len(raw) + 1))
    for one in raw:
        place = one["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, one["title"]
        taken |= cells


@EACH
def test_a_panel_says_what_it_shows_and_why_it_may_be_empty(panel: Panel) -> None:
    assert panel.raw["description"].endswith(".")
    empty = panel.raw["fieldConfig"]["defaults"]["noValue"]
    assert empty.endswith(".")
    assert len(empty) > 20
    assert "no data" not in empty.lower()


@EACH
def test_a_panel_has_units_that_grafana_knows(panel: Panel) -> None:
    config = panel.raw["fieldConfig"]
    properties = [each for one in config["overrides"] for each in one["properties"] if each["id"] == "unit"]
    named = {each["value"] for each in properties} | {config["defaults"].get("unit", "short")}
    assert named <= UNITS
    assert panel.raw["type"] != "timeseries" or "unit" in config["defaults"]


@EACH
def test_a_panel_reads_sources_that_are_there(panel: Panel) -> None:
    text = (COMPOSE / "grafana/provisioning/datasources/pganalytics.yaml").read_text(encoding="utf-8")
    known = {(one["uid"], one["type"]) for one in yaml.safe_load(text)["datasources"]}
    named = [panel.raw["datasource"], *(target["datasource"] for target in panel.raw["targets"])]
    assert len({one["uid"] for one in named}) == 1
    assert {(one["uid"], one["type"]) for one in named} <= known
    assert [target["refId"] for target in panel.raw["targets"]] == list("ABCDEF"[: len(panel.queries)])


@EACH
def test_expressions_name_what_the_services_serve(panel: Panel) -> None:
    for node in expressions(panel):
        for one in selectors(node):
            assert one.name in LABELS, one.name
            assert {matcher.label for matcher in one.matchers} <= LABELS[one.name] | SCRAPED
    for query in panel.queries:
        if query.source == "prometheus":
            kept = re.findall(r"by \(([a-z, ]+)\)", query.text)
            known = set().union(*(LABELS[one.name] for one in selectors(parse(expand_promql(query.text, "db14"))))) | SCRAPED
            grouped = {label.strip() for labels in kept for label in labels.split(",")}
            assert grouped <= known
            shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
            assert shown <= (grouped if kept else known)
            assert "rate(" not in query.text or "[$__rate_interval]" in query.text


@EACH
def test_statements_are_one_select_each(panel: Panel) -> None:
    for query in panel.queries:
        if query.source == "store":
            (statement,) = pglast.parse_sql(expand_sql(query.text, SHOWN))
            assert isinstance(statement.stmt, pglast.ast.SelectStmt)
            assert query.as_series == ("$__timeGroupAlias(" in query.text)
            assert not query.as_series or "$__timeFilter(" in query.text, "a graph reads no more than it shows"


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_is_there_where_it_is_used(name: str) -> None:
    variables = load_dashboard(name)["templating"]["list"]
    used = any(panel.has_target for panel in panels(name))
    assert [one["name"] for one in variables] == (["target"] if used else [])
    if used:
        assert all(panel.has_target for panel in panels(name)), "a panel shows another target than the others"
        assert variables[0]["multi"] is variables[0]["includeAll"] is False


def test_every_part_of_the_pipeline_has_a_panel() -> None:
    """Loss, lag, lanes, quotas, gaps, spool, pools, cost."""
    named = {one.name for panel in panels("pipeline") for node in expressions(panel) for one in selectors(node)}
    for part in ("accountant_missing", "lag_seconds", "lag_records", "verdict", "events", "spool", "connections", "busy_seconds"):
        in_names = any(part in name for name in named)
        assert in_names or any(part in query.text for panel in panels("pipeline") for query in panel.queries), part


# The expander itself


def test_the_expander_does_as_grafana_does() -> None:
    made = expand_sql(
        "select $__timeGroupAlias(at, $__interval), x from t where $__timeFilter(t.at) and y = ${target:sqlstring}", SHOWN
    )
    assert made == (
        'select floor(extract(epoch from at)/15)*15 AS "time", x from t '
        "where t.at BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-02T00:00:00Z' and y = 'it''s'"
    )
    assert expand_promql('rate(x{c="$target"}[$__rate_interval])', "a") == 'rate(x{c="a"}[20s])'


@pytest.mark.parametrize(
    "text",
    [
        "select $__timeGroup(at, $__interval)",
        "select $__timeFilter(at, 2)",
        "select $other",
        "select ${target}",
        "$__unixEpochFrom()",
    ],
)
def test_the_expander_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        expand_sql(text, SHOWN)


def test_the_evaluator_refuses_what_it_does_not_know() -> None:
    with pytest.raises(Refused):
        parse("histogram_quantile(0.9, x)")
