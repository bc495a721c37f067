-- Dead letters, the newest first, with what became of each since. $1 a collector, $2 a metric, $3 a reason, $4 from,
-- $5 up to (null: any), $6 most letters
select d.topic || '/' || d.partition || '/' || d."offset", d.at, d.collector, d.epoch, d.lane, d.seq, d.metric, d.reason,
    d.detail,
    case when l.collector is null then 'unattributed' when l.stored @> d.seq then 'stored' when l.dead @> d.seq then 'dead'
        when l.shed @> d.seq then 'shed' when l.missing @> d.seq then 'missing' else 'under_way' end
from pganalytics.dead_letters d
left join pganalytics.ledger l using (collector, epoch, lane)
where ($1::text is null or d.collector = $1::text) and ($2::text is null or d.metric = $2::text)
    and ($3::text is null or d.reason = $3::text) and ($4::timestamptz is null or d.at >= $4::timestamptz)
    and ($5::timestamptz is null or d.at < $5::timestamptz)
order by d.at desc, d.topic, d.partition, d."offset" desc
limit $6::bigint
