"""The operator's rules of priority: the first one that matches a record says where it goes. Pure.

A rule matches what is within quota unless it names the verdict `deferred`: a rule that says nothing of quotas does not undo
them. Heartbeats are no rule's business: the ledger rests on them, and they stay critical. What is over quota is not raised to
critical, so nothing comes there that the quota has not counted.

Rules are as many bits: what each collector, metric and state leaves of them is remembered, and the lowest bit that is left in
all three is the rule. So a record costs the same with one rule and with a hundred.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pganalytics.runtime.errors import SettingsError
from pganalytics.schemas.headers import HEARTBEAT
from pganalytics.streams.lanes import Destination, Facts, choose
from pganalytics.streams.quota import Verdict

MOST_REMEMBERED = 50_000
"""Names of which it is known what they match; hostile senders make up more, and then all are looked at anew."""


class RuleSettings(Protocol):
    """A rule as the settings have it."""

    @property
    def metric(self) -> str:
        """Pattern of the metric's name."""

    @property
    def collector(self) -> str:
        """Pattern of the collector's id."""

    @property
    def verdict(self) -> str:
        """What the quota said."""

    @property
    def state(self) -> str | None:
        """What must be so beside it."""

    @property
    def lane(self) -> str:
        """Where the record goes."""


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions must hold. Patterns have * for any characters and ? for one; `state` is the name of a fact, or empty."""

    destination: Destination
    metric: str = "*"
    collector: str = "*"
    verdict: Verdict = Verdict.ADMITTED
    state: str = ""

    def hides(self, later: "Rule") -> bool:
        """Whether a later rule certainly matches nothing that this one does not. Some that it hides are not found."""
        return (
            self.verdict is later.verdict
            and self.state in ("", later.state)
            and covers(self.metric, later.metric)
            and covers(self.collector, later.collector)
        )


class Rules:
    """Rules in their order. For one thread."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.count = len(rules)
        self._rules = tuple(rules)
        self._metrics = _Names([_regex(rule.metric) for rule in rules])
        self._collectors = _Names([_regex(rule.collector) for rule in rules])
        self._states: dict[tuple[Verdict, bool, bool, bool], int] = {}

    def choose(self, facts: Facts) -> Destination:
        """Where the record goes: by the first rule that matches, or where it goes without any."""
        if not self._rules or facts.metric == HEARTBEAT:
            return choose(facts)
        left = self._metrics.matching(facts.metric) & self._collectors.matching(facts.collector) & self._of_state(facts)
        if not left:
            return choose(facts)
        return self._rules[(left & -left).bit_length() - 1].destination

    def _of_state(self, facts: Facts) -> int:
        key = facts.verdict, facts.over_quota, facts.silent, facts.open_gap
        found = self._states.get(key)
        if found is None:
            fit = [rule.verdict is facts.verdict and (not rule.state or getattr(facts, rule.state)) for rule in self._rules]
            found = self._states[key] = _bits(fit)
        return found


class _Names:
    """Which patterns match a name, as bits."""

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self._patterns = patterns
        self._known: dict[str, int] = {}

    def matching(self, name: str) -> int:
        """The bits of the patterns that match."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            found = self._known[name] = _bits([pattern.fullmatch(name) is not None for pattern in self._patterns])
        return found


def build_rules(settings: Sequence[RuleSettings]) -> Rules:
    """The rules of the settings; raises SettingsError with a line for each that cannot be meant so."""
    rules = [Rule(Destination(one.lane), one.metric, one.collector, Verdict(one.verdict), one.state or "") for one in settings]
    if problems := [
        f"streams.rules[{place}]: {why}" for place, rule in enumerate(rules) if (why := _problem(rules, place, rule))
    ]:
        raise SettingsError(*problems)
    return Rules(rules)


def covers(wide: str, narrow: str) -> bool:
    """Whether a pattern certainly matches all that another one matches: a * covers all, a ? whatever is one character."""
    pattern = "".join({"*": ".*", "?": "[^*]"}.get(char, re.escape(char)) for char in wide)
    return re.fullmatch(pattern, narrow) is not None


def _problem(rules: Sequence[Rule], place: int, rule: Rule) -> str:
    if rule.metric == HEARTBEAT:
        return "heartbeats are always critical, whatever a rule says; remove it"
    if rule.verdict is Verdict.DEFERRED and rule.destination is Destination.CRITICAL:
        return "what is over quota cannot be raised to critical; choose another lane, or raise the quota"
    hidden_by = next((earlier for earlier in range(place) if rules[earlier].hides(rule)), None)
    return "" if hidden_by is None else f"it never matches, as streams.rules[{hidden_by}] comes first; put it before that one"


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern), re.DOTALL)


def _bits(flags: Sequence[bool]) -> int:
    return sum(1 << place for place, flag in enumerate(flags) if flag)
