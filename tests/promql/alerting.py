"""A rule over time, as Prometheus judges it: what its expression gives is pending until it has been there for `for`, then fires.

What is inactive is not in the result. Prometheus keeps it for a quarter of an hour to tell that it ended; no rule sees that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from promql.evaluation import Unclear, Vector, evaluate
from promql.history import NAME, History, Labels
from promql.language import Refused

TEMPLATE = re.compile(r"\{\{ \$(value|labels\.[a-zA-Z_]\w*) \}\}")


class State(StrEnum):
    """Of one alert; that of a rule is the highest of its alerts."""

    PENDING = "pending"
    FIRING = "firing"


@dataclass(frozen=True)
class Alert:
    """`since_s`: when it became pending; `value`: of the newest evaluation."""

    state: State
    since_s: float
    value: float


Alerts = Mapping[Labels, Alert]


@dataclass(frozen=True)
class AlertRule:
    """`labels` are added to those of each element, and may say {{ $value }} and {{ $labels.NAME }}."""

    alert: str
    expr: str
    for_s: float
    labels: Mapping[str, str]

    def judge(self, alerts: Alerts, history: History, at_s: float) -> Alerts:
        """One evaluation of Prometheus. One that fails changes nothing: what is pending stays so, whatever has passed."""
        try:
            found = self._labelled(evaluate(self.expr, history, at_s))
        except Unclear:
            return alerts
        return step(alerts, found, at_s, self.for_s)

    def _labelled(self, found: Vector) -> Vector:
        labelled: Vector = {}
        for labels, value in found.items():
            own = {name: text for name, text in labels if name != NAME}
            added = {name: _expand(text, own, value) for name, text in self.labels.items()}
            key = frozenset((name, text) for name, text in {**own, **added, "alertname": self.alert}.items() if text)
            if key in labelled:
                raise Unclear(f"two alerts have the labels {dict(key)}")
            labelled[key] = value
        return labelled


def step(alerts: Alerts, found: Vector, at_s: float, for_s: float) -> Alerts:
    """The alerts after an evaluation that found these elements. One evaluation without an element ends its alert."""
    judged = {}
    for labels, value in found.items():
        since_s = alerts[labels].since_s if labels in alerts else at_s
        judged[labels] = Alert(State.FIRING if at_s - since_s >= for_s else State.PENDING, since_s, value)
    return judged


def _expand(text: str, labels: Mapping[str, str], value: float) -> str:
    expanded = TEMPLATE.sub(lambda match: _word(match[1], labels, value), text)
    if "{{" in expanded:
        raise Refused(f"no template that a label may have: {text}")
    return expanded


def _word(name: str, labels: Mapping[str, str], value: float) -> str:
    if name == "value":
        return str(int(value)) if value == int(value) else repr(value)
    return labels.get(name.removeprefix("labels."), "")
