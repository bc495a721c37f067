"""What the agent says of itself: every outcome of a job, and nothing that a target could have written."""

import re
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pganalytics.producers.failures import CURES
from pganalytics.producers.meters import NOT_DONE, STUB, Meters, reason_of
from pganalytics.producers.pools import Pools
from pganalytics.producers.results import Collected, Failed, HeldBack, Kind, Outcome, Unavailable
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.spool import Spool
from pganalytics.producers.statuses import Status
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.measurements import Measurements, build_measurements
from pganalytics.runtime.self_metrics import Service

PRODUCERS = Path(__file__).parents[3] / "src/pganalytics/producers"
JOBS = "pganalytics_collect_jobs_total"
HOSTILE = 'sqlstate:"}\n1'


@pytest.fixture
def measurements() -> Measurements:
    return build_measurements(Service.COLLECT)


def read(measurements: Measurements, name: str) -> dict[tuple[str, ...], float]:
    """By label values, in the order of the labels' names."""
    families = text_string_to_metric_families(measurements.text().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(one.labels[label] for label in sorted(one.labels)): one.value for one in samples}


class Kept:
    """In the place of the spool and of the pools."""

    usage = (7, 4000)
    fill = 0.25

    def totals(self) -> tuple[int, int]:
        return 3, 1

    def by_collector(self) -> Counter[str]:
        return Counter({"a": 2, "left": 1})


def test_jobs_by_outcome_and_reason(measurements: Measurements) -> None:
    meters = Meters(measurements)
    outcomes: list[Outcome] = [
        Collected(5, read=7, size=300),
        Collected(0, read=2),
        Unavailable('role "x"} may not', "GRANT", Kind.PRIVILEGE),
        Failed("hung", "text", "cure", True),
        Failed("sqlstate:57014", "text", "cure", False),
        Failed(HOSTILE, "text", "cure", True),
        HeldBack("spool_full"),
    ]
    for outcome in outcomes:
        meters.job_ended(JobKey("a", "statements"), outcome, 0.25)
    assert read(measurements, JOBS) == {
        ("a", "collected", ""): 2,
        ("a", "unavailable", ""): 1,
        ("a", "failed", "hung"): 1,
        ("a", "failed", "sqlstate:57014"): 1,
        ("a", "failed", "sqlstate:other"): 1,
    }
    assert read(measurements, "pganalytics_collect_rows_read_total") == {("a",): 9}
    assert read(measurements, "pganalytics_collect_body_bytes_total") == {("a",): 300}
    assert read(measurements, "pganalytics_collect_last_success_timestamp_seconds").keys() == {("a", "statements")}


def test_what_a_target_answers_makes_no_label(measurements: Measurements) -> None:
    """A server may send any five characters, and more, as a SQLSTATE: however many they are, they are one word."""
    meters = Meters(measurements)
    for number in range(1000):
        meters.job_ended(JobKey("a", "database"), Failed(f"sqlstate:{number:05}", str(number), "", True), 0.25)
    assert read(measurements, JOBS) == {("a", "failed", "sqlstate:other"): 1000}
    assert {reason_of(kind) for kind in CURES} == set(CURES)


def test_what_others_keep_is_read_at_the_scrape(measurements: Measurements) -> None:
    states = {"a": TargetState(), "left": TargetState("not_configured")}
    kept = Kept()
    Meters(measurements).read_at_scrape(cast(Spool, kept), cast(Pools, kept), states, lambda: ["a"])
    assert read(measurements, "pganalytics_collect_target_up") == {("a",): 0}
    states["a"].answered(1, {})
    for name in ("skipped.running", "skipped.running", "held_back.spool_full", "stubs.MSG_SIZE_TOO_LARGE"):
        states["a"].count(name)
    states["left"].count("skipped.heartbeat_unsent")
    assert read(measurements, "pganalytics_collect_target_up") == {("a",): 1}
    assert read(measurements, JOBS) == {
        ("a", "skipped", "running"): 2,
        ("a", "held_back", "spool_full"): 1,
        ("left", "skipped", "heartbeat_unsent"): 1,
    }
    assert read(measurements, "pganalytics_collect_stubs_total") == {("a", "MSG_SIZE_TOO_LARGE"): 1}
    for name, value in (("records", 7), ("bytes", 4000), ("soft_limit_ratio", 0.25)):
        assert read(measurements, f"pganalytics_collect_spool_{name}") == {(): value}
    assert read(measurements, "pganalytics_collect_connections") == {(): 3}
    assert read(measurements, "pganalytics_collect_connections_waiting") == {(): 1}
    assert read(measurements, "pganalytics_collect_target_connections") == {("a",): 2}


def test_what_goes_wrong_slowly_is_shown_when_it_was_read(measurements: Measurements) -> None:
    states = {"a": TargetState(), "left": TargetState("not_configured")}
    Meters(measurements).read_at_scrape(cast(Spool, Kept()), cast(Pools, Kept()), states, lambda: ["a"])
    names = ("coverage_ratio", "wraparound_ratio", "slots_at_risk")
    assert [read(measurements, f"pganalytics_collect_{name}") for name in names] == [{}, {}, {}]
    assert read(measurements, "pganalytics_collect_unreadable_metrics") == {("a",): 0}
    states["a"].answered(1, {"xid_left": 2**31, "multixact_left": 2**29})
    states["a"].note_slots(2)
    for database, share in (("x", 0.75), ("y", 0.5), ("z", 1.0)):
        states["a"].note_coverage(("statements", database), share)
    states["a"].board.note(("io", ""), Status("version", "too old", "upgrade"), 1)
    states["a"].board.note(("sizes", "x"), Status("privilege", "may not", "GRANT"), 1)
    shown = {name: read(measurements, f"pganalytics_collect_{name}") for name in names}
    assert shown["coverage_ratio"] == {("a", "statements"): 0.5}
    assert shown["wraparound_ratio"] == {("a",): 0.75}
    assert shown["slots_at_risk"] == {("a",): 2}
    assert read(measurements, "pganalytics_collect_unreadable_metrics") == {("a",): 1}
    states["a"].failed("refused")
    assert read(measurements, "pganalytics_collect_wraparound_ratio") == {("a",): 0.75}, "what it said last stays"


def test_whatever_the_agent_counts_is_taken_over() -> None:
    """Counts of a state have names like skipped.running; one with another first word would be shown nowhere."""
    sources = "".join(path.read_text(encoding="utf-8") for path in PRODUCERS.glob("*.py"))
    counted = re.findall(r"count\((?:[^()\"]*, )?f?\"(?:\{'(\w+)' if .* else '(\w+)'\}|(\w+))\.", sources)
    assert {word for words in counted for word in words if word} == {*NOT_DONE, STUB}


def test_who_is_named_no_more_is_shown_no_more(measurements: Measurements) -> None:
    """What it counts until its epoch has ended is shown still."""
    states, named = {"a": TargetState(), "b": TargetState()}, {"a", "b"}
    meters = Meters(measurements)
    meters.read_at_scrape(cast(Spool, Kept()), cast(Pools, Kept()), states, lambda: named)
    meters.job_ended(JobKey("a", "database"), Collected(1), 0.25)
    assert set(read(measurements, "pganalytics_collect_target_up")) == {("a",), ("b",)}
    states["a"].count("skipped.heartbeat_unsent")
    named.remove("a")
    assert set(read(measurements, "pganalytics_collect_target_up")) == {("b",)}
    assert read(measurements, JOBS) == {("a", "skipped", "heartbeat_unsent"): 1}
    del states["a"]
    assert read(measurements, JOBS) == {}
    meters.job_ended(JobKey("b", "database"), Collected(1), 0.25)
    meters.job_ended(JobKey("b", "io"), Collected(1), 0.25)
    meters.forget("b", ["io"])
    assert set(read(measurements, "pganalytics_collect_last_success_timestamp_seconds")) == {("b", "database")}
    assert read(measurements, JOBS) == {("b", "collected", ""): 2}
