-- Dead letters alike, the group with the newest first; how many groups and letters there are in all comes with each.
-- $1 a collector, $2 a metric, $3 a reason, $4 from, $5 up to (null: any), $6 most groups
select d.reason, d.collector, d.metric, count(*), count(*) filter (where l.stored is null or not l.stored @> d.seq),
    max(d.at), (array_agg(d.detail order by d.at desc))[1], count(*) over (), sum(count(*)) over ()
from pganalytics.dead_letters d
left join pganalytics.ledger l using (collector, epoch, lane)
where ($1::text is null or d.collector = $1::text) and ($2::text is null or d.metric = $2::text)
    and ($3::text is null or d.reason = $3::text) and ($4::timestamptz is null or d.at >= $4::timestamptz)
    and ($5::timestamptz is null or d.at < $5::timestamptz)
group by d.reason, d.collector, d.metric
order by max(d.at) desc, d.reason, d.collector, d.metric
limit $6::bigint
