"""Log lines of clients that are not ours: a line that comes again and again while a broker is away is shown once a minute."""

import logging
import threading
import time
from collections.abc import Callable

WINDOW_S = 60.0
CLIENTS = ("aiokafka", "faust", "mode")


class Repeats(logging.Filter):
    """Lets a line of one logger and one text through once per window; the next one says how many were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show the line. The text is the one without its facts."""
        key = record.name, str(record.msg)[:80]
        now = self._clock()
        with self._lock:
            since, left_out = self._seen.get(key, (now - WINDOW_S, 0))
            if now - since < WINDOW_S:
                self._seen[key] = since, left_out + 1
                return False
            self._seen[key] = now, 0
        if left_out:
            record.left_out = left_out
        return True


def quieten() -> None:
    """Filter the loggers that the clients have made. Called once they are imported."""
    repeats = Repeats()
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in CLIENTS:
            logging.getLogger(name).addFilter(repeats)
