-- The list of dead letters, one row per place in the log.
-- $1 topics, $2 partitions, $3 offsets, $4 times (microseconds since 1970), $5 collectors, $6 epochs, $7 lanes, $8 seqs,
-- $9 metrics, $10 reasons, $11 details
insert into pganalytics.dead_letters (topic, partition, "offset", at, collector, epoch, lane, seq, metric, reason, detail)
select b.topic, b.partition, b."offset", timestamptz 'epoch' + b.at_us * interval '1 microsecond',
    b.collector, b.epoch, b.lane, b.seq, b.metric, b.reason, b.detail
from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::bigint[],
        $9::text[], $10::text[], $11::text[])
    as b (topic, partition, "offset", at_us, collector, epoch, lane, seq, metric, reason, detail)
order by b.topic collate "C", b.partition, b."offset"
on conflict do nothing
