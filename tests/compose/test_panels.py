"""Every panel of every dashboard shows something once the pipeline of compose.yaml has run for a while with its workload."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from compose.dashboards import NAMES, Panel, Query, Shown, expand_promql, expand_sql, load_dashboard, panels
from compose.laptop import TARGETS, Laptop
from pganalytics.embedded.kafka import KafkaBroker
from pganalytics.schemas.metric import builtin_schemas
from promql.evaluation import evaluate
from waiting import until

PANELS = [panel for name in NAMES for panel in panels(name)]
SOON_S = 90.0
"""Readings come every second; sizes, texts and status of all databases have come after a few of them."""


@pytest.fixture(scope="module")
def laptop(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """All of it, after a few things went wrong: an agent was killed, a record cannot be stored, a target was changed."""
    with Laptop(kafka.bootstrap, tmp_path_factory.mktemp("laptop")) as running:
        until(lambda: tables(running) == len(builtin_schemas()), 60, what="the sink's tables, which it makes when it starts")
        until(lambda: has(running, "metrics.roles where collector = 'db14'"), 90, what="what is changed was read before")
        until(lambda: collectors(running) == set(TARGETS), 90, what="heartbeats of all targets")
        running.poison()
        running.kill("collect")
        until(lambda: has(running, "pganalytics.events where kind = 'restarted'"), 90, what="the restart is noticed")
        running.change()
        yield running


def tables(laptop: Laptop) -> int:
    """How many metrics have one."""
    return int(laptop.ask_store("select count(distinct metric) from pganalytics.schemas")[1][0][0])


def has(laptop: Laptop, rows: str) -> bool:
    """Whether there are such rows."""
    return bool(laptop.ask_store(f"select from {rows} limit 1")[1])


def collectors(laptop: Laptop) -> set[str]:
    """Those of which something was stored."""
    return {name for (name,) in laptop.ask_store("select distinct collector from pganalytics.epochs")[1]}


def shown(target: str) -> Shown:
    """The last 15 minutes."""
    now = datetime.now(UTC)
    return Shown(now - timedelta(minutes=15), now + timedelta(seconds=5), target)


def rows_of(laptop: Laptop, query: Query, target: str) -> list[dict[str, Any]]:
    """What the store gives, as Grafana would get it; the form that it needs is checked on the way."""
    columns, rows = laptop.ask_store(expand_sql(query.text, shown(target)))
    assert len(set(columns)) == len(columns)
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    if query.as_series:
        assert_is_series(columns, found)
    return found


def assert_is_series(columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Times in order, and numbers; a text column tells series apart, and no point is there twice."""
    assert columns[0] == "time"
    named = columns[1] == "metric"
    assert len(columns) == 3 if named else len(columns) > 1
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    points = [(row["time"], row.get("metric")) for row in rows]
    assert len(set(points)) == len(points)
    for row in rows:
        assert not named or isinstance(row["metric"], str)
        assert all(row[column] is not None for column in columns[2:] if named)


def looks_of(laptop: Laptop, query: Query) -> list[float]:
    """When Prometheus would evaluate it: a graph at many moments, a number at the last one."""
    return laptop.looks if query.as_series else laptop.looks[-1:]


def shows(laptop: Laptop, panel: Panel, target: str) -> bool:
    """Whether each of its queries gives something to show."""
    for query in panel.queries:
        if query.source == "store":
            rows = rows_of(laptop, query, target)
            if not any(value is not None for row in rows for name, value in row.items() if name not in ("time", "metric")):
                return False
        elif not any(evaluate(expand_promql(query.text, target), laptop.history, at_s) for at_s in looks_of(laptop, query)):
            return False
    return True


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.id)
def test_a_panel_shows_something(laptop: Laptop, panel: Panel) -> None:
    """Of one target at least, where it shows one: what a server of an older version lacks, the panel's own text says."""

    def looked() -> bool:
        laptop.scrape()
        return any(shows(laptop, panel, target) for target in (TARGETS if panel.has_target else ("",)))

    until(looked, SOON_S, every_s=1, what=panel.title)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.id)
def test_columns_that_are_dressed_up_are_there(laptop: Laptop, panel: Panel) -> None:
    named = {one["matcher"]["options"] for one in panel.raw["fieldConfig"]["overrides"]}
    assert all(one["matcher"]["id"] == "byName" for one in panel.raw["fieldConfig"]["overrides"])
    columns: set[str] = set()
    for query in panel.queries:
        if query.source == "store":
            columns |= set(laptop.ask_store(expand_sql(query.text, shown("db14")))[0])
    assert named <= columns


@pytest.mark.parametrize("name", [name for name in NAMES if load_dashboard(name)["templating"]["list"]])
def test_targets_can_be_chosen(laptop: Laptop, name: str) -> None:
    (variable,) = load_dashboard(name)["templating"]["list"]
    assert laptop.ask_store(variable["query"])[1] == [(target,) for target in sorted(TARGETS)]


def test_a_panel_of_nobody_shows_nothing(laptop: Laptop) -> None:
    """The control: a target that there is not; what is asked of the store is of this target alone."""
    for panel in PANELS:
        if panel.has_target:
            assert not shows(laptop, panel, "nobody"), panel.id


def test_grafana_may_read_and_nothing_else(laptop: Laptop) -> None:
    for statement in ("create table pganalytics.mine (n int)", "delete from pganalytics.ledger", "create schema mine"):
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            laptop.ask_store(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            laptop.ask_store(statement, options="-c default_transaction_read_only=off")


def test_the_workload_goes_on(laptop: Laptop) -> None:
    """pgbench says nothing while all is well."""
    assert laptop.log("workload") == ""
