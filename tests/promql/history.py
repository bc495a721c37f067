"""What Prometheus would have in its memory after some scrapes: samples by series, `up`, and series that have become stale."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from promql.language import Matcher, Selector

LOOKBACK_S = 300.0
Labels = frozenset[tuple[str, str]]
NAME = "__name__"


@dataclass(frozen=True)
class Sample:
    """At a time in seconds since 1970."""

    at_s: float
    value: float


@dataclass
class History:
    """Scrapes are added in the order of their times."""

    _series: dict[Labels, list[Sample]] = field(default_factory=dict)
    _scraped: dict[Labels, list[float]] = field(default_factory=dict)

    def scrape(self, text: str | None, at_s: float, *, job: str, instance: str) -> None:
        """The page of a service; None: it could not be had."""
        target = {"job": job, "instance": instance}
        self._scraped.setdefault(frozenset(target.items()), []).append(at_s)
        self._add({NAME: "up", **target}, at_s, 0 if text is None else 1)
        for family in text_string_to_metric_families(text or ""):
            for sample in family.samples:
                if clash := target.keys() & sample.labels.keys():
                    raise AssertionError(f"{sample.name} has a label of its target: {clash}")
                self._add({NAME: sample.name, **sample.labels, **target}, at_s, sample.value)

    def _add(self, labels: Mapping[str, str], at_s: float, value: float) -> None:
        samples = self._series.setdefault(frozenset(labels.items()), [])
        if samples and samples[-1].at_s >= at_s:
            raise AssertionError("scrapes come in the order of their times")
        samples.append(Sample(at_s, value))

    def now(self, selector: Selector, at_s: float) -> dict[Labels, float]:
        """The newest sample of each series, at most LOOKBACK_S old, unless a later scrape of its target came without it."""
        found = {}
        for labels, samples in self._chosen(selector):
            before = [sample for sample in samples if at_s - LOOKBACK_S < sample.at_s <= at_s]
            if before and before[-1].at_s == self._last_scrape(labels, at_s):
                found[labels] = before[-1].value
        return found

    def over(self, selector: Selector, at_s: float) -> dict[Labels, Sequence[Sample]]:
        """The samples of each series in a range that is open at its left."""
        begin_s = at_s - (selector.range_s or 0)
        chosen = {
            labels: [sample for sample in samples if begin_s < sample.at_s <= at_s] for labels, samples in self._chosen(selector)
        }
        return {labels: samples for labels, samples in chosen.items() if samples}

    def _chosen(self, selector: Selector) -> Iterable[tuple[Labels, list[Sample]]]:
        matchers = (Matcher(NAME, "=", selector.name), *selector.matchers)
        for labels, samples in self._series.items():
            values = dict(labels)
            if all(matches(matcher, values.get(matcher.label, "")) for matcher in matchers):
                yield labels, samples

    def _last_scrape(self, labels: Labels, at_s: float) -> float:
        target = frozenset(pair for pair in labels if pair[0] in ("job", "instance"))
        return max(scraped for scraped in self._scraped[target] if scraped <= at_s)


def matches(matcher: Matcher, value: str) -> bool:
    """Patterns are for the whole value."""
    equal = value == matcher.value if matcher.operator in ("=", "!=") else re.fullmatch(matcher.value, value) is not None
    return equal != matcher.operator.startswith("!")
