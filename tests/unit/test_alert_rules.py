"""The alert rules, read strictly: names are those that services serve; each has a section in the operations page and a test."""

import re
from pathlib import Path

import pytest

from alerts import LABEL, ROOT, VALUE, Rule, labels_in, load_rules, selectors, templates
from pganalytics.runtime.self_metrics import SELF_METRICS
from promql.language import Aggregation, Binary, Node, parse

RULES = load_rules()
LISTED = {one.name: {*one.labels, "job", "instance"} for one in SELF_METRICS} | {"up": {"job", "instance"}}
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
FAULTS = (ROOT / "tests/integration/test_alerts.py").read_text(encoding="utf-8")


def groupings(node: Node) -> set[str]:
    """Labels that it groups or matches by."""
    match node:
        case Aggregation(labels=labels, inner=inner):
            return {*labels} | groupings(inner)
        case Binary(left=left, right=right, labels=labels):
            return {*labels} | groupings(left) | groupings(right)
    return set()


@pytest.fixture(params=list(RULES.values()), ids=list(RULES))
def rule(request: pytest.FixtureRequest) -> Rule:
    found: Rule = request.param
    return found


def test_names_and_labels_are_those_that_services_serve(rule: Rule) -> None:
    found = selectors(parse(rule.expr))
    assert found
    for selector in found:
        assert selector.name in LISTED, f"{selector.name} is not in the closed list"
        assert {matcher.label for matcher in selector.matchers} <= LISTED[selector.name]
    known = {label for selector in found for label in LISTED[selector.name]}
    assert groupings(parse(rule.expr)) <= known


def test_a_counter_is_only_asked_how_much_it_rose(rule: Rule) -> None:
    for selector in selectors(parse(rule.expr)):
        assert selector.name.endswith("_total") == (selector.range_s is not None), selector.name


def test_an_alert_says_what_is_wrong_and_what_to_type(rule: Rule) -> None:
    assert re.fullmatch(r"Pganalytics([A-Z][a-z]+)+", rule.alert)
    assert rule.labels["severity"] in ("critical", "warning")
    assert rule.annotations.keys() == {"summary", "runbook"}
    assert rule.annotations["summary"].endswith(".")
    assert rule.annotations["runbook"].endswith(f". docs/operations.md#{rule.alert.lower()}")
    for text in rule.texts:
        for each in templates(text):
            assert LABEL.fullmatch(each) or VALUE.fullmatch(each)
    assert 0 <= rule.for_s <= 3600


def test_each_alert_has_a_section_and_each_section_an_alert() -> None:
    sections = re.findall(r"^### (Pganalytics\w+)$", OPERATIONS, re.MULTILINE)
    assert sections == list(RULES), "the sections of docs/operations.md are the alerts, in the order of the rules"


def test_each_alert_is_fired_by_a_test() -> None:
    """That it is quiet otherwise is a test for all of them there."""
    assert set(re.findall(r"\.until_fires\(\"(\w+)\"", FAULTS)) == set(RULES)


def test_templates_that_prometheus_would_not_know_are_noticed() -> None:
    assert labels_in("{{ $labels.lane }} of {{ $value | humanize }}") == {"lane"}
    for text in ("{{ $label.lane }}", "{{$value}}", "{{ $value | percent }}", "{{ .Value }}"):
        with pytest.raises(AssertionError):
            templates(text)


def test_the_runbooks_commands_are_those_of_the_page() -> None:
    """Whoever reads an alert at night finds its command in the section as well."""
    for rule in RULES.values():
        section = OPERATIONS.split(f"\n### {rule.alert}\n", 1)[1].split("\n#", 1)[0]
        for command in re.findall(r"`(pganalytics [a-z-]+)", rule.annotations["runbook"]):
            assert command in section, f"{rule.alert}: {command}"


def test_the_file_is_where_the_documents_say() -> None:
    assert Path("deploy/prometheus/rules.yaml").name in OPERATIONS
    assert "deploy/prometheus/rules.yaml" in (ROOT / "README.md").read_text(encoding="utf-8")
