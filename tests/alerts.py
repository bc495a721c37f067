"""The alert rules that come with us, read strictly, and a Prometheus in small that evaluates them over what services serve."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from promql.alerting import AlertRule
from promql.evaluation import evaluate
from promql.history import NAME, History
from promql.language import Aggregation, Binary, Call, Node, Number, Selector, seconds_of
from waiting import until

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy/prometheus/rules.yaml"
TEMPLATE = re.compile(r"\{\{(.*?)\}\}")
LABEL = re.compile(r" \$labels\.([a-z_]+) ")
VALUE = re.compile(r" \$value( \| (humanize|humanizeDuration|humanizePercentage))? ")


@dataclass(frozen=True)
class Rule(AlertRule):
    """One alert as Prometheus reads it."""

    annotations: Mapping[str, str]

    @property
    def texts(self) -> list[str]:
        """All that may have templates."""
        return [*self.labels.values(), *self.annotations.values()]


def load_rules() -> dict[str, Rule]:
    """By name. A key that is not known here fails: nobody would have looked at it."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    assert document.keys() == {"groups"}
    rules: dict[str, Rule] = {}
    for group in document["groups"]:
        assert group.keys() == {"name", "rules"}
        for raw in group["rules"]:
            rule = _rule(raw)
            assert rule.alert not in rules, f"{rule.alert} is there twice"
            rules[rule.alert] = rule
    names = [group["name"] for group in document["groups"]]
    assert len(set(names)) == len(names)
    return rules


def _rule(raw: dict[str, Any]) -> Rule:
    assert raw.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}, raw
    for_s = seconds_of(raw["for"]) if "for" in raw else 0.0
    return Rule(raw["alert"], raw["expr"], for_s, raw["labels"], raw["annotations"])


def selectors(node: Node) -> list[Selector]:
    """All of an expression."""
    match node:
        case Selector():
            return [node]
        case Aggregation(inner=inner):
            return selectors(inner)
        case Call(argument=argument):
            return [] if argument is None else selectors(argument)
        case Binary(left=left, right=right):
            return selectors(left) + selectors(right)
        case Number():
            return []


def templates(text: str) -> list[str]:
    """What is between the braces, each of a form that Prometheus knows."""
    found = TEMPLATE.findall(text)
    for each in found:
        assert LABEL.fullmatch(each) or VALUE.fullmatch(each), f"no template that is known here: {each}"
    return found


def labels_in(text: str) -> set[str]:
    """Labels that templates ask for; one that an alert lacks would be shown as nothing."""
    return {match[1] for each in templates(text) if (match := LABEL.fullmatch(each))}


@dataclass(frozen=True)
class Fired:
    """One element of a rule's expression, before its `for`: tests/unit/test_alert_durations.py has that."""

    labels: Mapping[str, str]
    value: float


@dataclass
class Watcher:
    """Scrapes services, by job and port, and evaluates rules. `lasts` moves its clock, as when a fault lasts for hours."""

    ports: Mapping[str, int]
    history: History = field(default_factory=History)
    ahead_s: float = 0.0

    @property
    def now_s(self) -> float:
        """Of its clock."""
        return time.time() + self.ahead_s

    def lasts(self, seconds: float) -> None:
        """From now on it is so much later."""
        self.ahead_s += seconds

    def look(self) -> float:
        """Scrape all; the time of it."""
        at_s = self.now_s
        for job, port in self.ports.items():
            self.history.scrape(page_of(port), at_s, job=f"pganalytics-{job}", instance=f"127.0.0.1:{port}")
        return at_s

    def alerts(self, alert: str) -> list[Fired]:
        """After a look: what fires."""
        return self.evaluate(alert, self.look())

    def evaluate(self, alert: str, at_s: float) -> list[Fired]:
        """What fires at the time of a look."""
        found = evaluate(load_rules()[alert].expr, self.history, at_s)
        return [Fired(dict(labels), value) for labels, value in found.items()]

    def until_fires(self, alert: str, timeout_s: float = 60) -> Fired:
        """The first time that it fires, once; with every label that its texts name."""
        found: list[Fired] = []

        def fires() -> bool:
            found[:] = self.alerts(alert)
            return bool(found)

        until(fires, timeout_s, every_s=0.2, what=alert)
        assert len(found) == 1, found
        for text in load_rules()[alert].texts:
            assert labels_in(text) <= found[0].labels.keys(), text
        return found[0]

    def until_quiet(self, alert: str, timeout_s: float = 60) -> None:
        """It fires no more, or not yet."""
        until(lambda: not self.alerts(alert), timeout_s, every_s=0.2, what=f"end of {alert}")

    def values(self, name: str) -> list[float]:
        """Of a metric, at a new look."""
        at_s = self.look()
        return list(evaluate(name, self.history, at_s).values())


def page_of(port: int) -> str | None:
    """/metrics as it is now; None when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def without_target(fired: Fired) -> dict[str, str]:
    """Its labels but those of the scrape and its name."""
    return {name: text for name, text in fired.labels.items() if name not in ("job", "instance", NAME)}
