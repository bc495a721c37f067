"""What the demo shows while it runs: read from the topics and from the store, never from inside the services."""

import time
from dataclasses import dataclass, field

import psycopg
import psycopg.rows
from confluent_kafka import KafkaException

from pganalytics.cli.demo.tail import ADMITTED, COLLECTED, TopicTail
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.metric import builtin_schemas
from pganalytics.schemas.topics import Topics

STORED = "stored"
STAGES = (COLLECTED, ADMITTED, STORED)
TOP = 5
WINDOW_S = 15
ASK_S = 2.0
"""How long a picture waits for a broker that may be dead."""

STORED_RECORDS = """
select coalesce(sum(upper(span) - lower(span)), 0)::bigint from pganalytics.ledger, unnest(stored) span
"""
TOP_STATEMENTS = """
select s.collector, coalesce(d.datname, s.dbid::text), s.queryid, sum(s.calls)::bigint,
    sum(s.total_exec_time) / 1e6, sum(s.rows)::bigint, coalesce(min(left(t.query, 200)), '')
from metrics.statements_rows s
left join metrics.query_text_latest t on t.collector = s.collector and t.queryid = s.queryid
left join lateral (
    select r.datname from metrics.database_rows r
    where r.collector = s.collector and r.datid = s.dbid and r.collected_at > now() - interval '1 hour'
    order by r.collected_at desc limit 1
) d on true
where s.collected_at > now() - make_interval(secs => %s) and not s.remainder
group by 1, 2, 3 order by 5 desc limit %s
"""
SPOOLS = """
select coalesce(sum(spool_records), 0)::bigint, coalesce(sum(spool_bytes), 0)::bigint
from (select distinct on (agent) spool_records, spool_bytes from metrics.heartbeat order by agent, collected_at desc) newest
"""
DOWN = """
select collector
from (select distinct on (collector) collector, up from metrics.heartbeat order by collector, collected_at desc) newest
where not up order by 1
"""
EVENTS = "select kind, count(*)::bigint from pganalytics.events group by 1 order by 1"
POSITIONS = "select topic, partition, next_offset from pganalytics.positions"


@dataclass(frozen=True)
class TopStatement:
    """One line of the list: times in milliseconds over the window. `text` is empty until it is known."""

    collector: str
    database: str
    queryid: int | None
    calls: int
    exec_ms: float
    rows: int
    text: str


@dataclass(frozen=True)
class Sample:
    """One look. Lags in records; `None` when the one to be asked did not answer. `down`: targets, as their heartbeats say."""

    at_s: float
    records: dict[str, int]
    rows: dict[str, int]
    lag_streams: int | None = None
    lag_sink: int | None = None
    spool_records: int = 0
    spool_bytes: int = 0
    events: dict[str, int] = field(default_factory=dict)
    statements: tuple[TopStatement, ...] = ()
    down: tuple[str, ...] = ()

    def rate(self, before: "Sample", stage: str, *, rows: bool = False) -> float:
        """Records (or rows) per second since another sample."""
        mine, theirs = (self.rows, before.rows) if rows else (self.records, before.records)
        return max(0.0, mine.get(stage, 0) - theirs.get(stage, 0)) / max(self.at_s - before.at_s, 1e-3)


def stored_rows() -> bytes:
    """The query that counts the measured rows of all metrics of the package."""
    counts = [
        f"select sum(cardinality({schema.groups['rows'][0].name})) as rows from metrics.{schema.name}"  # noqa: S608
        if "rows" in schema.groups
        else f"select count(*) from metrics.{schema.name}"  # noqa: S608
        for schema in builtin_schemas().values()
    ]
    return f"select coalesce(sum(rows), 0)::bigint from ({' union all '.join(counts)}) as counted (rows)".encode()  # noqa: S608


class Watch:
    """Takes samples. One thread; survives a store or a broker that does not answer."""

    def __init__(self, settings: Settings, tail: TopicTail) -> None:
        self._settings = settings
        self._tail = tail
        self._topics = Topics(settings.kafka.prefix, settings.kafka.partitions)
        quick = settings.kafka.model_copy(update={"timeout_s": ASK_S})
        self._offsets = GroupOffsets(quick, f"{settings.kafka.prefix}.streams", name="demo-lag")

    def sample(self) -> Sample:
        """A look at topics and store."""
        records, rows = self._tail.counts()
        now = time.monotonic()
        try:
            with psycopg.connect(conninfo(self._settings.store, connect_timeout=2)) as connection:
                return self._with_store(connection, now, records, rows)
        except psycopg.Error:
            return Sample(now, records, rows, lag_streams=self._streams_lag())

    def _with_store(
        self, store: psycopg.Connection[tuple[object, ...]], now: float, records: dict[str, int], rows: dict[str, int]
    ) -> Sample:
        with store.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
            records[STORED] = cursor.execute(STORED_RECORDS).fetchall()[0][0]
            rows[STORED] = cursor.execute(stored_rows()).fetchall()[0][0]
            statements = tuple(TopStatement(*row) for row in cursor.execute(TOP_STATEMENTS, (WINDOW_S, TOP)).fetchall())
            spool_records, spool_bytes = cursor.execute(SPOOLS).fetchall()[0]
            down = tuple(name for (name,) in cursor.execute(DOWN).fetchall())
            events: dict[str, int] = dict(cursor.execute(EVENTS).fetchall())
            positions = {(topic, part): offset for topic, part, offset in cursor.execute(POSITIONS).fetchall()}
        behind = self._behind(positions, sink=True)
        return Sample(now, records, rows, self._streams_lag(), behind, spool_records, spool_bytes, events, statements, down)

    def _streams_lag(self) -> int | None:
        collected = [self._topics.collected(lane) for lane in LANES]
        try:
            committed = self._offsets.committed((topic, part) for topic in collected for part in range(self._topics.partitions))
        except KafkaException:
            return None
        return self._behind({place: offset or 0 for place, offset in committed.items()}, sink=False)

    def _behind(self, positions: dict[tuple[str, int], int], *, sink: bool) -> int:
        collected = f"{self._topics.prefix}.collected."
        return sum(
            max(0, end - positions.get(place, 0))
            for place, end in self._tail.reached().items()
            if place[0].startswith(collected) is not sink
        )
