-- Why records are dead, by collector. What the list of dead letters no longer has is counted under the reason ''.
-- $1 a collector, or null for all
with dead as (
    select l.collector, sum(upper(r) - lower(r))::bigint as records
    from pganalytics.ledger l, unnest(l.dead) r
    where $1::text is null or l.collector = $1::text
    group by l.collector
),
known as (
    select d.collector, min(d.reason) as reason
    from pganalytics.dead_letters d
    join pganalytics.ledger l using (collector, epoch, lane)
    where l.dead @> d.seq and ($1::text is null or d.collector = $1::text)
    group by d.collector, d.epoch, d.lane, d.seq
)
select collector, reason, count(*) from known group by collector, reason
union all
select d.collector, '', d.records - (select count(*) from known k where k.collector = d.collector)
from dead d
where d.records > (select count(*) from known k where k.collector = d.collector)
order by 1, 2
