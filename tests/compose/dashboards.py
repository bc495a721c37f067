"""The dashboards as Grafana reads them: their panels, and what becomes of a query before it is sent."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from compose.compose_model import COMPOSE

FOLDER = COMPOSE / "grafana/dashboards"
NAMES = ("pipeline", "fleet", "target", "statements")
INTERVAL_S = 15
RATE_INTERVAL_S = 20
"""What Grafana makes of four scrapes that are 5 s apart."""
MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")


@dataclass(frozen=True)
class Query:
    """One query of a panel; the texts are as they stand in the file."""

    source: str
    text: str
    as_series: bool
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel that shows data. `raw` is all that the file says of it."""

    dashboard: str
    title: str
    queries: tuple[Query, ...]
    raw: dict[str, Any]

    @property
    def id(self) -> str:
        """Its name in test reports."""
        return f"{self.dashboard}: {self.title}"

    @property
    def has_target(self) -> bool:
        """Whether it shows the target that is chosen."""
        return any(
            "target" in query.text and "$" in query.text and re.search(r"\$\{?target", query.text) for query in self.queries
        )


@dataclass(frozen=True)
class Shown:
    """What a user has chosen: a time, and a target."""

    begin: datetime
    end: datetime
    target: str = ""


def load_dashboard(name: str) -> dict[str, Any]:
    """One file."""
    found = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def panels(name: str) -> Iterator[Panel]:
    """Those of a dashboard, without the headings between them."""
    for raw in load_dashboard(name)["panels"]:
        if raw["type"] != "row":
            yield Panel(name, raw["title"], tuple(_query(target) for target in raw["targets"]), raw)


def _query(target: dict[str, Any]) -> Query:
    source = target["datasource"]["uid"]
    if source == "store":
        assert target["format"] in ("table", "time_series")
        return Query(source, target["rawSql"], target["format"] == "time_series", "")
    return Query(source, target["expr"], bool(target["range"]), target["legendFormat"])


def expand_sql(text: str, shown: Shown) -> str:
    """The statement that PostgreSQL gets. A macro or variable that is not known here fails."""
    text = text.replace("${target:sqlstring}", sql.Literal(shown.target).as_string(None).strip())
    text = text.replace("$__interval", f"{INTERVAL_S}s")
    made = MACRO.sub(lambda match: _macro(match[1], [one.strip() for one in match[2].split(",")], shown), text)
    assert "$" not in made, f"not understood: {made}"
    return made


def _macro(name: str, arguments: list[str], shown: Shown) -> str:
    if name == "__timeFilter":
        (column,) = arguments
        return f"{column} BETWEEN '{_rfc3339(shown.begin)}' AND '{_rfc3339(shown.end)}'"
    assert name == "__timeGroupAlias", f"not a macro that is known here: {name}"
    column, interval = arguments
    assert interval == f"{INTERVAL_S}s"
    return f'floor(extract(epoch from {column})/{INTERVAL_S})*{INTERVAL_S} AS "time"'


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def expand_promql(text: str, target: str) -> str:
    """The expression that Prometheus gets."""
    made = text.replace("$__rate_interval", f"{RATE_INTERVAL_S}s").replace("$target", target)
    assert "$" not in made, f"not understood: {made}"
    return made


def named_files() -> set[str]:
    """The dashboards that are there."""
    return {path.stem for path in Path(FOLDER).glob("*.json")}
