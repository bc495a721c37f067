"""Gauges are sent as they are, of a dictionary what is new; texts are redacted before anything else sees them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from pganalytics.producers.answers import Answer
from pganalytics.producers.baselines import Kept, restore
from pganalytics.producers.contents import Contents
from pganalytics.producers.emission import SENT_AT, Emission, emit_gauges, emit_new, fresh_keys
from pganalytics.producers.reading import ReadingError, layout_of
from pganalytics.producers.redaction import Redaction
from pganalytics.producers.tables import Rows, Table
from pganalytics.schemas.codec import RecordCodec, fill
from pganalytics.schemas.metric import MetricSchema, builtin_schemas, load_schema

ACTIVITY, TEXTS = builtin_schemas()["activity"], builtin_schemas()["query_text"]
WEEK_US = 604_800_000_000
NULL = -(2**63)


def answer(at_us: int, context: Table | None = None, **groups: tuple[Sequence[str], Rows]) -> Answer:
    return Answer(at_us, at_us + 5, context, {name: Table(list(names), rows) for name, (names, rows) in groups.items()}, context)


def texts(kept: Kept | Contents | None, at_us: int, rows: dict[int, str], policy: Redaction = Redaction.LITERALS) -> Emission:
    assert kept is None or isinstance(kept, Kept)
    cells: Rows = [(queryid, text, len(text)) for queryid, text in rows.items()]
    return emit_new(layout_of(TEXTS), kept, answer(at_us, rows=(["queryid", "query", "length"], cells)), {}, policy)


def columns(schema: MetricSchema, emission: Emission, group: str = "rows") -> dict[str, list[Any]]:
    """As a reader gets them."""
    assert emission.values is not None
    RecordCodec(schema).encode_rest(emission.values)
    return fill(schema.groups[group], emission.values)


def test_a_text_is_sent_once_and_again_after_a_week() -> None:
    first = texts(None, 1000, {1: "select 'a'", 2: "select $1"})
    assert columns(TEXTS, first) == {"queryid": [1, 2], "query": ["select ?", "select $1"], "length": [10, 9]}
    nothing = texts(first.after, 2000, {1: "select 'a'", 2: "select $1"})
    assert (nothing.values, nothing.entry, nothing.after) == (None, None, None)
    second = texts(first.after, 3000, {1: "select 'a'", 3: "select 3"})
    assert columns(TEXTS, second)["queryid"] == [3]
    later = texts(second.after, 1000 + WEEK_US, {1: "select 'a'", 3: "select 3"})
    assert columns(TEXTS, later)["queryid"] == [1]


def test_what_was_sent_is_remembered_through_the_log_and_forgotten_after_a_week() -> None:
    first = texts(None, 1000, {1: "a", 2: "b"})
    second = texts(first.after, 3000, {3: "c"})
    assert first.entry is not None
    assert second.entry is not None
    assert [first.entry[0], second.entry[0]] == [True, False]
    kept = restore([first.entry[1], second.entry[1]], SENT_AT)
    assert fresh_keys(TEXTS, kept, 4000) == {(1,): 1000, (2,): 1000, (3,): 3000}
    assert fresh_keys(TEXTS, kept, 1000 + WEEK_US) == {(3,): 3000}
    third = texts(kept, 1000 + WEEK_US, {2: "b"})
    assert isinstance(third.after, Kept)
    assert set(third.after.baseline.index) == {(2,), (3,)}


def test_a_clock_that_was_put_back_sends_again() -> None:
    assert columns(TEXTS, texts(texts(None, 5000, {1: "a"}).after, 4000, {1: "a"}))["queryid"] == [1]


def test_two_rows_of_one_key_are_a_mistake_of_the_query() -> None:
    doubled = answer(1, rows=(["queryid", "query", "length"], [(1, "a", 1), (1, "b", 1)]))
    with pytest.raises(ReadingError, match="two rows have one key"):
        emit_new(layout_of(TEXTS), None, doubled, {}, Redaction.LITERALS)


def test_gauges_are_all_rows_of_all_groups() -> None:
    context = Table(["listed_age", "sessions_total", "transactions_total"], [(60_000_000, 3, 1)])
    said = answer(
        1000,
        context,
        rows=(
            ["datid", "datname", "state", "sessions", "longest_query"],
            [(5, "app", "active", 2, 70), (0, None, None, 1, None)],
        ),
        transactions=(["tx_pid", "tx_query"], [(77, "update t set a = 'secret'"), (78, None)]),
    )
    emission = emit_gauges(ACTIVITY, said, {}, had_rows=False, redaction=Redaction.LITERALS)
    assert emission.values is not None
    assert (emission.values["collected_at"], emission.values["since"]) == (1000, 1000)
    assert [emission.values[name] for name in context.names] == [60_000_000, 3, 1]
    rows = columns(ACTIVITY, emission)
    assert (rows["datname"], rows["sessions"], rows["longest_query"]) == (["app", "\0"], [2, 1], [70, NULL])
    assert columns(ACTIVITY, emission, "transactions")["tx_query"] == ["update t set a = ?", "\0"]
    assert emission.entry is None


def test_columns_that_the_schema_lacks_and_groups_that_the_query_lacks_are_named() -> None:
    with pytest.raises(ReadingError, match="surprise"):
        emit_gauges(
            ACTIVITY,
            answer(1, rows=(["surprise"], [(1,)]), transactions=(["tx_pid"], [])),
            {},
            had_rows=False,
            redaction=Redaction.NONE,
        )
    with pytest.raises(ReadingError, match="no group transactions"):
        emit_gauges(ACTIVITY, answer(1, rows=(["datid"], [])), {}, had_rows=False, redaction=Redaction.NONE)
    with pytest.raises(ReadingError, match="context has no field surprise"):
        emit_gauges(
            ACTIVITY,
            answer(1, Table(["surprise"], [(1,)]), rows=(["datid"], []), transactions=(["tx_pid"], [])),
            {},
            had_rows=False,
            redaction=Redaction.NONE,
        )


def test_a_metric_that_is_sent_when_there_is_any_tells_also_that_there_is_none_any_more() -> None:
    attributes = {**TEXTS.avro, "name": "waits", "send": "any"}
    schema = load_schema(json.dumps({k: v for k, v in attributes.items() if k not in ("resend_s", "keys_from")}))
    names = ["queryid", "query", "length"]
    some, none = answer(1, rows=(names, [(1, "a", 1)])), answer(2, rows=(names, []))
    assert emit_gauges(schema, none, {}, had_rows=False, redaction=Redaction.NONE).values is None
    assert columns(schema, emit_gauges(schema, some, {}, had_rows=False, redaction=Redaction.NONE))["queryid"] == [1]
    assert columns(schema, emit_gauges(schema, none, {}, had_rows=True, redaction=Redaction.NONE))["queryid"] == []
