"""What is sent for several metrics together, and that each gets its own answer."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.producers import answers
from pganalytics.producers.answers import Answer
from pganalytics.producers.catalogue import Extension, ServerFacts, Variant, load_catalogue
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.pipeline import Step
from pganalytics.producers.script import MARK, PLANS_KEPT_S, write_script
from pganalytics.producers.session import Session
from pganalytics.producers.tables import Table
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas

FACTS = ServerFacts((17,), "app", "watcher", True, {"pg_stat_statements": Extension((1, 11), "ext")})
CATALOGUE = load_catalogue(builtin_schemas())
SETTINGS = Settings.model_validate({"targets": [{"name": "one"}], "collect": {"preset": "full"}})
JOBS = [job for job in resolve_jobs(SETTINGS, builtin_schemas(), "machine") if CATALOGUE.variants.get(job.key.metric)]


def variant_of(job: Job, facts: ServerFacts = FACTS) -> Variant:
    variant = CATALOGUE.choose(job.key.metric, facts)
    assert isinstance(variant, Variant)
    return variant


def table_of(step: Step) -> Table:
    """A table that says what was asked for."""
    return Table(["text"], [(step.text,)])


def said(table: Table | None) -> str | None:
    return None if table is None else table.rows[0][0]


@given(st.lists(st.sampled_from(JOBS), min_size=1, max_size=6, unique_by=lambda job: job.key))
def test_each_metric_gets_its_own_answer_and_what_is_shared_is_asked_for_once(jobs: list[Job]) -> None:
    asked = [(job, variant_of(job)) for job in jobs]
    script = write_script(FACTS, 170000, asked)
    texts = [step.text for step in script.steps]
    for (job, variant), (before, groups, after) in zip(asked, script.sort([*map(table_of, script.steps)]), strict=True):
        context, statements = variant.statements(FACTS, job.parameters)
        assert {name: said(table) for name, table in groups.items()} == statements
        unmarked = None if context is None else MARK.sub("/* pganalytics */", context, count=1)
        assert said(before) == unmarked
        if job.schema.counts:
            assert said(after) == unmarked
    assert texts[0].count("statement_timeout") == 1
    assert f"'{max(1, round(max(job.timeout_s for job in jobs) * 1000))}'" in texts[0]
    assert script.watches == any(variant.extension is not None for _, variant in asked)
    assert len(set(script.befores)) == len(script.befores)
    assert {step.text for step in script.steps if step.at_once} == {text for text in texts if texts.count(text) > 1}
    kept = {step.text: step.keep_plan for step in script.steps}
    for job, variant in asked:
        for text in variant.statements(FACTS, job.parameters)[1].values():
            assert kept[text] == (job.interval_s <= PLANS_KEPT_S)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Step]]:
    """The steps of each round trip; answered by what was asked."""
    seen: list[Sequence[Step]] = []

    def answered(session: Session, steps: Sequence[Step]) -> list[Table]:
        del session
        seen.append(steps)
        return [table_of(step) for step in steps]

    monkeypatch.setattr(answers, "run_together", answered)
    return seen


def test_a_script_is_written_once_and_anew_for_other_jobs_or_facts(sent: list[Sequence[Step]]) -> None:
    statements = next(job for job in JOBS if job.key.metric == "statements")
    info = SimpleNamespace(server_version=170000)
    session = cast(Session, SimpleNamespace(facts=FACTS, scripts={}, info=info, heavy=False))

    def ask(job: Job) -> Sequence[Step]:
        (answer,) = answers._query(session, [(job, variant_of(job, session.facts or FACTS))])
        assert isinstance(answer, Answer)
        return sent[-1]

    first = ask(statements)
    assert ask(statements) is first
    slower = replace(statements, timeout_s=statements.timeout_s + 1)
    assert ask(slower)[0] != first[0], "its limit is in the first statement"
    session.facts = replace(FACTS, extensions={"pg_stat_statements": Extension((1, 11), "elsewhere")})
    moved = ask(slower)
    assert moved[1].parameters == ("pg_stat_statements", "elsewhere")
    assert any('"elsewhere".pg_stat_statements' in step.text for step in moved)
