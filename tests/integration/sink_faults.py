"""`pganalytics sink` with something planted in it: `python -m integration.sink_faults FAULT sink --config FILE`."""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pganalytics.cli.main import main
from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.logs import OnChange
from pganalytics.sink import consumer, writer
from pganalytics.sink.batch import Batch, Plan
from pganalytics.sink.connection import STATEMENT_TIMEOUT_S, StoreConnection
from pganalytics.sink.positions import columns
from pganalytics.sink.session import Session
from pganalytics.sink.statements import statement

MOST_POLL_MS = 10_000
"""Instead of 300 s."""
DIES_AT_SEQ = 21


def impatient() -> None:
    """Not a fault: a sixtieth of `statement_timeout`, so that a test need not wait for it, and as little of Kafka's patience."""
    StoreConnection.open.__func__.__kwdefaults__["statement_timeout_s"] = STATEMENT_TIMEOUT_S // 60  # type: ignore[attr-defined]
    whole = consumer._config
    consumer._config = lambda *given: {**whole(*given), "max.poll.interval.ms": MOST_POLL_MS}


def hectic() -> None:
    """Tries again at once, and says so each time."""
    impatient()
    Backoff.delay_s = lambda self, jitter: 0.0  # type: ignore[method-assign]
    OnChange.is_news = lambda self, key, state: True  # type: ignore[method-assign]


def dies(*, offsets_first: bool = False) -> None:
    """Kills itself once, before a certain batch is written; `offsets_first`: when how far it has read is committed already."""
    once, whole = Path(sys.argv[-1]).with_suffix(".died"), Session.write

    def write(self: Session, batch: Batch) -> Plan:
        if offsets_first:
            places = sorted(batch.spans)
            following = [batch.spans[place].following for place in places]
            self.connection.execute(statement("positions_update"), [*columns(places), following])
        if any(row.identity.seq == DIES_AT_SEQ for row in batch.rows) and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, batch)

    setattr(Session, "write", write)  # noqa: B010 - a method is not to be assigned, says mypy, and here it is
    if offsets_first:
        writer._check_fence = lambda batch, positions: None


FAULTS: dict[str, Callable[[], None]] = {
    "impatient": impatient,
    "hectic": hectic,
    "dies": dies,
    "dies-offsets-first": partial(dies, offsets_first=True),
}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    main()
