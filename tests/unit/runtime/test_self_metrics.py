"""The list of self-metrics is closed: the document, the code and what is served agree with it."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from pganalytics.runtime.health import Health
from pganalytics.runtime.measurements import Measurements, NoSuchSelfMetric, build_measurements
from pganalytics.runtime.self_metrics import LABELS, SELF_METRICS, Kind, Service
from pganalytics.runtime.self_metrics_page import as_markdown

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "src/pganalytics"
FOLDERS = {Service.COLLECT: "producers", Service.STREAMS: "streams", Service.SINK: "sink"}
JOBS = "pganalytics_collect_jobs_total"


def samples(measurements: Measurements) -> dict[tuple[str, ...], float]:
    """By name and label values, without those of the process."""
    families = text_string_to_metric_families(measurements.text().decode())
    found = [sample for family in families for sample in family.samples]
    return {
        (one.name, *(one.labels[label] for label in sorted(one.labels))): one.value
        for one in found
        if not one.name.startswith("process_")
    }


def test_the_document_is_made_from_the_list() -> None:
    told = (ROOT / "docs/self-metrics.md").read_text(encoding="utf-8")
    assert told == as_markdown(), "docs/self-metrics.md is not what the list says: run `make docs`"


def test_names_and_labels_are_as_they_should_be() -> None:
    names = [one.name for one in SELF_METRICS]
    assert len(set(names)) == len(names)
    for one in SELF_METRICS:
        assert re.fullmatch(rf"pganalytics_{one.service}_[a-z_]+", one.name)
        assert (one.kind is Kind.COUNTER) == one.name.endswith("_total")
        assert not {"ms", "milliseconds", "kb", "mb", "minutes", "percent"} & set(one.name.split("_"))
        assert ("timestamp" in one.name) <= one.name.endswith("_timestamp_seconds")
        assert one.about.endswith(".")
        assert "\n" not in one.about
        assert "|" not in one.about
        assert set(one.labels) <= set(LABELS)
    assert {label for one in SELF_METRICS for label in one.labels} == set(LABELS)


@pytest.mark.parametrize("service", Service)
def test_only_the_agent_labels_by_collector(service: Service) -> None:
    """It knows its collectors; streams and sink read whatever comes."""
    labelled = any({"collector", "metric"} & set(one.labels) for one in SELF_METRICS if one.service is service)
    assert labelled == (service is Service.COLLECT)


@pytest.mark.parametrize("service", Service)
def test_a_service_sets_what_the_list_has_and_nothing_else(service: Service) -> None:
    sources = [path.read_text(encoding="utf-8") for path in (SOURCES / FOLDERS[service]).rglob("*.py")]
    used = {name for text in sources for name in re.findall(r"\"(pganalytics_(?:collect|streams|sink)_\w+)\"", text)}
    assert used == {one.name for one in SELF_METRICS if one.service is service}


@pytest.mark.parametrize("service", Service)
def test_what_is_served_is_the_list(service: Service) -> None:
    text = build_measurements(service).text().decode()
    families = {one.name: one for one in text_string_to_metric_families(text) if not one.name.startswith("process_")}
    listed = {one.name.removesuffix("_total"): one for one in SELF_METRICS if one.service is service}
    assert families.keys() == listed.keys()
    for name, family in families.items():
        assert (family.type, family.documentation) == (listed[name].kind, listed[name].about)
        assert [sample.value for sample in family.samples] == ([] if listed[name].labels else [0])


def test_the_process_is_told_under_its_usual_names() -> None:
    text = build_measurements(Service.SINK).text().decode()
    assert {"process_resident_memory_bytes", "process_cpu_seconds"} <= {
        one.name for one in text_string_to_metric_families(text) if one.name.startswith("process_")
    }


def test_nothing_is_global() -> None:
    """Two services of one process do not meet, and the client's own registry knows neither."""
    one, other = build_measurements(Service.SINK), build_measurements(Service.SINK)
    one.count("pganalytics_sink_batches_total")
    assert samples(one)["pganalytics_sink_batches_total",] == 1
    assert samples(other)["pganalytics_sink_batches_total",] == 0
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("pganalytics")]


def test_counters_add_and_gauges_are_set() -> None:
    measurements = build_measurements(Service.COLLECT)
    for amount in (0, 1, 2.5):
        measurements.count(JOBS, amount, collector="a", outcome="collected", reason="")
    measurements.count(JOBS, collector="b", outcome="failed", reason="hung")
    for total in (7, 9, 8):
        measurements.take_count("pganalytics_collect_stubs_total", total, collector="a", error="E")
    for value in (5, 3):
        measurements.put("pganalytics_collect_spool_records", value)
    found = samples(measurements)
    assert found[JOBS, "a", "collected", ""] == 3.5
    assert found[JOBS, "b", "failed", "hung"] == 1
    assert found["pganalytics_collect_stubs_total", "a", "E"] == 9, "a counter does not go back"
    assert found["pganalytics_collect_spool_records",] == 3


def test_a_counter_that_is_kept_counts_with_the_others_and_begins_anew_when_it_was_forgotten() -> None:
    measurements = build_measurements(Service.COLLECT)
    labels = {"collector": "a", "outcome": "collected", "reason": ""}
    add = measurements.counter(JOBS, **labels)
    assert (JOBS, "a", "collected", "") not in samples(measurements), "nothing was counted"
    add(2)
    measurements.count(JOBS, 0.5, **labels)
    assert samples(measurements)[JOBS, "a", "collected", ""] == 2.5
    measurements.forget(collector="a")
    assert (JOBS, "a", "collected", "") not in samples(measurements)
    add(1)
    assert samples(measurements)[JOBS, "a", "collected", ""] == 1


def test_a_name_a_type_or_a_label_that_is_not_in_the_list_is_refused_at_once() -> None:
    measurements = build_measurements(Service.COLLECT)
    job = {"collector": "a", "outcome": "collected", "reason": ""}
    with pytest.raises(NoSuchSelfMetric, match="pganalytics_collect_nothing_total"):
        measurements.count("pganalytics_collect_nothing_total")
    with pytest.raises(NoSuchSelfMetric, match="another"):
        measurements.count(JOBS, 1, **job, another="x")
    with pytest.raises(NoSuchSelfMetric, match="with labels none"):
        measurements.count(JOBS)
    with pytest.raises(NoSuchSelfMetric, match="with labels none"):
        measurements.counter(JOBS)
    with pytest.raises(NoSuchSelfMetric, match=f"gauge {JOBS}"):
        measurements.put(JOBS, 1, **job)
    with pytest.raises(NoSuchSelfMetric, match="pganalytics_sink_batches_total"):
        measurements.count("pganalytics_sink_batches_total")
    with pytest.raises(NoSuchSelfMetric):
        measurements.take_count("pganalytics_collect_spool_records", 1)
    with pytest.raises(ValueError, match="does not go back"):
        measurements.count(JOBS, -1, **job)
    assert not any(name[0] == JOBS for name in samples(measurements))


@pytest.mark.parametrize(
    "hostile", ['a"} 1\npganalytics_collect_jobs_total{x="', "back\\slash\\n", "\u202eé\0", "{}=,", "\udc80"]
)
def test_hostile_label_values_stay_inside_their_quotes(hostile: str) -> None:
    """Ids are checked before they come here; the text must hold even when one is not."""
    measurements = build_measurements(Service.COLLECT)
    before = samples(measurements)
    measurements.put("pganalytics_collect_target_up", 1, collector=hostile)
    shown = hostile.encode("utf-8", "backslashreplace").decode()
    assert samples(measurements) == {**before, ("pganalytics_collect_target_up", shown): 1}


def test_what_is_kept_elsewhere_is_read_at_each_scrape() -> None:
    measurements = build_measurements(Service.COLLECT)
    kept = iter((3, 8))
    measurements.read_at_scrape(lambda: measurements.put("pganalytics_collect_spool_records", next(kept)))
    assert [samples(measurements)["pganalytics_collect_spool_records",] for _ in range(2)] == [3, 8]


def test_health_is_asked_at_each_scrape() -> None:
    measurements = build_measurements(Service.SINK)
    dead, lacking = ["stuck"], ["no store"]
    health = Health(lambda: dead, lambda: lacking)
    measurements.show_health(health, alive="pganalytics_sink_alive", ready="pganalytics_sink_ready")
    names = ("pganalytics_sink_alive",), ("pganalytics_sink_ready",)
    assert [samples(measurements)[name] for name in names] == [0, 0]
    dead.clear()
    assert [samples(measurements)[name] for name in names] == [1, 0]
    lacking.clear()
    assert [samples(measurements)[name] for name in names] == [1, 1]


def test_who_is_gone_leaves_no_series() -> None:
    """An alert on the last number of a target that is watched no more would never end."""
    measurements = build_measurements(Service.COLLECT)
    for collector in ("a", "b"):
        measurements.put("pganalytics_collect_target_up", 0, collector=collector)
        for metric in ("statements", "io"):
            measurements.put("pganalytics_collect_coverage_ratio", 1, collector=collector, metric=metric)
    measurements.forget(collector="a")
    measurements.forget(collector="b", metric="io")
    assert [key for key in samples(measurements) if len(key) > 1 and key[1] in "ab"] == [
        ("pganalytics_collect_target_up", "b"),
        ("pganalytics_collect_coverage_ratio", "b", "statements"),
    ]
