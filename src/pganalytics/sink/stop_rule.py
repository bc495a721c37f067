"""When the sink stops itself: failures are a majority of the recent records, and at least five collectors mostly fail. Pure.

One poison record, or one collector that sends nothing else at whatever rate, is dead-lettered and the rest goes on. When the
fault is ours (another version, a schema, a changed table) that would empty the topics into the dead letters. A batch is
judged before anything of it is sent or written, so stopping leaves positions and dead letters as they were.

What counts as a failure, by reason:

- `headers_unreadable`, `unknown_schema`, `refused_schema`, `damaged`, `body_disagrees`, `implausible`, `not_storable` and
  `event_unreadable` count: of many collectors at once they mean that this program, its schemas or the tables are not those
  of the senders.
- `key_disagrees` does not: somebody sends under another's name.
- `stub` does not: it is a body that Kafka refused, of a sender whose records are too large for the topic.
- `too_old` and `future` do not: one agent with a wrong clock has hundreds of collectors, and another version of the sink
  would judge them alike.

Of what does not count nothing is learnt: it is neither a failure nor a success.
"""

from collections import Counter
from dataclasses import dataclass

from pganalytics.sink.batch import Batch
from pganalytics.sink.records import Place, Poison, Reason, Row

WINDOW = 1000
"""Records that are recent. A larger batch is judged whole."""
LEAST = 20
"""Fewer say nothing: the first poison after a start is no majority."""
LEAST_COLLECTORS = 5

FAILURES = frozenset(
    {
        Reason.HEADERS_UNREADABLE,
        Reason.UNKNOWN_SCHEMA,
        Reason.REFUSED_SCHEMA,
        Reason.DAMAGED,
        Reason.BODY_DISAGREES,
        Reason.IMPLAUSIBLE,
        Reason.NOT_STORABLE,
        Reason.EVENT_UNREADABLE,
    }
)
SENDERS_OWN = frozenset({Reason.KEY_DISAGREES, Reason.TOO_OLD, Reason.FUTURE, Reason.STUB})
"""Told apart in a test: every reason is in one of the two."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One record: whose, where, and why it failed, if it did. One that names nobody is its key's."""

    collector: str
    place: Place
    failure: Reason | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why to stop. `collectors`: those of which most records fail, of `seen`. `place`: the newest of the commonest reason."""

    failures: int
    records: int
    collectors: int
    seen: int
    reason: Reason
    of_reason: int
    place: Place


@dataclass(frozen=True, slots=True)
class Recent:
    """The last outcomes, oldest first, in the order in which they were read."""

    outcomes: tuple[Outcome, ...] = ()

    def after(self, batch: Batch) -> "Recent":
        """With a batch added; this one stays as it is, for a batch that is not written."""
        new = outcomes_of(batch)
        return Recent((*self.outcomes, *new)[-max(WINDOW, len(new)) :])

    @property
    def trouble(self) -> Trouble | None:
        """None as long as what fails is the senders' affair."""
        failed = [each for each in self.outcomes if each.failure is not None]
        if len(self.outcomes) < LEAST or 2 * len(failed) <= len(self.outcomes):
            return None
        seen = Counter(each.collector for each in self.outcomes)
        failing = [name for name, count in Counter(each.collector for each in failed).items() if 2 * count > seen[name]]
        if len(failing) < LEAST_COLLECTORS:
            return None
        reason, count = Counter(each.failure for each in failed if each.failure).most_common(1)[0]
        place = [each.place for each in failed if each.failure is reason][-1]
        return Trouble(len(failed), len(self.outcomes), len(failing), len(seen), reason, count, place)


def outcomes_of(batch: Batch) -> list[Outcome]:
    """What a batch's readings say. Events that are read say nothing: they are the streams' and ours."""
    found = []
    for reading in batch.readings:
        place = reading.message.place
        if isinstance(reading, Row):
            found.append(Outcome(reading.identity.collector, place, None))
        elif isinstance(reading, Poison) and reading.reason in FAILURES:
            found.append(Outcome(_whose(reading), place, reading.reason))
    return found


def has_failures(batch: Batch) -> bool:
    """Whether stopping before this batch would keep anything from the dead letters."""
    return any(isinstance(reading, Poison) and reading.reason in FAILURES for reading in batch.readings)


def _whose(poison: Poison) -> str:
    if poison.identity is not None:
        return poison.identity.collector
    return (poison.message.key or b"").decode("utf-8", "replace")
