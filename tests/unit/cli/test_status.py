"""The screen names what is wrong and what to type; hostile names do nothing to a terminal."""

import io
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from pganalytics.cli.advice import Advice
from pganalytics.cli.main import build_app
from pganalytics.cli.status.facts import Facts, Group, KafkaSide, LaneLag
from pganalytics.cli.status.problems import Problem, problems
from pganalytics.cli.status.screen import show
from pganalytics.runtime.settings import Quota
from pganalytics.schemas.identity import Lane
from pganalytics.sink.epoch_ends import OddEpoch, Suspect
from pganalytics.sink.overview import Collector, Noticed, Overview
from pganalytics.sink.report import AuditReport, Counts
from pganalytics.streams.quota_overrides import Override
from pganalytics.streams.quota_topic import Listed

DAY = 86_400.0
HOSTILE = "db\x1b[2J\u202e\nx"
GROUPS = (Group("streams", ("s at 10.0.0.1",)), Group("sink", ("k at 10.0.0.2", "k at 10.0.0.3")))
LAGS = (LaneLag("streams", "critical", 0, 0.0, 4 * DAY), LaneLag("sink", "critical", 0, 0.0, 3 * DAY))
KAFKA = KafkaSide(GROUPS, LAGS, Listed({}, {}), ())
WELL = Collector("db1", 10.0, False, "host:1", True, "", 3, 999, 0, "", 0.999)
COUNTS = Counts(emitted=9, stored=9)
AUDIT = AuditReport(False, {"db1": COUNTS})
STORE = Overview((WELL,), (), AUDIT)


def judged(facts: Facts, config: Path | None = None) -> list[Problem]:
    return problems(facts, beat_s=30, quota=Quota(), advice=Advice(config))


def found(*, kafka: KafkaSide | None = KAFKA, store: Overview | None = STORE) -> list[str]:
    return [f"{one.about}: {one.what} | {one.todo}" for one in judged(Facts(kafka, store, ()))]


def with_lag(**changes: object) -> KafkaSide:
    """Lane normal of the sink."""
    return replace(KAFKA, lags=(*LAGS, replace(LaneLag("sink", "normal", 7, 0.0, 3 * DAY), **changes)))  # type: ignore[arg-type]


def with_collector(**changes: object) -> Overview:
    return replace(STORE, collectors=(replace(WELL, **changes),))  # type: ignore[arg-type]


def with_counts(**changes: int) -> Overview:
    return replace(STORE, audit=replace(AUDIT, collectors={"db1": replace(COUNTS, **changes)}))


def test_nothing_is_wrong_with_what_is_well() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("kafka", "wanted"),
    [
        (replace(KAFKA, groups=(Group("sink", ()),)), ["sink: no process runs | pganalytics sink"]),
        (replace(KAFKA, groups=(Group("sink", None),)), []),
        (with_lag(seconds=300.0), []),
        (
            with_lag(seconds=301.0),
            ["sink: lane normal is behind by 301 s | its /livez and log say why, and whether more processes help"],
        ),
        (with_lag(seconds=301.0, lane="deferred"), []),
        (with_lag(seconds=90.0, lane="critical"), []),
        (
            with_lag(seconds=91.0, lane="critical"),
            ["sink: lane critical is behind by 91 s | its /livez and log say why, and whether more processes help"],
        ),
        (with_lag(seconds=None), []),
        (
            with_lag(seconds=1.5 * DAY + 1, lane="deferred"),
            [
                "sink: lane deferred is behind by more than half of what Kafka keeps: records will be lost; "
                "start more of it (on one machine: with another http_port) | pganalytics sink"
            ],
        ),
        (replace(KAFKA, problems=("topic t: bad: mend it",)), ["kafka: topic t: bad | mend it"]),
        (
            replace(KAFKA, quotas=Listed({}, {"db*": "no number"})),
            ["db*: its quota is ignored: no number | pganalytics quota list"],
        ),
    ],
)
def test_of_the_pipeline(kafka: KafkaSide, wanted: list[str]) -> None:
    assert found(kafka=kafka) == wanted


@pytest.mark.parametrize(
    ("store", "wanted"),
    [
        (with_collector(heartbeat_age_s=90.0), []),
        (
            with_collector(heartbeat_age_s=91.0),
            ["db1: no heartbeat for 91 s: does its agent run, host:1? | pganalytics collect"],
        ),
        (with_collector(heartbeat_age_s=91.0, ended=True), []),
        (
            with_collector(up=False, error="refused"),
            ["db1: the target does not answer: refused | pganalytics check --target db1"],
        ),
        (with_collector(up=None), []),
        (
            with_collector(unreadable=2, reason="no right"),
            ["db1: 2 metrics cannot be read: no right | pganalytics check --target db1"],
        ),
        (with_collector(coverage=0.95), []),
        (
            with_collector(coverage=0.5),
            ["db1: statements in detail cover 50% of their time | raise limit of [metrics.statements]"],
        ),
        (with_counts(emitted=10, missing=1), ["audit: 1 records are missing | pganalytics audit"]),
        (with_counts(emitted=10, dead=1), ["audit: 1 records could not be stored | pganalytics dead-letters list"]),
        (with_counts(emitted=10), ["audit: the counts do not add up | pganalytics audit --deep"]),
        (
            replace(STORE, events=(Noticed("db1", "deferred", 3, 8.0), Noticed("db1", "gap", 3, 8.0))),
            [
                "db1: over its quota, 8 s ago | "
                "pganalytics quota set db1 --records-per-s 10 --rows-per-s 4000 --bytes-per-s 400000"
            ],
        ),
        (replace(STORE, events=(Noticed("db1", "dead_lettered", 1, 8.0),)), []),
        (
            replace(STORE, events=(Noticed("watched", "dead_lettered", 1, 8.0),)),
            ["sink: records that name no sender could not be stored, 8 s ago | pganalytics dead-letters list"],
        ),
        (replace(STORE, collectors=()), ["collect: no heartbeat was ever stored | pganalytics collect"]),
    ],
)
def test_of_the_fleet(store: Overview, wanted: list[str]) -> None:
    assert found(store=store) == wanted


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        ({"db1": Override(records_per_s=0.1)}, "--records-per-s 0.2 --rows-per-s 4000 --bytes-per-s 400000"),
        ({"db1": Override(burst_s=90)}, "--records-per-s 10 --rows-per-s 4000 --bytes-per-s 400000 --burst-s 90"),
        ({"db*": Override(rows_per_s=1e6)}, "--records-per-s 10 --rows-per-s 2000000 --bytes-per-s 400000"),
        ({"other*": Override(rows_per_s=1e6)}, "--records-per-s 10 --rows-per-s 4000 --bytes-per-s 400000"),
    ],
)
def test_a_quota_to_paste_is_twice_the_one_that_counts(overrides: dict[str, Override], options: str) -> None:
    """What it leaves out would fall back to the settings."""
    store = replace(STORE, events=(Noticed("db1", "shed", 3, 8.0),))
    (line,) = found(kafka=replace(KAFKA, quotas=Listed(overrides, {})), store=store)
    assert line.endswith(f" | pganalytics quota set db1 {options}")
    assert found(kafka=None, store=store)[0].endswith(" | pganalytics quota list"), "nobody knows which counts"


def test_each_command_to_type_is_one_of_ours_and_names_the_settings() -> None:
    """Parsed as the command line parses it, with a name that a shell would take apart."""
    name = "[::1]:5432"
    odd = OddEpoch("orphaned", Suspect(name, 7, None, None, None), {Lane.NORMAL: 3}, {})
    wrong = AuditReport(False, {name: replace(COUNTS, missing=1, dead=1, duplicates=1)}, epochs=(odd,))
    sick = replace(WELL, name=name, up=False, unreadable=1)
    silent = replace(WELL, heartbeat_age_s=999.0)
    events = (Noticed(name, "shed", 1, 1.0), Noticed("a topic", "dead_lettered", 1, 1.0), Noticed("-v", "shed", 1, 1.0))
    store = Overview((sick, silent), events, wrong)
    late = (*LAGS, LaneLag("sink", "bulk", 7, 2 * DAY, 3 * DAY))
    kafka = KafkaSide((Group("streams", ()), Group("sink", ())), late, Listed({}, {"db*": "no number"}), ())
    todos = [one.todo for one in judged(Facts(kafka, store, ()), Path("my settings.toml"))]
    assert len(todos) == 14
    for todo in todos:
        words = shlex.split(todo)
        assert words[0] == "pganalytics"
        command: Any = typer.main.get_command(build_app())
        arguments = words[1:]
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        given = command.make_context("", arguments).params
        assert given["config"] == Path("my settings.toml")
        assert {given.get(key) for key in ("target", "collector", "name")} <= {None, name}
    assert sum(name in todo for todo in todos) == 4


def test_nobody_is_silent_because_we_are_late_or_do_not_know_how_late() -> None:
    old = with_collector(heartbeat_age_s=200.0)
    late = replace(KAFKA, lags=(replace(LAGS[0], seconds=60.0), replace(LAGS[1], seconds=60.0)))
    assert found(kafka=late, store=old) == []
    assert found(kafka=None, store=old) == []
    assert len(found(store=old)) == 1


def test_a_spool_that_is_gone_is_named() -> None:
    odd = OddEpoch("orphaned", Suspect("db1", 7, None, None, None), {Lane.NORMAL: 3}, {})
    store = replace(STORE, audit=replace(AUDIT, epochs=(odd,)))
    assert found(store=store) == ["db1: the spool of epoch 7 is gone | pganalytics retire db1"]


def shown(facts: Facts, width: int, *, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, force_terminal=terminal, no_color=not terminal)
    show(facts, judged(facts), console, silent_s=90)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 160])
def test_the_screen_fits_and_says_all(width: int) -> None:
    text = shown(Facts(KAFKA, STORE, ()), width)
    assert max(map(len, text.splitlines())) <= width
    for word in ("host:1: 1 targets, 10 s ago, spool 3 (999 B)", "critical", "db1", "99.9%", "stored 9", "nobody", "all well"):
        assert word in text


def test_a_number_is_not_taken_apart_from_its_name() -> None:
    large = replace(COUNTS, emitted=10**9, stored=10**9 - 3, in_kafka=1, missing=2)
    events = tuple(
        Noticed("db1", kind, 12_345, 1.0) for kind in ("deferred", "gap", "gap_filled", "slowed", "shed", "silent", "back")
    )
    text = shown(Facts(KAFKA, replace(STORE, events=events, audit=replace(AUDIT, collectors={"db1": large})), ()), 80)
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("ledger"))
    assert lines[first : first + 2] == [
        "ledger  emitted 1000000000, stored 999999997, dead 0, shed 0, in_spool 0,",
        "        in_kafka 1, missing 2",
    ]
    assert "        silent 12345, slowed 12345 in 15 min" in lines


def test_hostile_names_do_nothing_to_a_terminal() -> None:
    hostile = with_collector(name=HOSTILE, agent=HOSTILE, up=False, error=HOSTILE, unreadable=1, reason=HOSTILE)
    store = replace(hostile, events=(Noticed(HOSTILE, "shed", 1, 1.0),))
    kafka = replace(KAFKA, groups=(Group("sink", (HOSTILE,)),), quotas=Listed({}, {HOSTILE: HOSTILE}))
    text = shown(Facts(kafka, store, (HOSTILE,)), 160)
    assert "\\x1b[2J\\u202e" in text
    assert not [char for char in text if char != "\n" and not char.isprintable()]


@pytest.mark.parametrize(
    ("facts", "word"),
    [(Facts(None, STORE, ("kafka away",)), "Kafka is away"), (Facts(KAFKA, None, ("no store",)), "the store is away")],
)
def test_what_is_away_is_said_and_the_rest_is_shown(facts: Facts, word: str) -> None:
    text = shown(facts, 80)
    assert facts.away[0] in text
    assert word in text
    assert "all well" not in text


def test_many_targets_show_the_sick_ones_first() -> None:
    many = tuple(replace(WELL, name=f"db{number:03}", up=number != 77) for number in range(100))
    text = shown(Facts(KAFKA, replace(STORE, collectors=many), ()), 80)
    assert text.index("db077") < text.index("db000")
    assert "and 80 more: --json has all" in text
