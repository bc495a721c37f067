"""Heartbeats: what is sent is what was emitted minus what is unsent, of every epoch that they list."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.sink_feed import EPOCH, heartbeat
from pganalytics.schemas.identity import Lane, Stream
from pganalytics.schemas.metric import builtin_schemas, load_schema
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.beats import Beat, ImplausibleBeat, read_beat, tells_counts
from pganalytics.sink.multiranges import MOST_SEQ
from pganalytics.sink.records import KnownSchema
from unit.sink.sink_records import KNOWN

SCHEMA = builtin_schemas()["heartbeat"]


def beat(*arguments: Any, **options: Any) -> Beat:
    entry = KNOWN[SCHEMA.id]
    assert isinstance(entry, KnownSchema)
    record = heartbeat("c", *arguments, **options)
    return read_beat(SCHEMA, entry.codec.decode(record.value or b""))


def test_own_epoch() -> None:
    told = beat(5, {Lane.NORMAL: 10, Lane.BULK: 0}, unsent=[(EPOCH, Lane.NORMAL, 4, 6), (EPOCH, Lane.CRITICAL, 3, 3)])
    assert told.emitted[Stream("c", EPOCH, Lane.NORMAL)] == 10
    assert str(told.sent[Stream("c", EPOCH, Lane.NORMAL)]) == "1-3,7-10"
    assert str(told.sent[Stream("c", EPOCH, Lane.CRITICAL)]) == "1-2,4-5"
    assert told.sent[Stream("c", EPOCH, Lane.BULK)] == Ranges()
    assert [(each.epoch, each.spool_id, each.final) for each in told.epochs] == [(EPOCH, "spool", None)]


def test_old_epochs() -> None:
    told = beat(1, {}, old=[(7, (3, 2, 1), False), (8, (1, 0, 0), True)], unsent=[(7, Lane.CRITICAL, 2, 3)])
    assert str(told.sent[Stream("c", 7, Lane.CRITICAL)]) == "1"
    assert str(told.sent[Stream("c", 7, Lane.BULK)]) == "1"
    assert [(each.epoch, each.spool_id, each.final) for each in told.epochs[1:]] == [(7, None, None), (8, None, (1, 0, 0))]


def test_an_elided_column_is_zero() -> None:
    assert beat(1, {}, old=[(7, (0, 0, 0), False)]).emitted[Stream("c", 7, Lane.NORMAL)] == 0


@given(st.integers(1, 60), st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20)), max_size=6))
def test_sent_and_unsent_are_all(highest: int, spans: list[tuple[int, int]]) -> None:
    unsent = [(low, low + more) for low, more in spans]
    told = beat(1, {Lane.BULK: highest}, unsent=[(EPOCH, Lane.BULK, low, high) for low, high in unsent])
    open_seqs = {seq for low, high in unsent for seq in range(low, high + 1)}
    assert set(told.sent[Stream("c", EPOCH, Lane.BULK)]) == set(range(1, highest + 1)) - open_seqs


@pytest.mark.parametrize(
    "options",
    [
        {"emitted": {Lane.NORMAL: MOST_SEQ + 1}},
        {"emitted": {Lane.NORMAL: -1}},
        {"old": [(7, (1, 1, 1), False), (7, (2, 2, 2), False)]},
        {"old": [(EPOCH, (1, 1, 1), False)]},
        {"old": [(0, (1, 1, 1), False)]},
        {"unsent": [(EPOCH, Lane.NORMAL, 5, 4)]},
        {"unsent": [(EPOCH, Lane.NORMAL, 0, 4)]},
        {"unsent": [(EPOCH, Lane.NORMAL, 1, 2**63 - 1)]},
        {"unsent": [(EPOCH, "other", 1, 2)]},
        {"spool_id": "a\0b"},
        {"old": [(each + 1, (1, 1, 1), False) for each in range(501)]},
    ],
)
def test_counts_that_contradict_themselves_are_refused_whole(options: dict[str, Any]) -> None:
    with pytest.raises(ImplausibleBeat):
        beat(1, options.pop("emitted", {}), **options)


def test_a_heartbeat_schema_without_the_counts_is_no_heartbeat() -> None:
    fields = [field for field in SCHEMA.avro["fields"] if field["name"] != "unsent_low"]
    assert tells_counts(SCHEMA)
    assert not tells_counts(load_schema(json.dumps({**SCHEMA.avro, "fields": fields})))
