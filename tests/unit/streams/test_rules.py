"""Rules of priority: the first that matches decides, and what no rule may touch stays as it is."""

import logging
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import LaneRule
from pganalytics.runtime.settings_file import load_settings
from pganalytics.schemas.identity import LANES, Lane
from pganalytics.streams import rules as rules_module
from pganalytics.streams.lanes import Destination, Facts, choose
from pganalytics.streams.quota import Verdict
from pganalytics.streams.rule_file import RuleFile
from pganalytics.streams.rules import Rule, Rules, build_rules, covers

FACTS = Facts(Lane.NORMAL, Verdict.ADMITTED, "tables", "db1.example:5432")
RULES = Rules(
    [
        Rule(Destination.BULK, metric="tab*", collector="db?.example:*"),
        Rule(Destination.CRITICAL, metric="blocking"),
        Rule(Destination.DEFERRED, state="silent"),
        Rule(Destination.BULK, verdict=Verdict.DEFERRED, state="open_gap"),
        Rule(Destination.NORMAL, collector="[::1]:*", state="over_quota"),
    ]
)


@pytest.mark.parametrize(
    ("facts", "goes_to"),
    [
        (FACTS, Destination.BULK),
        (replace(FACTS, collector="db10.example:5432"), Destination.NORMAL),
        (replace(FACTS, metric="blocking", silent=True), Destination.CRITICAL),
        (replace(FACTS, metric="locks", silent=True), Destination.DEFERRED),
        (replace(FACTS, metric="locks"), Destination.NORMAL),
        (replace(FACTS, verdict=Verdict.DEFERRED), Destination.DEFERRED),
        (replace(FACTS, verdict=Verdict.DEFERRED, open_gap=True), Destination.BULK),
        (replace(FACTS, metric="locks", open_gap=True), Destination.NORMAL),
        (replace(FACTS, lane=Lane.CRITICAL, collector="[::1]:5432", metric="locks", over_quota=True), Destination.NORMAL),
        (replace(FACTS, lane=Lane.CRITICAL, collector=":::5432", metric="locks", over_quota=True), Destination.CRITICAL),
        (replace(FACTS, lane=Lane.CRITICAL, metric="heartbeat", silent=True), Destination.CRITICAL),
    ],
)
def test_the_first_rule_that_matches_decides(facts: Facts, goes_to: Destination) -> None:
    assert RULES.choose(facts) is goes_to


def test_without_rules_a_record_keeps_its_lane_or_waits() -> None:
    for lane in LANES:
        for verdict in (Verdict.ADMITTED, Verdict.DEFERRED):
            facts = replace(FACTS, lane=lane, verdict=verdict)
            assert Rules().choose(facts) is choose(facts)


texts = st.text("ab*?", max_size=4)
rules = st.builds(
    Rule,
    st.sampled_from(Destination),
    metric=texts,
    collector=texts,
    verdict=st.sampled_from([Verdict.ADMITTED, Verdict.DEFERRED]),
    state=st.sampled_from(["", "over_quota", "silent", "open_gap"]),
)
facts_of = st.builds(
    Facts,
    st.sampled_from(LANES),
    st.sampled_from([Verdict.ADMITTED, Verdict.DEFERRED]),
    st.text("ab", max_size=4),
    st.text("ab", max_size=4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


def naive(given_rules: list[Rule], facts: Facts) -> Destination:
    for rule in given_rules:
        if (
            fnmatchcase(facts.metric, rule.metric)
            and fnmatchcase(facts.collector, rule.collector)
            and facts.verdict is rule.verdict
            and (not rule.state or {"over_quota": facts.over_quota, "silent": facts.silent}.get(rule.state, facts.open_gap))
        ):
            return rule.destination
    return choose(facts)


@given(st.lists(rules, max_size=12), st.lists(facts_of, max_size=20))
def test_bits_decide_as_looking_at_each_rule_does(given_rules: list[Rule], many: list[Facts]) -> None:
    quick = Rules(given_rules)
    assert [quick.choose(facts) for facts in many] == [naive(given_rules, facts) for facts in many]


@given(rules, rules, facts_of)
def test_a_rule_that_is_said_to_be_hidden_is(earlier: Rule, later: Rule, facts: Facts) -> None:
    if earlier.hides(later):
        later = replace(later, destination=Destination.NORMAL)
        assert naive([earlier, later], facts) == naive([earlier], facts)


@given(texts, texts, st.text("ab", max_size=5))
def test_a_pattern_that_covers_another_matches_what_it_matches(wide: str, narrow: str, name: str) -> None:
    if covers(wide, narrow) and fnmatchcase(name, narrow):
        assert fnmatchcase(name, wide)


def test_names_that_hostile_senders_make_up_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_module, "MOST_REMEMBERED", 10)
    for number in range(1000):
        assert RULES.choose(replace(FACTS, metric=f"m{number}", collector=f"c{number}")) is Destination.NORMAL
    assert max(len(names._known) for names in (RULES._metrics, RULES._collectors)) <= 10
    assert RULES.choose(FACTS) is Destination.BULK


def test_rules_that_cannot_be_meant_so_are_refused_together() -> None:
    given_rules = [
        LaneRule(metric="heartbeat", lane="bulk"),
        LaneRule(metric="tab*", lane="bulk"),
        LaneRule(metric="tables", collector="db1", state="silent", lane="normal"),
        LaneRule(metric="tables", verdict="deferred", lane="critical"),
        LaneRule(metric="tables", verdict="deferred", lane="normal"),
    ]
    with pytest.raises(SettingsError) as caught:
        build_rules(given_rules)
    assert [problem.partition(";")[0] for problem in caught.value.problems] == [
        "streams.rules[0]: heartbeats are always critical, whatever a rule says",
        "streams.rules[2]: it never matches, as streams.rules[1] comes first",
        "streams.rules[3]: what is over quota cannot be raised to critical",
        "streams.rules[4]: it never matches, as streams.rules[3] comes first",
    ]


class Watched:
    """A settings file that is watched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: list[Rules] = []
        self.refused = 0
        self.write('metric = "tables"\nlane = "bulk"')
        self.file = RuleFile(path, load_settings(path).streams.rules, self.take)

    def take(self, rules: Rules | None) -> None:
        if rules is None:
            self.refused += 1
        else:
            self.taken.append(rules)

    def write(self, rule: str, more: str = "") -> None:
        self.path.write_text(f"{more}\n[[streams.rules]]\n{rule}\n", encoding="utf-8")

    def look(self) -> int:
        """Twice, as a file is read when it stands still; how often rules were taken up to now."""
        self.file.look()
        self.file.look()
        return len(self.taken)


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.delenv("PGANALYTICS_CONFIG", raising=False)
    return Watched(tmp_path / "settings.toml")


def test_other_rules_are_taken_up_and_nothing_else_is(file: Watched) -> None:
    assert file.look() == 0
    file.write('metric = "tables"\nlane = "bulk"', more="[log]\nlevel = 'debug'")
    assert file.look() == 0
    file.write('metric = "tables"\nlane = "deferred"')
    assert file.look() == 1
    assert file.taken[0].choose(FACTS) is Destination.DEFERRED
    assert file.look() == 1


def test_a_file_that_cannot_be_used_leaves_the_old_rules_and_is_told_once(
    file: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """With the file and the key; when it is mended the rules are taken, also when they are the old ones."""
    file.write('metrc = "tables"\nlane = "bulk"')
    assert file.look() == file.look() == 0
    [line] = errors(caplog)
    assert vars(line)["problems"] == f"{file.path}: streams.rules[0].metrc: unknown key; did you mean `metric`?"
    file.write('metric = "heartbeat"\nlane = "bulk"')
    assert file.look() == 0
    assert "streams.rules[0]: heartbeats are always critical" in vars(errors(caplog)[1])["problems"]
    file.path.unlink()
    assert file.look() == 0
    assert "no such settings file" in vars(errors(caplog)[2])["problems"]
    file.write('metric = "tables"\nlane = "bulk"')
    assert file.look() == 1
    assert len(errors(caplog)) == file.refused == 3
