"""The rules for record schemas, each with a schema that breaks it."""

import copy
import json
from typing import Any

import pytest

from pganalytics.schemas.errors import SchemaError
from pganalytics.schemas.identity import LANES
from pganalytics.schemas.metric import builtin_schemas, load_schema
from pganalytics.schemas.topics import Role, Topics

GOOD = builtin_schemas()["database"].avro
OWN = 8  # the first field after the common ones


def broken(path: list[str | int], value: object) -> str:
    """GOOD with one place changed (or removed, when `value` is ...)."""
    schema: Any = copy.deepcopy(GOOD)
    place = schema
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(schema)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["name"], "Database", "metric name 'Database'"),
        (["name"], "a" * 42, "metric name"),
        (["type"], "enum", "not an Avro record"),
        (["lane"], "fast", "`lane` must be one of critical, normal, bulk"),
        (["scope"], "table", "`scope`"),
        (["interval_s"], 0, "`interval_s`"),
        (["interval_s"], True, "`interval_s`"),
        (["timeout_s"], "5", "`timeout_s`"),
        (["retention_days"], ..., "`retention_days`"),
        (["rank_by"], "nothing", "`rank_by` names no field"),
        (["send"], "some", "`send`"),
        (["doc"], " ", "`doc` is missing"),
        (["fields"], {}, "`fields` must be a list"),
        (["fields", 0, "name"], "who", "the first fields must be collector epoch"),
        (["fields", 2, "type"], "long", "the first fields must be"),
        (["fields", OWN, "name"], "Select", "the name must match"),
        (["fields", OWN, "name"], "datid", "two fields have one name"),
        (["fields", OWN, "type"], ["null", "long"], "the type must be one of"),
        (["fields", OWN, "type"], {"type": "map", "values": "long"}, "the type must be one of"),
        (["fields", OWN, "type"], {"type": "array", "items": ["null", "long"]}, "the type must be one of"),
        (["fields", OWN, "group"], "rows", "`group` is for arrays"),
        (["fields", OWN, "role"], "dimension", "`role` must be one of"),
        (["fields", OWN, "doc"], ..., "`doc` is missing"),
        (["fields", OWN, "null"], "", "`null` of a string"),
        (["fields", OWN + 3, "unit"], ..., "`unit` must be one of"),
        (["fields", OWN + 3, "unit"], "furlongs", "`unit` must be one of"),
        (["fields", OWN + 3, "null"], 0, "`null` of a long"),
        (["fields", OWN + 2, "redact"], "html", "`redact` must be sql or setting"),
        (["fields", OWN + 2, "redact"], "sql", "`redact` is for metrics without counters"),
        (["send"], "new", "`send` is new: it must have rows and no counter"),
        (["send"], "any", "`send` is any: it must have rows and no counter"),
        (["tracked"], True, "`tracked` is true or false, and is for"),
        (["keys_from"], "statements", "`keys_from` names a metric, and is for dictionaries"),
        (["parameters"], {"age": -1}, "`parameters` must be whole numbers"),
        (["parameters"], {"Age": 1}, "`parameters` must be whole numbers"),
    ],
)
def test_a_broken_rule_is_named(path: list[str | int], value: object, says: str) -> None:
    """The error says which rule, and where."""
    with pytest.raises(SchemaError, match=says):
        load_schema(broken(path, value))


def test_text_that_is_no_schema() -> None:
    """Neither JSON nor a record."""
    for text in ("", "[]", "{", '"long"', "null"):
        with pytest.raises(SchemaError):
            load_schema(text)


def test_reformatting_keeps_the_id() -> None:
    """The id is that of the canonical text."""
    schema = load_schema(json.dumps(GOOD, indent=8))
    assert schema == builtin_schemas()["database"]
    assert load_schema(schema.text).id == schema.id
    assert load_schema(broken(["doc"], "Another word.")).id != schema.id


def changing(**changes: object) -> str:
    """A metric without counters that sends changed rows; `changes` replace attributes of its key (`key`), its mark (`gone`) or
    the record."""
    array = {"type": "array", "items": "long"}
    key = {"name": "oid", "type": array, "role": "key", "doc": "x", **changes.pop("key", {})}  # type: ignore[dict-item]
    flag = {"type": "array", "items": "boolean"}
    gone = {"name": "gone", "type": flag, "role": "label", "doc": "x", **changes.pop("gone", {})}  # type: ignore[dict-item]
    fields = [*GOOD["fields"][:OWN], key, gone]
    return json.dumps({**GOOD, "name": "things", "send": "changed", "resend_s": 604_800, "fields": fields, **changes})


def test_changed_rows_without_counters() -> None:
    """They are sent again after `resend_s`, and marked when they are gone."""
    assert load_schema(changing()).resend_s == 604_800


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gone": {"name": "left"}}, "must have a boolean label `gone`"),
        ({"gone": {"type": {"type": "array", "items": "long"}}}, "must have a boolean label `gone`"),
        ({"gone": {"role": "gauge", "unit": "1"}}, "must have a boolean label `gone`"),
        ({"key": {"null": -(2**63)}}, "must have a key, which is never NULL"),
        ({"key": {"role": "label"}}, "must have a key, which is never NULL"),
        ({"resend_s": 5}, "`resend_s` must be a whole number"),
        ({"resend_s": None}, "`resend_s` must be a whole number"),
    ],
)
def test_changed_rows_without_counters_need_a_mark_a_key_and_a_time(changes: dict[str, object], says: str) -> None:
    """Each rule with a schema that breaks it."""
    with pytest.raises(SchemaError, match=says):
        load_schema(changing(**changes))


def test_the_lanes_of_the_builtin_metrics() -> None:
    """What an operator is woken up by is critical; what can wait is bulk; the rest is normal."""
    lanes: dict[str, set[str]] = {
        lane: {name for name, schema in builtin_schemas().items() if schema.lane == lane} for lane in LANES
    }
    assert lanes["critical"] <= {"heartbeat", "blocking", "replication", "replication_slots", "wal_receiver"}
    assert "heartbeat" in lanes["critical"]
    assert {"query_text", "change"} <= lanes["bulk"]
    assert {"activity", "database", "statements", "metric_status"} <= lanes["normal"]


def test_row_counts() -> None:
    """Rows are those of the group `rows`; a metric without it has one."""
    assert builtin_schemas()["database"].row_count({"datid": [1, 2, 3]}) == 3
    assert builtin_schemas()["heartbeat"].row_count({}) == 1


def test_topics() -> None:
    """Every name begins with the prefix; keyed topics share one partition count, compacted ones have one partition."""
    table = Topics("acme.pg", 5).table()
    assert len({topic.name for topic in table}) == len(table) == 12
    assert all(topic.name.startswith("acme.pg.") for topic in table)
    assert {topic.partitions for topic in table if topic.role is not Role.COMPACTED} == {5}
    assert {topic.name.removeprefix("acme.pg.") for topic in table if topic.compacted} == {"control", "quotas", "schemas"}
    assert all(topic.config["message.timestamp.type"] == "LogAppendTime" for topic in table)
