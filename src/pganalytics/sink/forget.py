"""Takes records out of the store, so that it takes them anew: rows and ranges together, under the writers' locks.

To be called in a transaction that is committed only when Kafka has acknowledged the same records: the sink waits for the
locks, so it cannot pass a record that is sent before its forgetting is committed; and what is not committed is not forgotten.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pganalytics.schemas.identity import Identity, Lane, Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.layout import quoted
from pganalytics.sink.multiranges import from_multirange, to_multirange
from pganalytics.sink.selection import Candidate, identities
from pganalytics.sink.statements import statement

Seqs = Mapping[Stream, Ranges]
_KEY = "(t.collector, t.epoch, t.lane, t.seq) = (b.collector, b.epoch, b.lane, b.seq)"
_WANTED = "unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) as b (collector, epoch, lane, seq, at_us)"


def settled(connection: StoreConnection, wanted: Iterable[Identity]) -> tuple[Seqs, Seqs]:
    """What of these is stored, and what is settled in any way."""
    rows = connection.execute(statement("settled_of"), _columns(wanted)).fetchall()
    streams = [Stream(name, epoch, Lane(lane)) for name, epoch, lane, _, _ in rows]
    found = list(zip(streams, rows, strict=True))
    return {each: from_multirange(row[3]) for each, row in found}, {each: from_multirange(row[4]) for each, row in found}


def forget(connection: StoreConnection, candidates: Sequence[Candidate]) -> tuple[set[Identity], set[Identity]]:
    """Forget records that can be stored again; what was forgotten, and what was not because another row has its identity.

    The rows of the ledger are locked in key order, as all who write it lock them.
    """
    wanted = identities(candidates)
    connection.execute(statement("ledger_lock"), _columns(wanted))
    stored, known = settled(connection, wanted)
    kept = {who for who in wanted if who.seq in stored.get(who.stream, ())}
    kept -= _delete(connection, [each for each in candidates if each.identity in kept])
    kept = _have_rows(connection, kept)
    gone = {who for who in wanted if who not in kept and who.seq in known.get(who.stream, ())}
    connection.execute(statement("forget"), _columns(gone))
    return gone, kept


def _delete(connection: StoreConnection, candidates: Sequence[Candidate]) -> set[Identity]:
    """Rows of the same identity, metric and time: found by the tables' index, in the partitions of that time."""
    metrics = _metrics(connection)
    deleted: set[Identity] = set()
    for metric in sorted({each.headers.metric for each in candidates if each.headers} & metrics):
        heads = [each.headers for each in candidates if each.headers and each.headers.metric == metric]
        times = [head.collected_at_us for head in heads]
        text = f"""
            delete from metrics.{quoted(metric)} t using {_WANTED}
            where {_KEY} and t.collected_at = timestamptz 'epoch' + b.at_us * interval '1 microsecond'
                and t.collected_at >= timestamptz 'epoch' + $6::bigint * interval '1 microsecond'
                and t.collected_at <= timestamptz 'epoch' + $7::bigint * interval '1 microsecond'
            returning t.collector, t.epoch, t.lane, t.seq
        """  # noqa: S608
        columns = [*_identity_columns([head.identity for head in heads]), times, min(times), max(times)]
        deleted |= _as_identities(connection.execute(text.encode(), columns).fetchall())
    return deleted


def _have_rows(connection: StoreConnection, wanted: set[Identity]) -> set[Identity]:
    """Those that have a row in any table: rare, for it reads all that the tables have of these collectors."""
    metrics = _metrics(connection)
    if not wanted or not metrics:
        return set()
    selects = (
        f"select t.collector, t.epoch, t.lane, t.seq from metrics.{quoted(metric)} t join {_WANTED} on {_KEY}"  # noqa: S608
        for metric in sorted(metrics)
    )
    columns = [*_identity_columns(sorted(wanted)), [0] * len(wanted)]
    return _as_identities(connection.execute(" union ".join(selects).encode(), columns).fetchall())


def _metrics(connection: StoreConnection) -> set[str]:
    return {metric for (metric,) in connection.execute("select distinct metric from pganalytics.schemas").fetchall()}


def _as_identities(rows: Iterable[tuple[Any, ...]]) -> set[Identity]:
    return {Identity(name, epoch, Lane(lane), seq) for name, epoch, lane, seq in rows}


def _identity_columns(wanted: Sequence[Identity]) -> list[Any]:
    return [
        [who.collector for who in wanted],
        [who.epoch for who in wanted],
        [who.lane.value for who in wanted],
        [who.seq for who in wanted],
    ]


def _columns(wanted: Iterable[Identity]) -> list[Any]:
    """One element per stream, in key order."""
    seqs: dict[Stream, list[int]] = {}
    for who in sorted(wanted):
        seqs.setdefault(who.stream, []).append(who.seq)
    return [
        [stream.collector for stream in seqs],
        [stream.epoch for stream in seqs],
        [stream.lane.value for stream in seqs],
        [to_multirange(Ranges.numbers(numbers)) for numbers in seqs.values()],
    ]
