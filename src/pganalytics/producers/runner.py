"""What a worker does with a job: ask, compare, encode, commit. One job of a (collector, metric) runs at a time."""

import logging
from collections.abc import Mapping

from pganalytics.producers.answers import Answer, Questions
from pganalytics.producers.baselines import BaselineDamaged, Kept, Movement, advance, restore
from pganalytics.producers.collectors import Job
from pganalytics.producers.diff import compare
from pganalytics.producers.epochs import EpochEnded
from pganalytics.producers.failures import failed
from pganalytics.producers.group_commit import Refused, SpoolClosed
from pganalytics.producers.reading import Layout, Reading, ReadingError, layout_of, read_context, read_rows
from pganalytics.producers.records import Record, Snapshot
from pganalytics.producers.results import Collected, Failed, HeldBack, Outcome
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.snapshot import COVERAGE_WANTED, snapshot_values
from pganalytics.producers.spool import Spool
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.logs import OnChange
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.headers import HEARTBEAT

logger = logging.getLogger(__name__)
ALL_CLEAR = 0.5
"""Share of the soft limit below which the spool is said to have room again."""


class Runner:
    """Runs jobs. `epochs` and `states` have an entry for every collector."""

    def __init__(self, questions: Questions, spool: Spool, epochs: Mapping[str, int], states: Mapping[str, TargetState]) -> None:
        self._questions = questions
        self._spool = spool
        self._epochs = epochs
        self._states = states
        self._kept: dict[JobKey, Kept | None] = {}
        self._codecs: dict[str, tuple[Layout, RecordCodec]] = {}
        self._news = OnChange()

    def run(self, job: Job) -> Outcome:
        """One job, to its end. What the target does wrong is an outcome; an exception is a crash."""
        state = self._states[job.key.collector]
        why = self._spool.refusal(job.schema.lane) if job.key.metric != HEARTBEAT else None
        outcome = HeldBack(why) if why is not None else self._read(job, state)
        self._watch_spool()
        if isinstance(outcome, HeldBack):
            state.count(f"{'held_back' if job.schema.counts else 'skipped'}.{outcome.why}")
        elif isinstance(outcome, Failed) and outcome.of_target:
            state.failed(outcome.kind)
        return outcome

    def _read(self, job: Job, state: TargetState) -> Outcome:
        answer = self._questions.ask(job)
        if not isinstance(answer, Answer):
            return answer
        if job.key.metric == HEARTBEAT:
            return _note_pulse(answer, state)
        try:
            return self._emit(job, answer)
        except (ReadingError, BodyError) as error:
            return failed("bad_answer", str(error), of_target=False)
        except Refused as error:
            return HeldBack(str(error))
        except (EpochEnded, SpoolClosed):
            return HeldBack("stopping")

    def _emit(self, job: Job, answer: Answer) -> Outcome:
        layout, codec = self._tools(job)
        reading = reading_of(layout, answer)
        if reading is None:
            return failed("reset_while_reading", "the statistics were reset during the reading", of_target=False)
        kept = self._baseline(job, layout)
        before = kept.baseline if kept is not None else None
        difference, after = compare(before, reading)
        record = None
        if difference is not None and before is not None:
            values = snapshot_values(layout, before, reading, difference, limit=job.limit)
            record = Record(
                collector=job.key.collector,
                epoch=self._epochs[job.key.collector],
                schema=job.schema,
                rest=codec.encode_rest(values),
                rows=job.schema.row_count(values),
                collected_at_us=reading.context.collected_at_us,
            )
            self._watch_coverage(job, values.get("coverage_time"))
        full, body, after_commit = advance(kept if difference is not None else None, after, layout.counters)
        self._spool.append(Snapshot(record, Movement(job.key.collector, job.key.metric, "", full, body)))
        self._kept[job.key] = after_commit
        return Collected(record.rows if record is not None else 0)

    def _tools(self, job: Job) -> tuple[Layout, RecordCodec]:
        if job.key.metric not in self._codecs:
            self._codecs[job.key.metric] = layout_of(job.schema), RecordCodec(job.schema)
        return self._codecs[job.key.metric]

    def _baseline(self, job: Job, layout: Layout) -> Kept | None:
        if job.key not in self._kept:
            try:
                self._kept[job.key] = restore(self._spool.baseline(job.key.collector, job.key.metric), layout.counters)
            except BaselineDamaged as error:
                facts = {"collector": job.key.collector, "metric": job.key.metric, "reason": str(error)}
                logger.warning("baseline lost, counting begins anew", extra=facts)
                self._kept[job.key] = None
        return self._kept[job.key]

    def _watch_spool(self) -> None:
        """Told once when readings begin to be held back, and once when half of that is gone."""
        fill = self._spool.fill
        if (fill >= 1 or fill < ALL_CLEAR) and self._news.is_news("spool", "full" if fill >= 1 else ""):
            records, size = self._spool.usage
            facts = {"records": records, "bytes": size}
            if fill >= 1:
                logger.warning("the spool is above its soft limit: readings are held back", extra=facts)
            else:
                logger.info("the spool has room again", extra=facts)

    def _watch_coverage(self, job: Job, coverage: float | None) -> None:
        low = coverage is not None and coverage < COVERAGE_WANTED
        if self._news.is_news(f"{job.key.collector} {job.key.metric}", "low" if low else ""):
            facts = {"collector": job.key.collector, "metric": job.key.metric, "coverage_time": coverage, "limit": job.limit}
            if low:
                logger.warning("rows in detail cover too little time: raise the metric's limit", extra=facts)
            else:
                logger.info("rows in detail cover enough time again", extra=facts)


def reading_of(layout: Layout, answer: Answer) -> Reading | None:
    """None when the statistics were reset between the two contexts: nobody can say which side a row is of."""
    if answer.context_before is None or answer.context_after is None:
        raise ReadingError(f"metric {layout.schema.name}: its query gives no context")
    before, after = (
        read_context(layout.schema, answer.context_names, row, answer.asked_us)
        for row in (answer.context_before, answer.context_after)
    )
    return read_rows(layout, before, answer.names, answer.rows) if before.same_statistics(after) else None


def _note_pulse(answer: Answer, state: TargetState) -> Outcome:
    values = dict(zip(answer.names, answer.rows[0], strict=True))
    middle_us = (answer.asked_us + answer.answered_us) // 2
    values["clock_skew"] = values.pop("server_time") - middle_us
    state.answered(answer.answered_us, values)
    return Collected(1)
