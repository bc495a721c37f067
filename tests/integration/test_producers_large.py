"""A database of 20,000 relations: what reading it costs the server, in processor time and in memory that it keeps."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from integration.pairs import answer_of
from integration.producers_feed import Asker, watched
from pganalytics.embedded.postgres import PostgresServer
from pganalytics.producers.answers import MANY_ROWS, Answer
from pganalytics.producers.emission import emit_changed, emit_gauges, reading_of
from pganalytics.producers.parts import encode_parts
from pganalytics.producers.reading import layout_of
from pganalytics.producers.redaction import Redaction
from pganalytics.schemas.codec import RecordCodec
from pganalytics.schemas.metric import MetricSchema, Scope, Send
from waiting import until

MANY = """
do $$ begin
    for i in 1..18500 loop
        execute 'create table t' || i || ' ()';
        if i % 500 = 0 then
            execute 'create table with_index_and_toast_' || i / 500 || ' (id int primary key, word text)';
            commit;
        end if;
    end loop;
end $$
"""
FEWER = "do $$ begin for i in 1..{} loop execute 'create table t' || i || ' ()'; end loop; end $$"
PART_LIMIT = 100_000
"""Below that of the agent: these names are short."""
MOST = 1.0
"""Of the processor time that the making took. All readings together take a quarter of it; one whose plan compared all relations
with all took 16 times as much as all of them."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server whose catalogue nobody has analyzed since it grew."""
    with PostgresServer.start(tmp_path_factory.mktemp("large"), settings={"autovacuum": "off"}) as server:
        yield server
        server.stop("immediate")


@pytest.fixture
def asker(own: PostgresServer, tmp_path: Path) -> Iterator[Asker]:
    one = Asker({**watched(own, tmp_path, extension=False).target("one"), "preset": "full", "hold_databases": 1})
    yield one
    one.pools.close()


def processes(server: PostgresServer, asker: Asker) -> set[int]:
    """Of the agent's role."""
    with psycopg.connect(server.conninfo()) as connection:
        user = asker.jobs["heartbeat"].target.user
        return {pid for (pid,) in connection.execute("select pid from pg_stat_activity where usename = %s", (user,)).fetchall()}


def spent_s(server: PostgresServer) -> float:
    """Processor time of all its processes so far, also of those that have ended."""
    postmaster = psutil.Process(server.pid)
    ended = postmaster.cpu_times()
    alive = [child.cpu_times() for child in postmaster.children()]
    return float(ended.children_user + ended.children_system + sum(one.user + one.system for one in alive))


def make(server: PostgresServer, asker: Asker, statement: str) -> str:
    """Run a statement in the watched database; the name of that."""
    dbname = asker.jobs["heartbeat"].target.dbname
    with psycopg.connect(server.conninfo(dbname), autocommit=True) as connection:
        connection.execute(statement.encode())
        process = connection.info.backend_pid
    until(lambda: not psutil.pid_exists(process), what="its process is counted among those that have ended")
    return dbname


def largest_part(schema: MetricSchema, answer: Answer) -> tuple[int, int]:
    """(parts, bytes of the largest) of what an agent would spool of a first reading."""
    layout = layout_of(schema)
    if schema.counts:
        assert reading_of(layout, answer) is not None
        return 0, 0
    said = {"datname": "one"}
    if schema.send is Send.CHANGED:
        emission = emit_changed(layout, None, answer, said, Redaction.LITERALS, database="one", sent_before=dict)
    else:
        emission = emit_gauges(schema, answer, said, had_rows=True, redaction=Redaction.LITERALS)
    parts = encode_parts(RecordCodec(schema), emission.values, limit_bytes=PART_LIMIT) if emission.values is not None else []
    return len(parts), max((len(part.rest) for part in parts), default=0)


def test_each_metric_of_it_is_read_soon_and_fits_into_records(own: PostgresServer, asker: Asker) -> None:
    before = spent_s(own)
    make(own, asker, MANY)
    made_s, before = spent_s(own) - before, spent_s(own)
    found = {}
    for metric, job in asker.jobs.items():
        if job.schema.scope is Scope.DATABASE:
            answer = answer_of(asker, metric)
            found[metric] = len(answer.groups["rows"].rows), *largest_part(job.schema, answer)
    read_s = spent_s(own) - before
    assert read_s < made_s * MOST, (read_s, made_s)
    assert found["sizes"][0] == 18_500 + 2 * 37 + 1
    assert found["relations"][0] > 18_500
    assert {metric for metric, (rows, _, _) in found.items() if rows < 18_500} == {"extensions", "indexes", "sequences"}
    assert found["schema"][1] > 1
    assert max(size for _, _, size in found.values()) <= PART_LIMIT


def test_a_connection_that_opened_many_relations_is_not_kept(own: PostgresServer, asker: Asker) -> None:
    make(own, asker, FEWER.format(MANY_ROWS - 1))
    answer_of(asker, "sizes")
    kept = processes(own, asker)
    assert len(kept) == 1
    answer_of(asker, "sizes")
    answer_of(asker, "heartbeat")
    assert processes(own, asker) == kept  # few: it stays
    make(own, asker, "create table more (); create table most (); create table even_more ()")
    answer_of(asker, "sizes")
    until(lambda: not processes(own, asker) & kept)
    assert asker.pools.numbers("one").connections == 0
    answer_of(asker, "heartbeat")
    assert len(processes(own, asker)) == 1


def test_a_job_that_runs_beside_it_comes_to_its_end(own: PostgresServer, asker: Asker) -> None:
    """The pool is closed when its last connection comes back."""
    dbname = make(own, asker, FEWER.format(MANY_ROWS + 1))
    job = asker.jobs["heartbeat"]
    with asker.pools.lease("one", job.target, dbname) as leased:
        answer_of(asker, "sizes")
        assert leased.execute("select 1").fetchone() == (1,)
        leased.rollback()
    until(lambda: not processes(own, asker))
    assert isinstance(asker.ask("heartbeat"), Answer)
