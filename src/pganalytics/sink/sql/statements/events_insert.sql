-- Each event once. In key order, or two sinks deadlock.
-- $1 ids, $2 kinds, $3 sources, $4 times (microseconds since 1970), $5 collectors, $6 epochs, $7 lanes, $8 seqs (multiranges),
-- $9 topics, $10 partitions, $11 offsets, $12 details
insert into pganalytics.events (id, kind, source, at, collector, epoch, lane, seqs, topic, partition, "offset", detail)
select b.id, b.kind, b.source, timestamptz 'epoch' + b.at_us * interval '1 microsecond', b.collector, b.epoch, b.lane,
    b.seqs::int8multirange, b.topic, b.partition, b."offset", b.detail
from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[],
        $9::text[], $10::bigint[], $11::bigint[], $12::text[])
    as b (id, kind, source, at_us, collector, epoch, lane, seqs, topic, partition, "offset", detail)
order by b.id collate "C"
on conflict (id) do nothing
