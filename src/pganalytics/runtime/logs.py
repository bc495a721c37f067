"""One logging system, set up by `cli` only. The text of a line is constant, facts are fields."""

import json
import logging
import sys
import threading
import time
from typing import Any, TextIO

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logging(*, level: str, as_json: bool, stream: TextIO | None = None) -> None:
    """Send everything at or above `level` to standard error, as text or as one JSON object per line."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("aiokafka", "faust", "mode", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # what it warns of at each attempt is raised too, and told on change


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was passed as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


class TextFormatter(logging.Formatter):
    """time level logger: text key=value ..."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, with a traceback below it where there is one."""
        facts = "".join(f" {name}={_quoted(value)}" for name, value in fields_of(record).items())
        text = f"{_utc(record)} {record.levelname} {_short(record.name)}: {_safe(record.getMessage())}{facts}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, text, then the fields."""
        line = {
            "at": _utc(record),
            "level": record.levelname,
            "logger": _short(record.name),
            "text": record.getMessage(),
        }
        line |= fields_of(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class OnChange:
    """Tells whether a state is news: a repeated failure is logged when it starts, when it changes and when it ends.

    Any thread may call it. It holds one state per key; `forget` drops a key that will not come again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}

    def is_news(self, key: str, state: str) -> bool:
        """Whether `state` differs from the last one of `key`. The empty state is the one that needs no announcement."""
        if not state and key not in self._states:  # most are like this: no lock for them
            return False
        with self._lock:
            before = self._states.get(key, "")
            if state:
                self._states[key] = state
            else:
                self._states.pop(key, None)
            return before != state

    def forget(self, key: str) -> None:
        """Drop a key."""
        with self._lock:
            self._states.pop(key, None)


def _utc(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _short(name: str) -> str:
    return name.removeprefix("pganalytics.")


def _safe(text: str) -> str:
    """Without control characters: names and texts of targets are hostile."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _quoted(value: object) -> str:
    text = _safe(str(value))
    return f'"{text}"' if not text or any(char in text for char in ' ="') else text
