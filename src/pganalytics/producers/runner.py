"""What a worker does with a job: ask, compare, encode, commit. One job of a (collector, metric) runs at a time."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pganalytics.producers.answers import Answer, Questions
from pganalytics.producers.baselines import BaselineDamaged, Kept, Movement, restore
from pganalytics.producers.collectors import Job
from pganalytics.producers.emission import (
    ROWS,
    SENT_AT,
    Emission,
    emit_counters,
    emit_gauges,
    emit_new,
    fresh_keys,
    reading_of,
)
from pganalytics.producers.epochs import EpochEnded
from pganalytics.producers.failures import failed
from pganalytics.producers.group_commit import Refused, SpoolClosed
from pganalytics.producers.parts import Part, encode_parts
from pganalytics.producers.reading import Layout, ReadingError, layout_of
from pganalytics.producers.records import Record, Snapshot
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.results import Collected, Failed, HeldBack, Outcome
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.snapshot import COVERAGE_WANTED
from pganalytics.producers.spool import Spool
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.logs import OnChange
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.headers import HEARTBEAT
from pganalytics.schemas.metric import Send

logger = logging.getLogger(__name__)
ALL_CLEAR = 0.5
"""Share of the soft limit below which the spool is said to have room again."""


class Runner:
    """Runs jobs. `epochs` and `states` have an entry for every collector."""

    def __init__(
        self,
        questions: Questions,
        spool: Spool,
        epochs: Mapping[str, int],
        states: Mapping[str, TargetState],
        redaction: Redaction = Redaction.LITERALS,
    ) -> None:
        self._questions = questions
        self._spool = spool
        self._epochs = epochs
        self._states = states
        self._redaction = redaction
        self._kept: dict[JobKey, Kept | None] = {}
        self._had_rows: set[JobKey] = set()
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
        if self._nothing_new(job):
            return Collected(0)
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
        if job.schema.counts:
            reading = reading_of(layout, answer)
            if reading is None:
                return failed("reset_while_reading", "the statistics were reset during the reading", of_target=False)
            emission = emit_counters(layout, self._baseline(job, layout.counters), reading, job.limit)
        elif job.schema.send is Send.NEW:
            emission = emit_new(layout, self._baseline(job, SENT_AT), answer, self._redaction)
        else:
            had_rows = job.key in self._had_rows
            emission = emit_gauges(job.schema, answer, had_rows=had_rows, redaction=self._redaction)
        rows = self._commit(job, codec, emission)
        if emission.after is not None:
            self._kept[job.key] = emission.after
        (self._had_rows.add if rows else self._had_rows.discard)(job.key)
        if emission.values is not None:
            self._watch_coverage(job, emission.values.get("coverage_time"))
        return Collected(rows)

    def _commit(self, job: Job, codec: RecordCodec, emission: Emission) -> int:
        """All parts and the movement of the baseline, or nothing; the number of rows."""
        values = emission.values or {}
        parts = encode_parts(codec, values) if values else []
        movement = Movement(job.key.collector, job.key.metric, "", *emission.entry) if emission.entry is not None else None
        records = [self._record(job, values, part) for part in parts]
        if records or movement is not None:
            last = Snapshot(records[-1] if records else None, movement)
            self._spool.append_many([*(Snapshot(record, None) for record in records[:-1]), last])
        return sum(part.rows for part in parts)

    def _record(self, job: Job, values: Mapping[str, Any], part: Part) -> Record:
        return Record(
            collector=job.key.collector,
            epoch=self._epochs[job.key.collector],
            schema=job.schema,
            rest=part.rest,
            rows=part.rows,
            collected_at_us=values["collected_at"],
        )

    def _nothing_new(self, job: Job) -> bool:
        """Whether each key of a dictionary is known, going by the last reading of the metric that has them all."""
        if job.schema.keys_from is None:
            return False
        other = JobKey(job.key.collector, job.schema.keys_from)
        seen, tools = self._kept.get(other), self._codecs.get(other.metric)
        if seen is None or tools is None:
            return False
        names = [field.name for field in tools[0].keys]
        places = [names.index(field.name) for field in self._tools(job)[0].keys]
        fresh = fresh_keys(job.schema, self._baseline(job, SENT_AT), time.time_ns() // 1000)
        return all(tuple(key[place] for place in places) in fresh for key in seen.baseline.index)

    def _tools(self, job: Job) -> tuple[Layout, RecordCodec]:
        if job.key.metric not in self._codecs:
            self._codecs[job.key.metric] = layout_of(job.schema), RecordCodec(job.schema)
        return self._codecs[job.key.metric]

    def _baseline(self, job: Job, columns: Sequence[str]) -> Kept | None:
        if job.key not in self._kept:
            try:
                self._kept[job.key] = restore(self._spool.baseline(job.key.collector, job.key.metric), columns)
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


def _note_pulse(answer: Answer, state: TargetState) -> Outcome:
    table = answer.groups[ROWS]
    values = dict(zip(table.names, table.rows[0], strict=True))
    middle_us = (answer.asked_us + answer.answered_us) // 2
    values["clock_skew"] = values.pop("server_time") - middle_us
    state.answered(answer.answered_us, values)
    return Collected(1)
