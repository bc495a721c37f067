"""The end of the process where going on could lose records."""

import logging
import os

from pganalytics.runtime.errors import Crash

logger = logging.getLogger(__name__)


def fail_stop(error: BaseException) -> None:
    """Say why, flush, and end at once with the exit code of a crash: no handler, no commit, no goodbye to the group."""
    logger.critical("streams failed; the process ends", extra={"error": repr(error)}, exc_info=error)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(Crash.exit_code)
