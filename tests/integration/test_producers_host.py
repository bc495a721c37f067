"""The machine of the agent, for a target that is marked as local, and for no other."""

import os
from pathlib import Path

import psutil

from integration.producers_feed import AgentProcess, Watched, collected, of_metric, with_targets
from pganalytics.producers.emission import emit_counters, reading_of
from pganalytics.producers.host import read_host
from pganalytics.producers.reading import layout_of
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.metric import builtin_schemas
from waiting import until


def test_a_local_target_brings_its_machine(settings: Settings, one: Watched, log: Path) -> None:
    chosen = with_targets(settings, one.target("here", local=True), one.target("there"))
    quick = {name: {"interval_s": 1} for name in ("heartbeat", "host")}
    chosen = Settings.model_validate(chosen.model_dump() | {"metrics": quick})
    with AgentProcess(chosen, log) as agent:
        until(lambda: len(of_metric(collected(chosen.kafka), "host")) >= 2)
        assert agent.stop() == 0
    records = of_metric(collected(chosen.kafka), "host")
    assert {each.headers.identity.collector for each in records} == {"here"}
    last = records[-1]
    assert (last.body["cpus"], last.body["memory_total"]) == (os.cpu_count(), psutil.virtual_memory().total)
    assert last.body["mount_point"]
    busy = sum(last.body[name] for name in ("cpu_user", "cpu_system", "cpu_idle", "cpu_iowait", "cpu_steal"))
    interval_us = last.body["collected_at"] - last.body["since"]
    assert 0.5 < busy / interval_us / last.body["cpus"] < 1.5


def test_what_is_counted_is_what_moved() -> None:
    schema = builtin_schemas()["host"]
    layout = layout_of(schema)
    first = read_host()
    reading = reading_of(layout, first)
    assert reading is not None
    begun = emit_counters(layout, None, reading, first, {}, limit=None)
    assert begun.values is None
    sum(number * number for number in range(3_000_000))
    second = read_host()
    again = reading_of(layout, second)
    assert again is not None
    moved = emit_counters(layout, begun.after, again, second, {}, limit=None)  # type: ignore[arg-type]
    assert moved.values is not None
    RecordCodec(schema).encode_rest(moved.values)
    assert moved.values["cpu_user"] + moved.values["cpu_system"] > 0
    assert (moved.values["reset"], moved.values["cpus"]) == ("", os.cpu_count())
    assert "network" in moved.values["kind"]
