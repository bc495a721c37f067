"""What a worker does with a job: ask, compare, encode, commit. One job of a (collector, metric) runs at a time."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from pganalytics.producers.answers import Answer, Questions, Reply
from pganalytics.producers.baselines import BaselineDamaged, Kept, Movement, restore
from pganalytics.producers.changes import CHANGE
from pganalytics.producers.collectors import Job
from pganalytics.producers.contents import Contents, restore_contents, rows_of
from pganalytics.producers.discovery import discover
from pganalytics.producers.emission import (
    ROWS,
    SENT_AT,
    Emission,
    change_values,
    content_columns,
    emit_changed,
    emit_counters,
    emit_gauges,
    emit_new,
    fresh_keys,
    reading_of,
)
from pganalytics.producers.epochs import EpochEnded
from pganalytics.producers.failures import failed
from pganalytics.producers.group_commit import Refused, SpoolClosed
from pganalytics.producers.host import HOST, read_host
from pganalytics.producers.parts import Part, encode_parts
from pganalytics.producers.reading import Layout, ReadingError, layout_of
from pganalytics.producers.records import Record, Snapshot
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.results import Collected, Failed, HeldBack, Outcome
from pganalytics.producers.risks import SLOTS, slots_at_risk
from pganalytics.producers.schedule import JobKey
from pganalytics.producers.snapshot import COVERAGE_WANTED
from pganalytics.producers.spool import Spool
from pganalytics.producers.statuses import METRIC_STATUS, Status, is_telling, status_of, status_values
from pganalytics.producers.target_state import TargetState
from pganalytics.runtime.logs import OnChange
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.errors import BodyError
from pganalytics.schemas.headers import HEARTBEAT
from pganalytics.schemas.metric import MetricSchema, Send, builtin_schemas

logger = logging.getLogger(__name__)
MISFITS = (TypeError, ValueError, OverflowError, KeyError)
"""What comes of columns that are not as the schema of a user's metric says: his mistake, and no reason for the agent to end."""
LINGER_S = 0.25
"""What was read of one database waits no longer for the next ones."""
ALL_CLEAR = 0.5
"""Share of the soft limit below which the spool is said to have room again."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """What the spool has to commit for a job, what has become of it then, and what is noted then."""

    snapshots: Sequence[Snapshot]
    outcome: Outcome
    note: Callable[[], None]


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
        self._kept: dict[JobKey, Kept | Contents | None] = {}
        self._had_rows: set[JobKey] = set()
        self._codecs: dict[str, tuple[Layout, RecordCodec]] = {}
        self._news = OnChange()

    def run(self, jobs: Sequence[Job], go_on: Callable[[], bool] = lambda: True) -> list[Outcome]:
        """Jobs of one target, database by database, to their ends. What the target does wrong is an outcome; an exception is a
        crash. `go_on` is asked before each database but the first.

        The outcomes of those that were begun: after a failure no further database is. All are asked before anything is made of
        the answers, as both sides work faster while they do one thing; but no answer waits longer than LINGER_S for others.
        """
        ended: list[Outcome] = []
        answered: list[tuple[Job, Reply | Collected | HeldBack]] = []
        since = time.monotonic()
        for _, group in groupby(jobs, key=lambda job: job.key.database):
            if (ended or answered) and not go_on():
                break
            replies = self._ask(list(group))
            answered += replies
            if any(isinstance(reply, Failed) for _, reply in replies):
                break
            if time.monotonic() - since > LINGER_S:
                ended += self._settle(answered)
                answered, since = [], time.monotonic()
        return ended + self._settle(answered)

    def _ask(self, jobs: Sequence[Job]) -> list[tuple[Job, Reply | Collected | HeldBack]]:
        """Jobs of one database; HeldBack where the spool would take nothing."""
        refused = {job.key: self._spool.refusal(job.schema.lane) for job in jobs if job.key.metric != HEARTBEAT}
        replies = iter(self._replies([job for job in jobs if refused.get(job.key) is None]))
        return [(job, HeldBack(why) if (why := refused.get(job.key)) is not None else next(replies)) for job in jobs]

    def _settle(self, answered: Sequence[tuple[Job, Reply | Collected | HeldBack]]) -> list[Outcome]:
        """Make records of the answers and commit them together."""
        found = [(job, self._outcome(job, reply)) for job, reply in answered]
        committed = iter(self._commit([each for _, each in found if isinstance(each, _Ready)]))
        return [self._end(job, next(committed) if isinstance(each, _Ready) else each) for job, each in found]

    def _replies(self, jobs: Sequence[Job]) -> list[Reply | Collected]:
        """What the target says; Collected where nothing has to be asked."""
        known = [self._without_asking(job) for job in jobs]
        open_ones = [job for job, reply in zip(jobs, known, strict=True) if reply is None]
        asked = iter(self._questions.ask_together(open_ones) if open_ones else [])
        return [next(asked) if reply is None else reply for reply in known]

    def _without_asking(self, job: Job) -> Answer | Collected | None:
        if job.key.metric == HOST:
            return read_host()
        try:
            return Collected(0, asked=False) if self._nothing_new(job) else None
        except (SpoolClosed, Refused):
            return None

    def _end(self, job: Job, outcome: Outcome) -> Outcome:
        state = self._states[job.key.collector]
        self._watch_spool()
        if isinstance(outcome, HeldBack):
            state.count(f"{'held_back' if job.schema.counts else 'skipped'}.{outcome.why}")
        elif isinstance(outcome, Failed) and outcome.of_target:
            state.failed(outcome.kind)
        if is_telling(outcome):
            state.board.note((job.key.metric, job.key.database), status_of(outcome), time.time_ns() // 1000)
        return outcome

    def unload(self, keys: Collection[JobKey]) -> None:
        """These jobs run no more, or not soon: the spool still has their baselines."""
        for key in keys:
            self._kept.pop(key, None)
            self._had_rows.discard(key)

    def forget(self, keys: Collection[JobKey]) -> None:
        """These jobs run no more: their databases are gone, and with them what was remembered."""
        self.unload(keys)
        for collector, database in {(key.collector, key.database) for key in keys}:
            self._questions.forget(collector, database)
        self._spool.drop_baselines([(key.collector, key.metric, key.database) for key in keys])

    def _outcome(self, job: Job, answer: Reply | Collected | HeldBack) -> "Outcome | _Ready":
        if not isinstance(answer, Answer):
            return answer
        state = self._states[job.key.collector]
        try:
            if job.key.metric == HEARTBEAT:
                return _note_pulse(answer, state)
            if job.key.metric == METRIC_STATUS:
                return self._discover(job, answer, state)
            if job.key.metric == SLOTS:
                state.note_slots(slots_at_risk(answer.groups[ROWS]))
            return self._emit(job, answer)
        except (ReadingError, BodyError) as error:
            return failed("bad_answer", str(error), of_target=False)
        except MISFITS as error:
            if job.key.metric in builtin_schemas():
                raise
            reason = f"what its query gives does not fit its schema: {type(error).__name__}"
            return failed("bad_answer", reason, of_target=False)
        except Refused as error:
            return HeldBack(str(error))
        except (EpochEnded, SpoolClosed):
            return HeldBack("stopping")

    def _emit(self, job: Job, answer: Answer) -> "Outcome | _Ready":
        layout, codec = self._tools(job.schema)
        said = {"datname": job.database}
        if job.schema.counts:
            reading = reading_of(layout, answer)
            if reading is None:
                return failed("reset_while_reading", "the statistics were reset during the reading", of_target=False)
            kept = self._baseline(job, layout.counters)
            emission = emit_counters(layout, kept, reading, answer, said, limit=job.limit)
        elif job.schema.send is Send.NEW:
            emission = emit_new(layout, self._baseline(job, SENT_AT), answer, said, self._redaction)
        elif job.schema.send is Send.CHANGED:
            emission = self._emit_changed(job, layout, answer, said)
        else:
            had_rows = job.key in self._had_rows
            emission = emit_gauges(job.schema, answer, said, had_rows=had_rows, redaction=self._redaction)
        snapshots, rows = self._snapshots(job, codec, emission)
        read = sum(len(table.rows) for table in answer.groups.values())
        size = sum(len(one.record.rest) for one in snapshots if one.record is not None)
        outcome = Collected(rows, asked=job.asks, read=read, size=size)
        return _Ready(snapshots, outcome, partial(self._note_sent, job, emission, rows))

    def _note_sent(self, job: Job, emission: Emission, rows: int) -> None:
        if emission.after is not None:
            self._kept[job.key] = emission.after
        (self._had_rows.add if rows else self._had_rows.discard)(job.key)
        if emission.values is not None:
            self._watch_coverage(job, emission.values.get("coverage_time"))

    def _emit_changed(self, job: Job, layout: Layout, answer: Answer, said: Mapping[str, Any]) -> Emission:
        names = [field.name for field in content_columns(layout)]
        kept = self._remembered(job, lambda entries: restore_contents(entries, names))
        return emit_changed(
            layout,
            kept if isinstance(kept, Contents) else None,
            answer,
            said,
            self._redaction,
            database=job.key.database,
            sent_before=lambda: rows_of(self._spool.baseline(job.key.collector, job.key.metric, job.key.database), names),
        )

    def _discover(self, job: Job, answer: Answer, state: TargetState) -> "Outcome | _Ready":
        """The databases, and what cannot be read when that is news."""
        table = answer.groups[ROWS]
        found = discover(job.target, ((name, allows, may) for name, allows, may in table.rows))
        unavailable = {name: Status(why.kind.value, why.reason, why.cure) for name, why in found.unavailable.items()}
        state.board.keep_databases(unavailable, found.databases, answer.asked_us)
        if (rows := state.board.to_send(answer.asked_us)) is None:
            return found
        values = status_values(job.schema, len(found.databases), rows, answer.asked_us)
        snapshots, _ = self._snapshots(job, self._tools(job.schema)[1], Emission(values))
        return _Ready(snapshots, found, partial(state.board.was_sent, rows, answer.asked_us))

    def _commit(self, ready: Sequence["_Ready"]) -> list[Outcome]:
        """In one transaction; when the spool refuses that each in its own, so that what has no room holds back itself alone."""
        try:
            self._spool.append_many([snapshot for one in ready for snapshot in one.snapshots])
        except Refused as error:
            if len(ready) == 1:
                return [HeldBack(str(error))]
            return [outcome for one in ready for outcome in self._commit([one])]
        except (EpochEnded, SpoolClosed):
            return [HeldBack("stopping")] * len(ready)
        for one in ready:
            one.note()
        return [one.outcome for one in ready]

    def _snapshots(self, job: Job, codec: RecordCodec, emission: Emission) -> tuple[list[Snapshot], int]:
        """All parts, what changed, and the movement of the baseline; the number of rows."""
        key, values = job.key, emission.values or {}
        parts = encode_parts(codec, values) if values else []
        records = [self._record(job, job.schema, values["collected_at"], part) for part in parts]
        if emission.changes:
            told = change_values(values["collected_at"], emission.changes)
            schema = builtin_schemas()[CHANGE]
            changed = encode_parts(self._tools(schema)[1], told)
            records += [self._record(job, schema, values["collected_at"], part) for part in changed]
        movement = Movement(key.collector, key.metric, key.database, *emission.entry) if emission.entry is not None else None
        snapshots = [Snapshot(record, None) for record in records[:-1]]
        if records or movement is not None:
            snapshots.append(Snapshot(records[-1] if records else None, movement))
        return snapshots, sum(part.rows for part in parts)

    def _record(self, job: Job, schema: MetricSchema, at_us: int, part: Part) -> Record:
        return Record(
            collector=job.key.collector,
            epoch=self._epochs[job.key.collector],
            schema=schema,
            rest=part.rest,
            rows=part.rows,
            collected_at_us=at_us,
        )

    def _nothing_new(self, job: Job) -> bool:
        """Whether each key of a dictionary is known, going by the last reading of the metric that has them all."""
        if job.schema.keys_from is None:
            return False
        other = JobKey(job.key.collector, job.schema.keys_from)
        seen, tools = self._kept.get(other), self._codecs.get(other.metric)
        if not isinstance(seen, Kept) or tools is None:
            return False
        names = [field.name for field in tools[0].keys]
        places = [names.index(field.name) for field in self._tools(job.schema)[0].keys]
        fresh = fresh_keys(job.schema, self._baseline(job, SENT_AT), time.time_ns() // 1000)
        return all(tuple(key[place] for place in places) in fresh for key in seen.baseline.index)

    def _tools(self, schema: MetricSchema) -> tuple[Layout, RecordCodec]:
        if schema.name not in self._codecs:
            self._codecs[schema.name] = layout_of(schema), RecordCodec(schema)
        return self._codecs[schema.name]

    def _baseline(self, job: Job, columns: Sequence[str]) -> Kept | None:
        kept = self._remembered(job, lambda entries: restore(entries, columns))
        return kept if isinstance(kept, Kept) else None

    def _remembered(self, job: Job, read: Callable[[list[bytes]], Kept | Contents | None]) -> Kept | Contents | None:
        """What the spool has of a job, read once."""
        key = job.key
        if key not in self._kept:
            try:
                self._kept[key] = read(self._spool.baseline(key.collector, key.metric, key.database))
            except BaselineDamaged as error:
                facts = {"collector": key.collector, "metric": key.metric, "database": key.database, "reason": str(error)}
                logger.warning("baseline lost, counting begins anew", extra=facts)
                self._kept[key] = None
        return self._kept[key]

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
        if coverage is not None:
            self._states[job.key.collector].note_coverage((job.key.metric, job.key.database), coverage)
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
