"""How long each alert's fault must last: not a moment less, and one good sample in between begins it anew.

Pages are scraped and rules evaluated as often as compose's Prometheus does, and at the pace of Prometheus' defaults.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import yaml

from alerts import ROOT, load_rules
from promql.alerting import Alerts, State
from promql.history import History
from promql.language import seconds_of

RULES = load_rules()
Page = Callable[[float], str | None]
BEGIN_S = 1_800_000_000.0


def always(page: str | None) -> Page:
    """The same at any time; None: no answer."""
    return lambda _: page


def looked(ago_s: float) -> Page:
    """The accountant's last look is always so long ago."""
    return lambda at_s: f"pganalytics_sink_accountant_last_look_timestamp_seconds {at_s - ago_s}\n"


def target(up: int, unreadable: int) -> Page:
    """One collector with so many metrics that cannot be read."""
    name = '{collector="c"}'
    return always(f"pganalytics_collect_target_up{name} {up}\npganalytics_collect_unreadable_metrics{name} {unreadable}\n")


@dataclass(frozen=True)
class Fault:
    """Pages while it lasts, and at a moment when all is as well as it must be."""

    bad: Page
    good: tuple[Page, ...]

    @classmethod
    def of(cls, metric: str, bad: float, good: float) -> "Fault":
        """A number on both sides of the rule's limit."""
        return cls(always(f"{metric} {bad}\n"), (always(f"{metric} {good}\n"),))


FAULTS = {
    "PganalyticsSpoolFull": Fault.of("pganalytics_collect_spool_soft_limit_ratio", 1, 0.999),
    "PganalyticsAccountsOpen": Fault(looked(900.5), (looked(900), looked(0))),
    "PganalyticsServiceDown": Fault(always(None), (always(""),)),
    "PganalyticsCollectAbsent": Fault(always(""), (always("pganalytics_collect_ready 0\n"),)),
    "PganalyticsStreamsAbsent": Fault(always(""), (always("pganalytics_streams_ready 0\n"),)),
    "PganalyticsSinkAbsent": Fault(always(""), (always("pganalytics_sink_ready 0\n"),)),
    "PganalyticsNotReady": Fault.of("pganalytics_streams_ready", 0, 1),
    "PganalyticsTargetDown": Fault.of('pganalytics_collect_target_up{collector="c"}', 0, 1),
    "PganalyticsTargetSick": Fault(target(1, 1), (target(1, 0), target(0, 1))),
    "PganalyticsCoverageLow": Fault.of('pganalytics_collect_coverage_ratio{collector="c",metric="statements"}', 0.949, 0.95),
    "PganalyticsWraparound": Fault.of('pganalytics_collect_wraparound_ratio{collector="c"}', 0.501, 0.5),
    "PganalyticsSlotAtRisk": Fault.of('pganalytics_collect_slots_at_risk{collector="c"}', 1, 0),
}


def test_each_rule_that_waits_has_a_fault_here() -> None:
    assert FAULTS.keys() == {name for name, rule in RULES.items() if rule.for_s}


@dataclass
class Watch:
    """A Prometheus that scrapes one service and evaluates one rule each time."""

    alert: str
    every_s: float

    def __post_init__(self) -> None:
        self.history = History()
        self.alerts: Alerts = {}
        self.at_s = BEGIN_S - self.every_s

    def sees(self, page: Page, times: int = 1) -> list[State | None]:
        """The states after so many evaluations of the same page."""
        return [self._once(page) for _ in range(times)]

    def _once(self, page: Page) -> State | None:
        self.at_s += self.every_s
        self.history.scrape(page(self.at_s), self.at_s, job="pganalytics-a", instance="i")
        self.alerts = RULES[self.alert].judge(self.alerts, self.history, self.at_s)
        states = [alert.state for alert in self.alerts.values()]
        return states[0] if states else None


def intervals() -> list[float]:
    """Of compose, and of a Prometheus without settings."""
    path = ROOT / "compose/prometheus/prometheus.yml"
    return [seconds_of(yaml.safe_load(path.read_text(encoding="utf-8"))["global"]["evaluation_interval"]), 60.0]


@pytest.mark.parametrize("every_s", intervals())
@pytest.mark.parametrize("alert", FAULTS)
def test_an_alert_waits_for_its_time_and_one_good_sample_begins_it_anew(alert: str, every_s: float) -> None:
    fault, for_s = FAULTS[alert], RULES[alert].for_s
    waits = [State.PENDING] * round(for_s / every_s)
    assert len(waits) * every_s == for_s, "a multiple of the interval, or this test would have to round"
    for good in fault.good:
        watch = Watch(alert, every_s)
        assert watch.sees(good, 3) == [None] * 3
        assert watch.sees(fault.bad, len(waits)) == waits, "not before"
        assert watch.sees(good) == [None]
        assert watch.sees(fault.bad, len(waits) + 2) == [*waits, State.FIRING, State.FIRING], "the whole time once more"
        assert watch.sees(good) == [None]
        assert watch.sees(fault.bad) == [State.PENDING]


@pytest.mark.parametrize("alert", FAULTS)
def test_a_fault_that_comes_and_goes_faster_never_fires(alert: str) -> None:
    fault, for_s = FAULTS[alert], RULES[alert].for_s
    watch = Watch(alert, 10)
    for _ in range(3):
        assert State.FIRING not in watch.sees(fault.bad, round(for_s / 10))
        watch.sees(fault.good[0])


def test_what_must_not_wait_does_not() -> None:
    """Loss and standing still are told at once; so are counters, whose range is their patience."""
    at_once = {name for name, rule in RULES.items() if not rule.for_s}
    lag = {"PganalyticsStreamsBehind", "PganalyticsSinkBehind"}
    lost = {"PganalyticsRecordsMissing", "PganalyticsSpoolOrphaned", "PganalyticsStuck"}
    counted = {name for name in at_once if "increase(" in RULES[name].expr}
    assert at_once == lag | lost | counted


def test_a_value_is_a_label_only_where_nothing_waits() -> None:
    """Each new value would begin the time anew."""
    for rule in RULES.values():
        assert not rule.for_s or not any("$value" in text for text in rule.labels.values()), rule.alert
