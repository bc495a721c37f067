"""What can go wrong in the sink, by what its loop does next. No SinkError ends the process.

SinkError
├── TryAgain        the store or the broker does not answer, or asks for a retry: back off, then the same batch again
├── Displaced       the store is elsewhere than this consumer: nothing was written; drop what is read and seek
└── Refused         PostgreSQL refuses a record's values: find which, dead-letter them, then the rest of the batch again

MostFail, a ProblemFound, is what the loop never catches: the sink ends with its message and exit code 1.
"""

from pganalytics.runtime.errors import ProblemFound


class SinkError(Exception):
    """Base of the errors that the loop handles."""


class TryAgain(SinkError):
    """`kind` names the failure (a SQLSTATE or a word) and never changes with the details: it is what a log line is about."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


class Displaced(SinkError):
    """A position of the store is not the batch's first offset: another sink has been here, or the store was restored."""


class Refused(SinkError):
    """A COPY failed because of the values in it."""


class MostFail(ProblemFound):
    """Most recent records, of several collectors, cannot be stored: the fault is not theirs. Nothing of the batch is done."""
