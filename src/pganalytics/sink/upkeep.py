"""What the store needs from time to time: tables of the package's metrics, partitions ahead, the end of retention.

A thread and a connection of its own. It can fail for days without harm: the loop makes what it needs on demand.
"""

import logging
import random
import threading
import time

import psycopg

from pganalytics.runtime.backoff import Backoff
from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.logs import OnChange
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.sink.catalogue import retention_days
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.dictionaries import forget_expired
from pganalytics.sink.meters import Meters
from pganalytics.sink.outages import as_sink_error, first_line
from pganalytics.sink.partitions import drop_day, expired_days, make_days, read_days, wanted_days
from pganalytics.sink.statements import statement
from pganalytics.sink.tables import Tables, read_schemas

logger = logging.getLogger(__name__)

EVERY_S = 600.0
DAY_S = 86_400
LIST_RETENTION_DAYS = 90
"""How long the lists of events and of dead letters are kept."""


class Upkeep:
    """`run` is the body of its thread."""

    def __init__(self, settings: Settings, meters: Meters) -> None:
        self._settings = settings
        self._meters = meters
        self._backoff = Backoff(first_s=1.0, most_s=60.0)
        self._news = OnChange()

    def run(self, stop: threading.Event) -> None:
        """Look after the store every ten minutes until `stop` is set; sooner after a failure."""
        while not stop.is_set():
            stop.wait(EVERY_S if self._try() else self._backoff.delay_s(random.random()))  # noqa: S311

    def _try(self) -> bool:
        try:
            with StoreConnection.open(self._settings.store, name="sink upkeep") as connection:
                ahead = self._settings.sink.partitions_ahead_days
                look_after(connection, self._meters, today=int(time.time()) // DAY_S, ahead=ahead)
        except (psycopg.Error, SettingsError) as error:
            if isinstance(error, psycopg.Error) and as_sink_error(error) is None:
                raise
            self._backoff = self._backoff.failed()
            if self._news.is_news("upkeep", getattr(error, "sqlstate", None) or "connection"):
                logger.warning("upkeep of the store waits", extra={"detail": first_line(error)})
            return False
        self._backoff = self._backoff.succeeded()
        if self._news.is_news("upkeep", ""):
            logger.warning("upkeep of the store goes on")
        return True


def look_after(connection: StoreConnection, meters: Meters, *, today: int, ahead: int) -> None:
    """One round: tables, partitions ahead, retention. `today` in days since 1970."""
    tables = Tables(connection)
    for schema in builtin_schemas().values():
        if (conflict := tables.ensure(schema)) is not None:
            logger.warning("schema refused", extra={"detail": conflict.detail})
    for metric, schemas in read_schemas(connection).items():
        meters.partitions_made(make_days(connection, metric, wanted_days(today, ahead)))
        for day in expired_days(read_days(connection, metric), today, retention_days(schemas[-1])):
            rows = drop_day(connection, metric, day)
            meters.rows_dropped(rows)
            logger.info("retention", extra={"metric": metric, "day": day, "rows": rows})
            forget_expired(connection, schemas[-1], day + 1)
    for expire in ("events_expire", "dead_letters_expire"):
        connection.execute(statement(expire), [today - LIST_RETENTION_DAYS])
