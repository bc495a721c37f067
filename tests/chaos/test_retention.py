"""What Kafka's retention removed before anybody read it is missing, with exactly its ranges."""

from pathlib import Path

import psycopg
from confluent_kafka import TopicPartition

from chaos.oracle import Key, compare, read_oracle
from chaos.pipeline import pipeline
from pganalytics.runtime.kafka import admin
from pganalytics.runtime.offsets import GroupOffsets
from pganalytics.runtime.postgres import conninfo
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.identity import Lane
from pganalytics.schemas.topics import Topics
from pganalytics.sink.audit import audit
from pganalytics.sink.store import set_up
from waiting import until

RECORDS = 6_000


def remove_half(settings: Settings, topics: Topics) -> dict[int, int]:
    """Delete the older half of what the streams have not read of the normal lane; records by partition, where there are any."""
    places = [(topics.collected(Lane.NORMAL), number) for number in range(topics.partitions)]
    offsets = GroupOffsets(settings.kafka, f"{topics.prefix}.streams", name="test")
    done = {place: offset or 0 for place, offset in offsets.committed(places).items()}
    middles = {place: (done[place] + offsets.limits(*place)[1]) // 2 for place in places}
    offsets.close()
    wanted = [TopicPartition(topic, number, middle) for (topic, number), middle in middles.items()]
    client = admin(settings.kafka)
    for deleted in client.delete_records(wanted).values():
        deleted.result(30)
    return {place[1]: middle - done[place] for place, middle in middles.items() if middle > done[place]}


def told(settings: Settings) -> tuple[int, bool | None]:
    """How many partitions were told of, and whether it was the streams that did."""
    with psycopg.connect(conninfo(settings.store)) as connection:
        text = "select count(distinct partition), bool_and(source = 'streams') from pganalytics.events where kind = %s"
        (places, by_streams), *_ = connection.execute(text, ["position_outside_log"]).fetchall()
    return places, by_streams


def test_a_deleted_segment_is_missing_exactly(settings: Settings, tmp_path: Path) -> None:
    chosen = settings.model_copy(update={"sink": settings.sink.model_copy(update={"settle_interval_s": 0.5})})
    topics = Topics(chosen.kafka.prefix, chosen.kafka.partitions)
    set_up(chosen)
    with pipeline(chosen, tmp_path) as services:
        services.start("streams")
        services.start("sink")
        services.start_load(tmp_path / "oracle.jsonl", seed=5, records=RECORDS)
        until(lambda: audit(chosen).total.stored > 1_000, timeout_s=60)
        services.children["streams"].terminate()
        assert services.children["load"].wait(120) == 0, services.log("load")
        removed = remove_half(chosen, topics)
        lost = sum(removed.values())
        assert lost > 100
        services.start("streams")
        until(lambda: audit(chosen).total.settled and audit(chosen).total.missing == lost, timeout_s=90, what="missing")
        until(lambda: told(chosen) == (len(removed), True), what="events")  # they have a topic of their own, and may come later
    report, difference = audit(chosen), compare(read_oracle(tmp_path / "oracle.jsonl"), conninfo(chosen.store))
    named: set[Key] = {
        (finding.stream.collector, finding.stream.epoch, finding.stream.lane.value, seq)
        for finding in report.findings
        for seq in finding.seqs
    }
    assert difference.missing == named
    assert len(named) == lost
    assert (difference.double, difference.altered, difference.unknown) == (set(), set(), set())
