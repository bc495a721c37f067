"""Where reading goes on: at the store's positions, never at Kafka's group offsets.

So a store that was restored from a backup catches up by itself, and what a transaction did not write is read again.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka.admin import AdminClient

from pganalytics.schemas.topics import Topics
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.continuity import resume_at
from pganalytics.sink.letters import Letters, position_outside_log
from pganalytics.sink.log_ends import log_ends, log_starts
from pganalytics.sink.records import Partition, Place
from pganalytics.sink.statements import statement

logger = logging.getLogger(__name__)


def find_positions(
    connection: StoreConnection,
    admin: AdminClient,
    assignment: Sequence[Partition],
    *,
    letters: Letters,
    topics: Topics,
    timeout_s: float,
    now_us: int,
) -> dict[Partition, int]:
    """From where to read each partition. One that was never read begins at the log's start.

    A position that the log does not have is an event, told before the position is moved to the log's start. Raises
    Unreachable, TryAgain, psycopg.Error.
    """
    starts = log_starts(admin, assignment, timeout_s)
    connection.execute(statement("positions_insert"), [*columns(starts), list(starts.values())])
    found = read_positions(connection, assignment)
    ends = log_ends(admin, assignment, timeout_s)  # after the positions, which another sink may be moving still
    resumed = {each: resume_at(position, start=starts[each], end=ends[each]) for each, position in found.items()}
    for (topic, number), offset in resumed.items():
        position = found[topic, number]
        if offset == position:
            continue
        facts = {"topic": topic, "partition": number, "position": position, "read_from": offset}
        logger.warning("position outside the log", extra=facts)
        detail = f"the store is at offset {position}, which the log does not have; reading goes on at {offset}"
        letters.tell([position_outside_log(topics, Place(topic, number, position, now_us), detail)])
        connection.execute(statement("positions_move"), [topic, number, position, offset])
    return resumed


def read_positions(connection: StoreConnection, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """What the store says; nothing for partitions that it does not know."""
    rows = connection.execute(statement("positions_read"), columns(partitions)).fetchall()
    return {(topic, number): offset for topic, number, offset in rows}


def columns(partitions: Iterable[Partition] | Mapping[Partition, object]) -> list[Any]:
    """Topics and numbers, as parameters."""
    return [list(column) for column in zip(*partitions, strict=True)] or [[], []]
