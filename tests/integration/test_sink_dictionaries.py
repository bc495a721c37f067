"""A dictionary in the store: of each key the newest row, whatever order records come in; no key that nobody sends any more."""

import json

from integration.sink_feed import DAY_US, Feed, Record, Store, now_us, record, running_sink
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.metric import MetricSchema, builtin_schemas, load_schema
from pganalytics.sink.connection import StoreConnection
from pganalytics.sink.deep_audit import deep_audit
from pganalytics.sink.dictionaries import forget_expired
from pganalytics.sink.store import set_up
from waiting import until

TEXTS = builtin_schemas()["query_text"]
LATEST = "select queryid, query, length from metrics.query_text_latest where collector = %s order by 1"


def texts(seq: int, rows: dict[int, str], *, age_s: int = 0, collector: str = "c") -> Record:
    return record(
        collector,
        seq,
        lane=Lane.BULK,
        schema=TEXTS,
        collected_at=now_us() - age_s * 1_000_000,
        queryid=list(rows),
        query=list(rows.values()),
        length=[len(text) for text in rows.values()],
    )


def test_the_newest_text_of_each_key_is_kept(settings: Settings, feed: Feed, stored: Store) -> None:
    """Older ones that come late, and duplicates, change nothing; another collector's key is another key."""
    with running_sink(settings):
        feed.admit(texts(1, {1: "one", -2: "two"}, age_s=60), texts(2, {1: "one, later"}, age_s=10), lane=Lane.BULK)
        until(lambda: stored.stored("c") == 2)
        feed.admit(texts(3, {1: "one, before", 3: "three"}, age_s=30), texts(1, {1: "forged"}), lane=Lane.BULK)
        feed.admit(texts(1, {1: "of another"}, collector="d"), lane=Lane.BULK)
        until(lambda: stored.stored("c") == 3 and stored.stored("d") == 1)
    assert stored.ask(LATEST, "c") == [(-2, "two", 3), (1, "one, later", 10), (3, "three", 5)]
    assert stored.ask(LATEST, "d") == [(1, "of another", 10)]
    report = deep_audit(settings)
    assert (report.total.stored, report.total.missing, report.total.dead) == (4, 0, 0)


def test_a_key_that_is_not_sent_any_more_goes_with_its_last_record(settings: Settings, feed: Feed, stored: Store) -> None:
    with running_sink(settings):
        feed.admit(texts(1, {1: "old"}, age_s=5 * DAY_US // 1_000_000), texts(2, {2: "new"}), lane=Lane.BULK)
        until(lambda: stored.stored() == 2)
    with StoreConnection.open(settings.store, name="test") as connection:
        today = now_us() // DAY_US
        assert [forget_expired(connection, TEXTS, today - days) for days in (6, 3, 3)] == [0, 1, 0]
        assert forget_expired(connection, builtin_schemas()["database"], today) == 0
    assert stored.ask(LATEST, "c") == [(2, "new", 3)]


def test_a_dictionary_of_a_user_gets_its_table_and_a_later_schema_its_columns(
    settings: Settings, feed: Feed, stored: Store
) -> None:
    """Keys of several texts; one that no index could hold is dead-lettered by name, beside good ones."""
    first = dictionary("owner", "label")
    second = dictionary("owner", "label", "since_when")
    set_up(settings)
    for schema in (first, second):
        feed.send(feed.topics.schemas, Record(schema.id.encode(), schema.text.encode(), []))
    with running_sink(settings):
        feed.admit(
            record("c", 1, schema=first, thing=["a", "b"], place=["x", ""], owner=["me", "you"]),
            record("c", 2, schema=first, thing=["k" * 2500], place=["x"], owner=["me"]),
            record("c", 3, schema=second, thing=["a"], place=["x"], owner=["they"], label=["l"], since_when=["s"]),
        )
        until(lambda: stored.stored() == 2 and stored.one("select count(*) from pganalytics.dead_letters") == 1)
    assert stored.ask("select thing, place, owner, label, since_when from metrics.things_latest order by thing") == [
        ("a", "x", "they", "l", "s"),
        ("b", "", "you", "", None),
    ]
    ((reason, detail),) = stored.ask("select reason, detail from pganalytics.dead_letters")
    assert (reason, detail) == ("not_storable", "fields thing, place: a key of more than 2000 bytes")


def dictionary(*labels: str) -> MetricSchema:
    """Things by name and place."""

    def column(name: str, role: str) -> dict[str, object]:
        return {"name": name, "type": {"type": "array", "items": "string"}, "role": role, "doc": "d"}

    keys = [column("thing", "key"), column("place", "key")]
    fields = [*TEXTS.avro["fields"][:8], *keys, *(column(name, "label") for name in labels)]
    avro = {name: value for name, value in TEXTS.avro.items() if name != "keys_from"}
    return load_schema(json.dumps({**avro, "name": "things", "lane": "normal", "fields": fields}))
