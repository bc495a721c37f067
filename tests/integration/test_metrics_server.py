"""Metrics `server` and `io`: what moved is what the server's own views say moved, and a reset of one part harms no other."""

from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from integration.pairs import Pair, Row, calm, value, view
from integration.producers_feed import Asker
from pganalytics.producers.diff import Baseline, compare, first_baseline
from pganalytics.producers.reading import Reading, layout_of
from pganalytics.producers.snapshot import snapshot_values
from pganalytics.schemas.codec import fill
from pganalytics.schemas.metric import builtin_schemas
from waiting import until

Numbers = dict[str, float]
MS = 1_000_000
OLD_CHECKPOINTER = {
    "timed": "checkpoints_timed",
    "requested": "checkpoints_req",
    "write_time": "checkpoint_write_time",
    "sync_time": "checkpoint_sync_time",
    "buffers_written": "buffers_checkpoint",
}
NEW_NAMES = {
    "num_timed": "timed",
    "num_requested": "requested",
    "num_done": "done",
    "restartpoints_req": "restartpoints_requested",
}


def told_of_server(connection: psycopg.Connection[Any], major: int) -> Numbers:
    """Every counter of the views by the name of its field; times in milliseconds, as told."""
    old = view(connection, "select * from pg_stat_bgwriter")[0]
    archiver = view(connection, "select archived_count, failed_count from pg_stat_archiver")[0]
    found = {f"archiver_{name.removesuffix('_count')}": number for name, number in archiver.items()}
    found |= {f"bgwriter_{name}": number for name, number in old.items() if name.startswith(("buffers_", "maxw"))}
    if major >= 17:
        new = view(connection, "select * from pg_stat_checkpointer")[0]
        found |= {f"checkpointer_{NEW_NAMES.get(name, name)}": number for name, number in new.items() if name != "stats_reset"}
    else:
        del found["bgwriter_buffers_checkpoint"]
        found |= {f"checkpointer_{name}": old[column] for name, column in OLD_CHECKPOINTER.items()}
    if major >= 14:
        wal = view(connection, "select * from pg_stat_wal")[0]
        found |= {name: number for name, number in wal.items() if name != "stats_reset"}
    if major >= 15:
        recovery = view(
            connection, "select prefetch as blocks, hit, skip_init, skip_new, skip_fpw, skip_rep from pg_stat_recovery_prefetch"
        )
        found |= {f"prefetch_{name}": number for name, number in recovery[0].items()}
    slru = "select * from pg_stat_slru"
    for row in view(connection, slru):
        found |= {f"{row['name']} {name}": number for name, number in row.items() if name not in ("name", "stats_reset")}
    return {name: float(number) for name, number in found.items()}


def told_of_io(connection: psycopg.Connection[Any], major: int) -> Numbers:
    """Every counter of pg_stat_io by row and name; bytes as told, or made of operations."""
    found: Numbers = {}
    for row in view(connection, "select * from pg_stat_io"):
        key = f"{row.pop('backend_type')}/{row.pop('object')}/{row.pop('context')}"
        row.pop("stats_reset")
        size = row.pop("op_bytes", None)
        if major < 18:
            row |= {f"{op}_bytes": None if row[f"{op}s"] is None else row[f"{op}s"] * size for op in ("read", "write", "extend")}
        found |= {f"{key} {name}": float(number) for name, number in row.items() if number is not None}
    return found


TOLD = {"server": told_of_server, "io": told_of_io}


def read_calmly(asker: Asker, connection: psycopg.Connection[Any], metric: str) -> tuple[Numbers, Reading]:
    """What the views say, and a reading of ours at the same time."""
    told, reading = calm(lambda: TOLD[metric](connection, connection.info.server_version // 10000), lambda: asker.read(metric))
    return told, reading


def record_of(metric: str, baseline: Baseline, reading: Reading) -> Row:
    """The record, its rows at full length."""
    difference, _ = compare(baseline, reading)
    assert difference is not None
    layout = layout_of(builtin_schemas()[metric])
    record = snapshot_values(layout, baseline, reading, difference, limit=None)
    return record | fill(layout.schema.groups["rows"], record)


def moved(metric: str, record: Mapping[str, Any]) -> Numbers:
    """Counters of a record by the names that `TOLD` uses, those that moved."""
    schema = builtin_schemas()[metric]
    keys = [field.name for field in schema.groups["rows"] if field.role == "key"]
    rows = ["/".join(cells) for cells in zip(*(record[key] for key in keys), strict=True)]
    found = {}
    for field in schema.fields:
        if field.role == "counter" and field.group is None:
            found[field.name] = record[field.name]
        elif field.role == "counter":
            found |= {f"{row} {field.name}": cell for row, cell in zip(rows, record[field.name], strict=True)}
    return {name: number for name, number in found.items() if number not in (0, -(2**63))}


def assert_same(ours: Numbers, told: Numbers) -> None:
    """Integers to the unit; times, which are told in milliseconds and counted in nanoseconds, to the microsecond."""
    wanted = {name: number * (MS if name.endswith("_time") else 1) for name, number in told.items()}
    wanted = {name: number for name, number in wanted.items() if abs(number) >= 0.5}
    assert set(ours) == set(wanted)
    for name, number in wanted.items():
        assert ours[name] == pytest.approx(number, abs=1000 if name.endswith("_time") else 0.001), name


def difference_of(before: Numbers, after: Numbers) -> Numbers:
    return {name: number - before.get(name, 0.0) for name, number in after.items()}


def work(pair: Pair) -> None:
    """WAL, a checkpoint, an archived file, blocks of several kinds; returns when the views tell of all of it.

    A session of its own, which ends: until then it may keep its counts to itself.
    """
    with pair.connect() as watching:
        before = done(watching)
        with pair.connect() as worker:
            worker.execute("drop table if exists worked")
            worker.execute("create table worked as select n, repeat('x', 100) as t from generate_series(1, 20000) n")
            worker.execute("select pg_switch_wal()")
            worker.execute("checkpoint")
            worker.execute("select count(*) from worked")
        until(
            lambda: all(now > then for now, then in zip(done(watching), before, strict=True)), what="work that the views tell of"
        )


def done(connection: psycopg.Connection[Any]) -> list[float]:
    """Numbers that work makes greater: files archived, checkpoints asked for, large amounts of WAL."""
    version = connection.info.server_version
    numbers = ["select archived_count from pg_stat_archiver", CHECKPOINTS[version >= 170000]]
    numbers += ["select floor(wal_bytes / 2e6) from pg_stat_wal"] if version >= 140000 else []
    return [float(value(connection, query)) for query in numbers]


CHECKPOINTS = {
    False: "select checkpoints_req from pg_stat_bgwriter",
    True: "select num_requested from pg_stat_checkpointer",
}


@pytest.mark.parametrize("metric", ["server", "io"])
def test_what_moved_is_what_the_views_say(pair: Pair, metric: str) -> None:
    if metric == "io" and pair.major < 16:
        return
    with pair.connect() as connection:
        before, first = read_calmly(pair.primary_asker, connection, metric)
        work(pair)
        after, second = read_calmly(pair.primary_asker, connection, metric)
    record = record_of(metric, first_baseline(first), second)
    told = difference_of(before, after)
    assert_same(moved(metric, record), told)
    assert record["reset"] == ""
    if metric == "server":
        assert record["archiver_archived"] >= 1
        assert record["checkpointer_requested"] >= 1
        assert record["checkpointer_buffers_written"] > 0
        assert pair.major == 13 or record["wal_bytes"] > 2_000_000
        assert record["in_recovery"] is False
        assert len(record["archiver_last_archived_wal"]) == 24
    else:
        assert moved(metric, record)["client backend/relation/bulkwrite extend_bytes"] > 2_000_000
        assert told["checkpointer/relation/normal writes"] > 0


def test_a_standby_counts_for_itself(pair: Pair) -> None:
    with pair.connect_standby() as connection:
        before, first = read_calmly(pair.standby_asker, connection, "server")
        work(pair)
        pair.caught_up()
        connection.execute("checkpoint")
        after, second = read_calmly(pair.standby_asker, connection, "server")
    record = record_of("server", first_baseline(first), second)
    assert_same(moved("server", record), difference_of(before, after))
    assert record["in_recovery"] is True


def parts_of(major: int) -> list[str]:
    """What can be reset; of old versions, which are slow to tell, one part each."""
    if major < 15:
        return ["archiver"] if major == 13 else ["wal"]
    return ["archiver", "bgwriter", "wal"] + (["checkpointer"] if major >= 17 else [])


def test_a_reset_of_one_part_gives_no_wrong_delta(pair: Pair) -> None:
    """Each part counts whole after its own reset, though it has counted more since than before; all others go on."""
    for part in parts_of(pair.major):
        with pair.connect() as connection:
            reset_part(connection, part)
            work(pair)
            before, first = read_calmly(pair.primary_asker, connection, "server")
            reset_part(connection, part)
            for _ in range(2):
                work(pair)
            after, second = read_calmly(pair.primary_asker, connection, "server")
        record = record_of("server", first_baseline(first), second)
        began = {part} | ({"checkpointer"} if part == "bgwriter" and pair.major < 17 else set())
        told = difference_of(before, after)
        told |= {name: number for name, number in after.items() if name.split("_")[0] in began}
        assert_same(moved("server", record), told)
        assert record["reset"] == "stats_reset"


def reset_part(connection: psycopg.Connection[Any], part: str) -> None:
    """Reset it, and wait until the view says so."""
    now = value(connection, "select clock_timestamp()::text")
    connection.execute("select pg_stat_reset_shared(%s)", (part,))
    query = f"select stats_reset > %s::timestamptz from pg_stat_{part}"
    until(lambda: value(connection, query, now), what=f"reset of {part}")


def test_a_reset_of_one_cache_gives_no_wrong_delta(pair: Pair) -> None:
    name = "transaction" if pair.major >= 17 else "Xact"
    with pair.connect() as connection:
        before, first = read_calmly(pair.primary_asker, connection, "server")
        connection.execute("select pg_stat_reset_slru(%s)", (name,))
        work(pair)
        after, second = read_calmly(pair.primary_asker, connection, "server")
    record = record_of("server", first_baseline(first), second)
    told = difference_of(before, after) | {key: number for key, number in after.items() if key.startswith(f"{name} ")}
    assert_same(moved("server", record), told)
    assert record["reset"] == "stats_reset"


def test_a_reset_of_io_counts_whole(pair: Pair) -> None:
    if pair.major < 16:
        return
    with pair.connect() as connection:
        _, first = read_calmly(pair.primary_asker, connection, "io")
        connection.execute("select pg_stat_reset_shared('io')")
        work(pair)
        after, second = read_calmly(pair.primary_asker, connection, "io")
    record = record_of("io", first_baseline(first), second)
    assert_same(moved("io", record), after)
    assert record["reset"] == "stats_reset"


def test_a_crash_makes_all_parts_count_whole(pair: Pair) -> None:
    with pair.connect() as connection:
        work(pair)
        _, first = read_calmly(pair.primary_asker, connection, "server")
    pair.primary.crash()
    pair.primary.start_again()
    with pair.connect() as connection:
        work(pair)
        after, second = read_calmly(pair.primary_asker, connection, "server")
    record = record_of("server", first_baseline(first), second)
    assert_same(moved("server", record), after)
    assert record["reset"] == "restart"
