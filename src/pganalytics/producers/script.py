"""What is sent for several metrics of one database together, and whose answer is where. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pganalytics.producers.catalogue import ServerFacts, Variant
from pganalytics.producers.collectors import Job
from pganalytics.producers.extension_guard import watch_extensions
from pganalytics.producers.pipeline import Step
from pganalytics.producers.session import transaction_limits
from pganalytics.producers.tables import Table

MARK = re.compile(r"/\* pganalytics:\w+ \*/")
PLANS_KEPT_S = 600.0
"""Readings at longer intervals are planned each time: theirs are large plans, which would take the server's memory for hours."""


@dataclass(frozen=True, slots=True)
class Part:
    """Of one metric: the text of its context, which others may share, and the names of its groups."""

    context: str | None
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """The limits of the transaction, then `watches` steps that find extensions, then contexts, groups, and contexts again."""

    steps: tuple[Step, ...]
    watches: int
    befores: tuple[str, ...]
    afters: tuple[str, ...]
    parts: tuple[Part, ...]

    def sort(self, tables: Sequence[Table]) -> Iterator[tuple[Table | None, Mapping[str, Table], Table | None]]:
        """For each metric its context, its groups, and its context again; from a table for each step."""
        given = iter(tables[1 + self.watches :])
        before = {text: next(given) for text in self.befores}
        groups = [{name: next(given) for name in part.groups} for part in self.parts]
        after = {text: next(given) for text in self.afters}
        for part, tables_of in zip(self.parts, groups, strict=True):
            context = part.context
            yield (None, tables_of, None) if context is None else (before[context], tables_of, after.get(context))


def write_script(facts: ServerFacts, server_version: int, asked: Sequence[tuple[Job, Variant]]) -> Script:
    """What several metrics share as context is asked for once; where anything counts, before and after all."""
    texts = [variant.statements(facts, job.parameters) for job, variant in asked]
    contexts = [None if context is None else _unmarked(context) for context, _ in texts]
    befores = tuple(dict.fromkeys(text for text in contexts if text is not None))
    counting = {text for (job, _), text in zip(asked, contexts, strict=True) if job.schema.counts}
    afters = tuple(text for text in befores if text in counting)
    limits = Step(transaction_limits(server_version, max(job.timeout_s for job, _ in asked)))
    watches = watch_extensions(facts, [variant for _, variant in asked])
    reads = [
        Step(text, keep_plan=job.interval_s <= PLANS_KEPT_S)
        for (job, _), (_, statements) in zip(asked, texts, strict=True)
        for text in statements.values()
    ]
    parts = zip(contexts, texts, strict=True)
    return Script(
        steps=(limits, *watches, *(Step(text, at_once=text in afters) for text in befores), *reads, *map(Step, afters)),
        watches=len(watches),
        befores=befores,
        afters=afters,
        parts=tuple(Part(context, tuple(statements)) for context, (_, statements) in parts),
    )


def _unmarked(context: str) -> str:
    """With a mark that is not the metric's: the text may serve several."""
    return MARK.sub("/* pganalytics */", context, count=1)
