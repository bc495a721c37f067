"""Rules over time: pending, firing and what ends both, as Prometheus does it; by hand and against a model that looks back."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promql.alerting import Alert, AlertRule, Alerts, State, step
from promql.evaluation import Vector
from promql.history import NAME, History, Labels
from promql.language import Refused

X: Labels = frozenset({("x", "1")})
Y: Labels = frozenset({("x", "2")})


def shown(alerts: Alerts) -> str:
    """P or F, small when there is none: `-`."""
    return alerts[X].state.value[0].upper() if X in alerts else "-"


def over(signs: str, every_s: float, for_s: float) -> str:
    """Each sign is an evaluation: `!` finds the element, `.` does not."""
    alerts: Alerts = {}
    states = ""
    for number, sign in enumerate(signs):
        alerts = step(alerts, {X: 1.0} if sign == "!" else {}, number * every_s, for_s)
        states += shown(alerts)
    return states


@pytest.mark.parametrize(
    ("signs", "every_s", "for_s", "states"),
    [
        ("...", 10, 0, "---"),
        (".!!.", 10, 0, "-FF-"),
        (".!!!!.", 10, 30, "-PPPF-"),
        ("!!!!!!", 10, 29, "PPPFFF"),
        ("!!!!!!", 10, 31, "PPPPFF"),
        ("!!!.!!!!", 10, 30, "PPP-PPPF"),
        ("!!!!.!!!!", 10, 30, "PPPF-PPPF"),
        ("!.!.!.", 10, 10, "P-P-P-"),
        ("!!", 60, 30, "PF"),
        ("!!", 10, 1e-9, "PF"),
    ],
)
def test_an_element_must_be_there_at_each_evaluation_for_as_long(signs: str, every_s: float, for_s: float, states: str) -> None:
    assert over(signs, every_s, for_s) == states


def test_each_element_has_its_own_time_and_the_newest_value() -> None:
    alerts = step({}, {X: 1.0}, 0, 20)
    alerts = step(alerts, {X: 2.0, Y: 5.0}, 10, 20)
    alerts = step(alerts, {X: 3.0, Y: 6.0}, 20, 20)
    assert alerts == {X: Alert(State.FIRING, 0, 3.0), Y: Alert(State.PENDING, 10, 6.0)}


ELEMENTS = st.dictionaries(st.sampled_from([X, Y]), st.floats(0, 9))


def looked_back(evaluations: Sequence[tuple[float, Vector]], for_s: float) -> Alerts:
    """The model knows no steps: an alert began after the last evaluation that lacked it, and fires when that is long ago."""
    alerts = {}
    now_s, found = evaluations[-1]
    for labels, value in found.items():
        lacking = [number for number, (_, each) in enumerate(evaluations) if labels not in each]
        began_s = evaluations[max(lacking, default=-1) + 1][0]
        alerts[labels] = Alert(State.FIRING if now_s - began_s >= for_s else State.PENDING, began_s, value)
    return alerts


@given(st.lists(st.tuples(st.integers(1, 60), ELEMENTS), min_size=1, max_size=40), st.sampled_from([0, 1, 30, 60, 90]))
def test_any_series_of_evaluations_gives_what_the_model_sees(gaps: list[tuple[int, Vector]], for_s: float) -> None:
    at_s = 0.0
    alerts: Alerts = {}
    evaluations: list[tuple[float, Vector]] = []
    for gap_s, found in gaps:
        at_s += gap_s
        evaluations.append((at_s, found))
        alerts = step(alerts, found, at_s, for_s)
        assert alerts == looked_back(evaluations, for_s)


# Rules over scrapes


def rule(expr: str, for_s: float = 20, **labels: str) -> AlertRule:
    return AlertRule("Named", expr, for_s, labels)


def judged(watched: AlertRule, *pages: str | None, every_s: float = 10) -> list[str]:
    """Scraped and evaluated at once, so often; the states of all alerts each time."""
    history, states = History(), []
    alerts: Alerts = {}
    for number, page in enumerate(pages):
        history.scrape(page, number * every_s, job="j", instance="i")
        alerts = watched.judge(alerts, history, number * every_s)
        states.append(" ".join(sorted(alert.state for alert in alerts.values())))
    return states


def test_what_a_scrape_lacks_is_as_good_as_well() -> None:
    """A target that does not answer takes its series with it: only rules on `up` and absent() go on."""
    bad = "sick 1\n"
    assert judged(rule("sick > 0"), bad, bad, bad) == ["pending", "pending", "firing"]
    assert judged(rule("sick > 0"), bad, bad, None, bad, bad, bad) == ["pending", "pending", "", "pending", "pending", "firing"]
    assert judged(rule("absent(well)"), bad, None, "") == ["pending", "pending", "firing"]
    assert judged(rule("up == 0"), None, None, None) == ["pending", "pending", "firing"]


def test_between_scrapes_the_newest_sample_counts_until_it_is_too_old() -> None:
    history, states = History(), []
    alerts: Alerts = {}
    history.scrape("sick 1\n", 0, job="j", instance="i")
    for at_s in range(0, 420, 60):
        alerts = rule("sick > 0", 120).judge(alerts, history, at_s)
        states.append(" ".join(alert.state for alert in alerts.values()))
    assert states == ["pending", "pending", "firing", "firing", "firing", "", ""]


def test_an_evaluation_that_fails_changes_nothing() -> None:
    """Two partners of one element, which Prometheus refuses to choose from, and then one again."""
    one, two = 'a{x="1"} 2\nb 1\n', 'a{x="1"} 2\na{x="2"} 2\nb 1\n'
    states = judged(rule("a > on (job) b"), one, two, two, one)
    assert states == ["pending", "pending", "pending", "firing"]
    assert judged(rule("a > on (job) b"), two, one) == ["", "pending"]


def test_a_label_that_changes_makes_another_alert() -> None:
    """The time of the first does not count for the second: a value in a label goes with no `for`."""
    by_value = rule("sick > 0", number="{{ $value }}")
    assert judged(by_value, "sick 1\n", "sick 1\n", "sick 2\n", "sick 2\n") == ["pending"] * 4
    assert judged(by_value, "sick 1\n", "sick 1\n", "sick 1\n") == ["pending", "pending", "firing"]


def test_labels_of_an_alert() -> None:
    history = History()
    history.scrape('sick{x="1",kind="own"} 1.5\n', 0, job="j", instance="i")
    watched = rule("sick", 0, kind="its {{ $labels.x }}", number="{{ $value }}", none="{{ $labels.none }}")
    (labels,) = watched.judge({}, history, 0)
    expected = {"alertname": "Named", "job": "j", "instance": "i", "x": "1", "kind": "its 1", "number": "1.5"}
    assert dict(labels) == expected
    assert NAME not in dict(labels)
    with pytest.raises(Refused):
        rule("sick", 0, number="{{ $value | humanize }}").judge({}, history, 0)


def test_two_alerts_of_the_same_labels_fail_the_evaluation() -> None:
    two = 'sick{x="1"} 1\nsick{x="2"} 1\n'
    assert judged(rule("sick"), two) == ["pending pending"]
    assert judged(rule("sick", x="same"), two) == [""]
